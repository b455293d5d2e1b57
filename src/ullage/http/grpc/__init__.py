"""KServe v2 over gRPC, for services with one model. `start_grpc` imports the wire library only when it is used.

`kserve_pb2.py` and `kserve_pb2_grpc.py` are generated from `kserve.proto` by `scripts/make_kserve`.
"""
