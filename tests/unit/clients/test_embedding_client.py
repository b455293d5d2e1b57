"""The embedding client against real apps: the happy way, busy services, broken ones, and silence."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from ullage.clients.embedding import CHARACTERS_PER_CALL, TEXTS_PER_CALL, EmbedderInfo, EmbeddingClient
from ullage.errors import DeadlineExceeded, DependencyDown, InvalidRequest, TooLarge, TooLong, UllageError, UnknownModel


class Service:
    """An embedding service: the vector of a text is (its length, its first character). Faults come before answers."""

    def __init__(self) -> None:
        self.calls: list[dict] = []
        self.ids: list[str | None] = []
        self.faults: list[Callable[[], Response]] = []
        self.together = self.most_together = 0
        self.app = FastAPI()
        self.app.get("/v1/models")(self.models)
        self.app.get("/v1/health/ready")(self.ready)
        self.app.post("/v1/embeddings")(self.embed)

    async def models(self) -> dict:
        return {"data": [{"id": "test/model"}]}

    async def ready(self) -> JSONResponse:
        return JSONResponse({}, 503 if self.faults else 200)

    async def embed(self, request: Request) -> Response:
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        await asyncio.sleep(0)
        self.together -= 1
        body = await request.json()
        self.calls.append(body)
        self.ids.append(request.headers.get("x-request-id"))
        if self.faults:
            return self.faults.pop(0)()
        rows = [np.asarray([len(text), ord(text[0])], "<f4") for text in body["input"]]
        data = [{"index": n, "embedding": base64.b64encode(row.tobytes()).decode()} for n, row in enumerate(rows)]
        return JSONResponse({"data": data[::-1]})


@pytest.fixture
def service() -> Service:
    return Service()


@asynccontextmanager
async def client_of(service: Service, timeout_s: float = 5, **options) -> AsyncIterator[EmbeddingClient]:
    transport = httpx.ASGITransport(service.app)
    client = EmbeddingClient("http://service/v1/", timeout_s=timeout_s, transport=transport, **options)
    try:
        yield client
    finally:
        await client.close()


def busy(after: str = "0", status: int = 503) -> Callable[[], Response]:
    return lambda: JSONResponse({"message": "queue full"}, status, headers={"Retry-After": after})


def failing(status: int, message: str = "it broke") -> Callable[[], Response]:
    return lambda: JSONResponse({"message": message}, status)


async def test_vectors_come_in_order_whatever_the_service_does(service: Service) -> None:
    async with client_of(service) as client:
        vectors = await client.embed(["aaa", "b"], "passage")
        assert vectors.dtype == np.float32
        assert vectors.tolist() == [[3, 97], [1, 98]]
        assert service.calls == [{"model": "test/model", "input": ["aaa", "b"], "input_type": "passage",
                                  "encoding_format": "base64", "truncate": "END"}]
        assert await client.describe() == EmbedderInfo("test/model", 2)
        assert (await client.embed([], "query")).shape[0] == 0


async def test_a_given_model_name_is_sent(service: Service) -> None:
    async with client_of(service, model="mine") as client:
        await client.embed(["a"], "query")
    assert service.calls[0]["model"] == "mine"


async def test_many_texts_go_in_bounded_calls_a_few_at_once(service: Service) -> None:
    texts = [f"text {n}" for n in range(5 * TEXTS_PER_CALL + 3)]
    async with client_of(service) as client:
        vectors = await client.embed(texts, "passage")
    assert vectors[:, 0].tolist() == [len(text) for text in texts]
    assert sorted(len(call["input"]) for call in service.calls) == [3, *[TEXTS_PER_CALL] * 5]
    assert service.most_together == 2


async def test_long_texts_go_in_calls_bounded_by_characters(service: Service) -> None:
    half = CHARACTERS_PER_CALL // 2
    async with client_of(service) as client:
        vectors = await client.embed(["a" * half, "b" * half, "c", "d" * (2 * CHARACTERS_PER_CALL)], "passage")
    assert vectors[:, 1].tolist() == [97, 98, 99, 100]
    assert sorted(sum(map(len, call["input"])) for call in service.calls) == [1, 2 * half, 2 * CHARACTERS_PER_CALL]


async def test_the_request_id_goes_along(service: Service) -> None:
    async with client_of(service, model="m") as client:
        with structlog.contextvars.bound_contextvars(request_id="abc-1"):
            await client.embed(["a"], "query")
        await client.embed(["a"], "query")
    assert service.ids == ["abc-1", None]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_service_is_asked_again(service: Service, status: int) -> None:
    service.faults = [busy(status=status)] * 4
    async with client_of(service, model="m") as client:
        assert (await client.embed(["a"], "query")).shape == (1, 2)
    assert len(service.calls) == 5


async def test_a_passing_failure_is_tried_again(service: Service) -> None:
    service.faults = [failing(500), failing(502)]
    async with client_of(service, model="m") as client:
        assert (await client.embed(["a"], "query")).shape == (1, 2)


@pytest.mark.parametrize(
    ("faults", "error", "message"),
    [
        ([busy("60")], DependencyDown, r"embedding at http://service is busy or not ready \(queue full\): check that"),
        ([failing(500)] * 3, DependencyDown, r"failed with status 500 \(it broke\).*embedding_url is right"),
        ([failing(422, "input: blank")], InvalidRequest, "refused the request: input: blank"),
        ([failing(422, "Input length 9 exceeds maximum allowed token size 5")], TooLong, "Input length 9"),
        ([failing(404, "model 'm' is not served here")], UnknownModel, "is not served here"),
        ([failing(413, "too big")], TooLarge, "too big"),
        ([lambda: PlainTextResponse("<html>")], DependencyDown, "something that is not JSON"),
        ([lambda: JSONResponse({"data": []})], DependencyDown, "holds no 1 vectors"),
        ([lambda: JSONResponse({"data": [{"index": 0, "embedding": "!"}]})], DependencyDown, "holds no 1 vectors"),
        ([lambda: PlainTextResponse('{"data":[{"index":0,"embedding":[NaN]}]}')], DependencyDown, "not finite"),
        ([lambda: JSONResponse({"data": [{"index": 0, "embedding": "AAAA"}]})], DependencyDown, "vectors of 3 bytes"),
        ([lambda: JSONResponse({"data": [{"index": 0, "embedding": "é"}]})], DependencyDown, "holds no 1 vectors"),
    ],
)
async def test_what_does_not_pass_is_one_line(
    service: Service, faults: list, error: type[UllageError], message: str
) -> None:
    service.faults = list(faults)
    async with client_of(service, timeout_s=2, model="m") as client:
        with pytest.raises(error, match=message) as caught:
            await client.embed(["a"], "query")
    assert "\n" not in str(caught.value)
    assert service.faults == []


async def test_vectors_of_two_lengths_are_refused(service: Service) -> None:
    service.faults = [lambda: JSONResponse({"data": [{"index": n, "embedding": [1.0]} for n in range(TEXTS_PER_CALL)]})]
    async with client_of(service, model="m") as client:
        with pytest.raises(DependencyDown, match="vectors of different lengths for m"):
            await client.embed(["a"] * (2 * TEXTS_PER_CALL), "passage")


async def test_a_service_that_lists_no_model(service: Service) -> None:
    bare = FastAPI()
    bare.get("/v1/models")(lambda: {"data": []})
    service.app = bare
    async with client_of(service) as client:
        with pytest.raises(DependencyDown, match="lists no model"):
            await client.embed(["a"], "query")


async def test_nobody_listens() -> None:
    client = EmbeddingClient("http://127.0.0.1:9", model="m", timeout_s=5)
    with pytest.raises(DependencyDown, match=r"embedding at http://127\.0\.0\.1:9 cannot be reached"):
        await client.embed(["a"], "query")
    assert not await client.ready()
    await client.close()


async def test_silence_ends_at_the_deadline() -> None:
    """A listener that accepts and never answers; the client hangs up."""
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = EmbeddingClient(f"http://127.0.0.1:{port}", model="m", timeout_s=0.3)
    with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.3 s"):
        await client.embed(["a"], "query")
    async with asyncio.timeout(30):
        await left.wait()
    await client.close()
    server.close()


async def test_ready(service: Service) -> None:
    async with client_of(service) as client:
        assert await client.ready()
        service.faults = [busy()]
        assert not await client.ready()
