"""Ask a running service whether it is ready."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import grpc
import httpx

from ullage.clients.stack import address
from ullage.errors import UllageError
from ullage.http.tls import pinned_context
from ullage.settings.model import bracketed, reachable
from ullage.stack.services import Probe

TIMEOUT_S = 3.0
GET_VERSION = "/milvus.proto.milvus.MilvusService/GetVersion"


@dataclass(frozen=True, slots=True)
class Readiness:
    """`reason` says what a service that is not ready is doing; `silent`: it took the question and did not answer."""

    ready: bool
    reason: str = ""
    silent: bool = False


async def probe(kind: Probe, host: str, port: int, cert: Path | None = None) -> Readiness:
    """Never raises for a service that is away or wrong: that is the answer. `cert` is what its port must show."""
    at = f"{bracketed(reachable(host))}:{port}"
    if kind == "grpc":
        return await _grpc(at)
    if cert is None:
        return await _http(f"http://{at}", httpx.AsyncHTTPTransport(verify=False))
    return await _http(f"https://{at}", httpx.AsyncHTTPTransport(verify=_trust(cert)))


async def ask(back: Path) -> Readiness:
    """The same of one process, by the socket that it alone answers at."""
    with address(back) as uds:
        return await _http("http://service", httpx.AsyncHTTPTransport(uds=uds, verify=False))


@lru_cache(maxsize=8)
def _trust(cert: Path) -> ssl.SSLContext:
    return pinned_context(cert)


async def prove(kind: Probe, host: str, port: int) -> Readiness:
    """What a process must do once before it counts as ready.

    Our own servers prove themselves before they say ready; the vector database is made to write and search.
    """
    if kind == "http":
        return Readiness(True)
    from ullage.store.rehearsal import rehearse  # pymilvus is 80 MB that who only asks need not take

    try:
        await asyncio.to_thread(rehearse, f"http://{bracketed(reachable(host))}:{port}")
    except UllageError as error:
        return Readiness(False, error.message)
    return Readiness(True)


async def _http(base: str, transport: httpx.AsyncHTTPTransport) -> Readiness:
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, transport=transport) as client:
            answer = await client.get(f"{base}/v1/health/ready")
    except httpx.TimeoutException:
        return Readiness(False, f"no answer within {TIMEOUT_S:g} s", silent=True)
    except httpx.HTTPError:
        return Readiness(False, "not listening yet")
    if answer.status_code == 200:
        return Readiness(True)
    return Readiness(False, _reason(answer))


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = None
    said = (body.get("reason") or body.get("message")) if isinstance(body, dict) else None
    return str(said) if said else f"ready answers {answer.status_code}"


async def _grpc(at: str) -> Readiness:
    """Any answer to Milvus's own version call; an empty message is a valid request, so no stubs are needed."""
    async with grpc.aio.insecure_channel(at, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            call = channel.unary_unary(GET_VERSION, request_serializer=bytes, response_deserializer=bytes)
            await call(b"", timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return Readiness(False, "not listening yet" if error.code() == grpc.StatusCode.UNAVAILABLE
                             else f"version call answers {error.code().name}")
    return Readiness(True)
