"""The KServe v2 server: one model, the same health, memory gate, keys and certificate as the HTTP server beside it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import grpc
import structlog

from ullage.errors import NotReady, Overloaded, SettingsError, UllageError, outcome
from ullage.http.door import Door
from ullage.http.gate import ByteGate
from ullage.http.grpc import kserve_pb2 as pb
from ullage.http.grpc import kserve_pb2_grpc as services
from ullage.http.grpc.model import KserveModel
from ullage.http.grpc.statistics import Statistics
from ullage.http.grpc.wire import read_parameters, read_texts, write_outputs, write_parameters
from ullage.http.keys import Keys
from ullage.http.names import plain
from ullage.version import __version__

log = structlog.get_logger("ullage.http.grpc")
R = TypeVar("R")
TYPES = {"BYTES": pb.TYPE_STRING, "INT32": pb.TYPE_INT32, "FP32": pb.TYPE_FP32, "INT8": pb.TYPE_INT8,
         "UINT8": pb.TYPE_UINT8}
QUEUE_FULL = "Exceeds maximum queue size"
"""What clients of Triton look for, to come back later."""


async def serve_grpc(model: KserveModel, door: Door, gate: ByteGate | None, *, max_body: int) -> grpc.aio.Server:
    """Listen on the door's gRPC port. Raises SettingsError when the port is taken."""
    most = min(max_body, gate.alone_bytes) if gate is not None else max_body
    server = grpc.aio.server(
        interceptors=[_KeyInterceptor(door.keys)] if door.keys else [],
        options=[("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", -1),
                 ("grpc.so_reuseport", 0)],
    )
    servicer = KserveServicer(model, gate, door.generation)
    services.add_GRPCInferenceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    address = f"{door.bracketed_host}:{door.grpc_port}"
    try:
        if door.tls is None:
            server.add_insecure_port(address)
        else:
            pair = (door.tls.key.read_bytes(), door.tls.cert.read_bytes())
            server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError:
        raise SettingsError(
            f"cannot listen on {address} for gRPC: stop what holds it or choose another port"
        ) from None
    await server.start()
    log.info("gRPC listens", address=address, tls=door.tls is not None)
    return server


