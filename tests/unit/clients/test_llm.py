"""The LLM client against servers that answer wrongly, over real sockets. The right ones: tests/integration."""

import asyncio
import contextlib
import json
import re

import pytest

from ullage.clients.llm import LlmClient, Usage, api_base
from ullage.errors import DeadlineExceeded, DependencyDown, InvalidRequest, Overloaded, TooLong, UnknownModel

HELLO = [{"role": "user", "content": "hello"}]


@contextlib.asynccontextmanager
async def answering(answer: bytes, *, hold: bool = False):
    """A server that reads one request, sends `answer` and hangs up (later if `hold`). Yields (url, requests seen)."""
    seen: list[bytes] = []
    over = asyncio.Event()

    async def handle(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head.lower())
            seen.append(head + await reader.readexactly(int(size[1]) if size else 0))
            writer.write(answer)
            await writer.drain()
            if hold:
                await over.wait()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
        over.set()
        await asyncio.gather(*(t for t in asyncio.all_tasks() if "handle" in repr(t.get_coro())))


def http(status: int, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} said", "Connection: close", *headers]
    return "\r\n".join([*lines, "", body]).encode()


def sse(*events: object) -> bytes:
    lines = "".join(f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n" for e in events)
    return http(200, lines, "Content-Type: text/event-stream")


def piece(text: str, **more: object) -> dict:
    return {"model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/", "http://h:1/v1"),
        ("http://h:1/v1", "http://h:1/v1"),
        ("http://h:1/v1/", "http://h:1/v1"),
        ("http://h/openai/v1beta", "http://h/openai/v1beta"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/gate", "http://h/gate/v1"),
    ],
)
def test_any_way_of_writing_the_url_is_understood(given, base):
    assert api_base(given) == base


async def test_pieces_usage_and_what_was_sent():
    done = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2,
                                      "prompt_tokens_details": {"cached_tokens": 4}}}
    answer = sse(piece(""), ": a comment", piece("Hel"), piece("lo"), done, usage, "[DONE]").replace(b"data: :", b":")
    async with answering(answer) as (url, seen), LlmClient(url, "mine", 20, api_key="secret") as client:
        stream = client.stream_chat(HELLO, max_tokens=3, stop=["x"], extra={"top_k": 1})
        assert [text async for text in stream] == ["Hel", "lo"]
    assert stream.told.usage == Usage(9, 2, 4)
    assert stream.told.finish_reason == "stop"
    assert 0 < stream.told.first_token_s <= stream.told.seconds
    head, body = seen[0].split(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions ")
    assert b"Bearer secret" in head
    assert json.loads(body) == {"model": "mine", "messages": HELLO, "stream": True, "max_tokens": 3, "stop": ["x"],
                                "stream_options": {"include_usage": True}, "top_k": 1}


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (http(503, '{"message": "full"}', "Retry-After: 7"), Overloaded, "is busy: full"),
        (http(429, '{"error": {"message": "slow down"}}'), Overloaded, "slow down"),
        (http(404, '{"error": "no such model"}'), UnknownModel, "does not serve 'm': no such model"),
        (http(400, '{"error": {"message": "no such field"}}'), InvalidRequest, "refuses the request: no such field"),
        (http(400, '{"error": {"message": "a", "code": "context_length_exceeded"}}'), TooLong, "request: a"),
        (http(422, '{"detail": [{"loc": ["n"]}]}'), InvalidRequest, "loc"),
        (http(401, "who are you"), DependencyDown, "answered 401: who are you"),
        (http(500, ""), DependencyDown, "answered 500: said"),
        (http(504, "late"), DeadlineExceeded, "late"),
        (sse("<html>"), DependencyDown, "streams no OpenAI events but '<html>'"),
        (sse("[1]"), DependencyDown, "no OpenAI events"),
        (sse(piece("a"), {"error": {"message": "out of memory"}}), DependencyDown, "failed in the middle.*out of mem"),
        (sse(piece("a")), DependencyDown, "broke off in the middle"),
        (http(200, "{}"), DependencyDown, "broke off"),
        (b"rubbish\r\n\r\n", DependencyDown, "hung up"),
        (b"", DependencyDown, "hung up"),
    ],
)
async def test_what_goes_wrong_is_told_apart(answer, error, said):
    async with answering(answer) as (url, _), LlmClient(url, "m", 20) as client:
        with pytest.raises(error, match=said):
            await client.complete(HELLO)


async def test_busy_says_when_to_come_back():
    async with answering(http(503, "{}", "Retry-After: 7")) as (url, _), LlmClient(url, "m", 20) as client:
        with pytest.raises(Overloaded) as busy:
            await client.complete(HELLO)
    assert busy.value.retry_after_s == 7


async def test_nobody_there_is_a_dependency_that_is_down():
    async with answering(b"") as (url, _):
        pass
    async with LlmClient(url, "m", 20) as client:
        with pytest.raises(DependencyDown, match=r"no LLM answers at http://127\.0\.0\.1"):
            await client.complete(HELLO)
        assert not await client.ready()


async def test_the_timeout_bounds_the_whole_answer():
    async with answering(sse(piece("a")), hold=True) as (url, _), LlmClient(url, "m", 0.3) as client:
        pieces = aiter(client.stream_chat(HELLO))
        assert await anext(pieces) == "a"
        with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
            await anext(pieces)


async def test_ready_asks_the_models_where_there_is_no_health_route():
    async with answering(http(404, "")) as (url, seen), LlmClient(url, "m", 20) as client:
        assert not await client.ready()
        assert [request.split(b" ")[1] for request in seen] == [b"/v1/health/ready", b"/v1/models"]
    async with answering(http(200, "")) as (url, seen), LlmClient(url + "/v1/", "m", 20) as client:
        assert await client.ready()
    async with answering(http(503, "")) as (url, seen), LlmClient(url, "m", 20) as client:
        assert not await client.ready()
        assert len(seen) == 1


async def test_without_a_name_the_first_listed_model_is_asked():
    listed = http(200, '{"data": [{"id": "first"}, {"id": "second"}]}')
    async with answering(listed) as (url, seen), LlmClient(url) as client:
        with pytest.raises(DependencyDown, match="broke off"):
            await client.complete(HELLO)
    assert seen[0].startswith(b"GET /v1/models ")
    assert b'"model":"first"' in seen[1]
