"""Ask a running service whether it is ready."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc
import httpx

from ullage.errors import UllageError
from ullage.settings.model import bracketed, reachable
from ullage.stack.services import Probe
from ullage.store.rehearsal import rehearse

TIMEOUT_S = 3.0
GET_VERSION = "/milvus.proto.milvus.MilvusService/GetVersion"


@dataclass(frozen=True, slots=True)
class Readiness:
    """`reason` says what a service that is not ready is doing."""

    ready: bool
    reason: str = ""


async def probe(kind: Probe, host: str, port: int) -> Readiness:
    """Never raises for a service that is away or wrong: that is the answer."""
    address = f"{bracketed(reachable(host))}:{port}"
    return await (_grpc(address) if kind == "grpc" else _http(address))


async def prove(kind: Probe, host: str, port: int) -> Readiness:
    """What a process must do once before it counts as ready.

    Our own servers prove themselves before they say ready; the vector database is made to write and search.
    """
    if kind == "http":
        return Readiness(True)
    try:
        await asyncio.to_thread(rehearse, f"http://{bracketed(reachable(host))}:{port}")
    except UllageError as error:
        return Readiness(False, error.message)
    return Readiness(True)


async def _http(address: str) -> Readiness:
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            answer = await client.get(f"http://{address}/v1/health/ready")
    except httpx.TimeoutException:
        return Readiness(False, f"no answer within {TIMEOUT_S:g} s")
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


async def _grpc(address: str) -> Readiness:
    """Any answer to Milvus's own version call; an empty message is a valid request, so no stubs are needed."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            call = channel.unary_unary(GET_VERSION, request_serializer=bytes, response_deserializer=bytes)
            await call(b"", timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return Readiness(False, "not listening yet" if error.code() == grpc.StatusCode.UNAVAILABLE
                             else f"version call answers {error.code().name}")
    return Readiness(True)