class _KeyInterceptor(grpc.aio.ServerInterceptor):
    """Answers UNAUTHENTICATED without a key, to all but the questions for health."""

    OPEN = ("/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if details.method in self.OPEN or handler is None:
            return handler
        given = {str(name).lower(): str(value) for name, value in details.invocation_metadata or ()}
        if self._keys.admit(given.get("authorization", ""), given.get("x-api-key", "")):
            return handler

        async def refuse(_: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, Keys.REFUSAL)

        return grpc.unary_unary_rpc_method_handler(
            refuse, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )


class KserveServicer(services.GRPCInferenceServiceServicer):
    """`generation` is the NIM's: a full queue is UNAVAILABLE in 1.x and RESOURCE_EXHAUSTED in 2.x."""

    def __init__(self, model: KserveModel, gate: ByteGate | None, generation: int) -> None:
        self._model = model
        self._gate = gate
        self._generation = generation
        self._name = plain(model.names.listed[0])
        self._statistics = Statistics()

    async def ServerLive(self, _: Any, __: Any) -> pb.ServerLiveResponse:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: Any, __: Any) -> pb.ServerReadyResponse:  # noqa: N802
        return pb.ServerReadyResponse(ready=self._model.health.ready)

    async def ModelReady(self, request: Any, _: Any) -> pb.ModelReadyResponse:  # noqa: N802
        known = self._model.names.knows_plain(request.name)
        return pb.ModelReadyResponse(ready=known and self._model.health.ready)

    async def ServerMetadata(self, _: Any, __: Any) -> pb.ServerMetadataResponse:  # noqa: N802
        extensions = ["model_repository", "model_configuration", "statistics"]
        return pb.ServerMetadataResponse(name="ullage", version=__version__, extensions=extensions)

    async def ModelMetadata(self, request: Any, context: Any) -> pb.ModelMetadataResponse:  # noqa: N802
        def told() -> pb.ModelMetadataResponse:
            self._check(request.name)
            found = pb.ModelMetadataResponse(name=request.name, versions=["1"], platform="ullage")
            for tensor in self._model.inputs:
                found.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=[-1, *tensor.shape])
            for tensor in self._model.outputs:
                found.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=[-1, *tensor.shape])
            return found

        return await self._answer(context, told)

    async def ModelConfig(self, request: Any, context: Any) -> pb.ModelConfigResponse:  # noqa: N802
        def told() -> pb.ModelConfigResponse:
            self._check(request.name)
            config = pb.ModelConfig(name=request.name, platform="ensemble", backend="ullage",
                                    max_batch_size=self._model.max_batch_size)
            for tensor in self._model.inputs:
                config.input.add(name=tensor.name, data_type=TYPES[tensor.datatype], dims=tensor.shape,
                                 optional=tensor.optional)
            for tensor in self._model.outputs:
                config.output.add(name=tensor.name, data_type=TYPES[tensor.datatype], dims=tensor.shape)
            return pb.ModelConfigResponse(config=config)

        return await self._answer(context, told)

    async def ModelStatistics(self, request: Any, context: Any) -> pb.ModelStatisticsResponse:  # noqa: N802
        def told() -> pb.ModelStatisticsResponse:
            if request.name:
                self._check(request.name)
            return pb.ModelStatisticsResponse(model_stats=[self._statistics.told(request.name or self._name)])

        return await self._answer(context, told)

    async def RepositoryIndex(self, request: Any, _: Any) -> pb.RepositoryIndexResponse:  # noqa: N802
        health = self._model.health
        found = pb.RepositoryIndexResponse()
        if health.ready or not request.ready:
            found.models.add(name=self._name, version="1", state="READY" if health.ready else "UNAVAILABLE",
                             reason=health.reason)
        return found

    async def RepositoryModelLoad(self, request: Any, context: Any) -> pb.RepositoryModelLoadResponse:  # noqa: N802
        """The model is loaded when it is ready, and stays so: nothing is loaded twice."""
        def told() -> pb.RepositoryModelLoadResponse:
            self._check(request.model_name)
            if not self._model.health.ready:
                raise NotReady(f"the model is not ready: {self._model.health.reason}", retry_after_s=2)
            return pb.RepositoryModelLoadResponse()

        return await self._answer(context, told)

    async def RepositoryModelUnload(self, request: Any, context: Any) -> pb.RepositoryModelUnloadResponse:  # noqa: N802
        """Clients unload and load to recover from an engine's failure; ours recovers by itself, so the model stays."""
        def told() -> pb.RepositoryModelUnloadResponse:
            self._check(request.model_name)
            log.info("asked to unload; the model stays, for it recovers by itself", model=request.model_name)
            return pb.RepositoryModelUnloadResponse()

        return await self._answer(context, told)

    async def ModelInfer(self, request: Any, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        begun = time.perf_counter()
        try:
            with self._gate.hold(request.ByteSize()) if self._gate is not None else nullcontext():
                response = await self._infer(request, begun)
        except Exception as error:
            self._statistics.failed(time.perf_counter() - begun)
            await self._abort(context, error)
            raise
        return response

    async def _infer(self, request: Any, begun: float) -> pb.ModelInferResponse:
        self._check(request.model_name)
        texts = read_texts(request, self._model)
        inferred = await self._model.infer(texts, read_parameters(request.parameters))
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        write_outputs(response, inferred.outputs, [output.name for output in request.outputs])
        write_parameters(response, inferred.parameters)
        self._statistics.succeeded(inferred, time.perf_counter() - begun)
        return response

    def _check(self, name: str) -> None:
        if not self._model.names.knows_plain(name):
            raise self._model.names.unknown(name)

    async def _answer(self, context: Any, tell: Callable[[], R]) -> R:
        try:
            return tell()
        except UllageError as error:
            await self._abort(context, error)
            raise

    async def _abort(self, context: Any, error: Exception) -> None:
        """End the call with the error's status. Raises."""
        if not isinstance(error, UllageError):
            log.error("unexpected error", exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has it")
            return
        code, said = outcome(error).grpc_status, error.message
        if isinstance(error, Overloaded):
            code = "UNAVAILABLE" if self._generation == 1 else code
            said = f"{QUEUE_FULL}: {said}"
        await context.abort(getattr(grpc.StatusCode, code), said)
