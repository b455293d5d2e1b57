"""What a database can do, and what is said of one that is away."""

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from ullage.errors import DependencyDown
from ullage.store import VectorStore
from ullage.store.milvus import PINGS, Abilities


@pytest.mark.parametrize(
    ("version", "lite", "sparse"),
    [("milvus_lite-3.2.2", True, True), ("v2.3.5-lite", False, False), ("v2.4.0", False, True),
     ("2.6.5-gpu", False, True), ("master-2026", False, True), ("v3.0", False, True)],
)
def test_what_a_version_can_do(version: str, lite: bool, sparse: bool) -> None:
    assert Abilities.of(version) == Abilities(version, lite=lite, sparse=sparse)


def test_an_unreachable_server_is_named() -> None:
    store = VectorStore("http://127.0.0.1:9", timeout_s=1)
    with pytest.raises(DependencyDown, match=r"vector database at http://127\.0\.0\.1:9 does not answer"):
        store.ping()


class Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


def ended_after(address: str, options: dict[str, object], seconds: float) -> float | None:
    """When the server ended the connection of a client that asks nothing any more; None: not within `seconds`."""
    seen: list[grpc.ChannelConnectivity] = []
    own = {**options, "grpc.keepalive_time_ms": 100, "grpc.http2.max_pings_without_data": 0,
           "grpc.use_local_subchannel_pool": 1}
    with grpc.insecure_channel(address, options=list(own.items())) as channel:
        channel.unary_unary("/a/b")(b"x")
        channel.subscribe(seen.append)
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            if grpc.ChannelConnectivity.READY in seen and seen[-1] is not grpc.ChannelConnectivity.READY:
                return time.monotonic() - begun
            time.sleep(0.02)
    return None


def test_an_idle_connection_is_not_pinged_until_the_server_ends_it() -> None:
    """With pings of 0.1 s; pymilvus' own options end it."""
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Echo(),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        ended = ended_after(address, {"grpc.keepalive_permit_without_calls": True}, 30)
        assert ended is not None
        assert ended_after(address, dict(PINGS), 2 * ended) is None
    finally:
        server.stop(None)
