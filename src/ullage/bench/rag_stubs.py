"""Models as fast as any are, so that what is left of an answer's time is the RAG server's own. Runs as a process:

    python -m ullage.bench.rag_stubs PORT

One port is the embedder (`/v1/embeddings`), the reranker (`/v1/ranking`) and the language model
(`/v1/chat/completions`). `GET /spent` tells what the models took of each request id: for each call [model, when it
ended on this machine's monotonic clock, seconds from its first byte to the last of its answer]. Asking forgets it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

DIMENSION = 384
VECTORS = 4096
"""Different ones. A text has the one that its number names, so that question and answer are near; else its checksum."""

RANKING_S = 0.02
"""One GPU's time for 100 short passages; ours took 28 to 43 ms on an H200."""

LLM_FIRST_S = 0.05
LLM_TOKEN_S = 0.005
"""A language model that is as fast as any is: 50 ms to its first token, 200 tokens a second for each user."""

CHARACTERS = 4
"""Of a token."""

_NUMBER = re.compile(r"\d{4,}")
_random = np.random.default_rng(7)
_rows = _random.standard_normal((VECTORS, DIMENSION)).astype("<f4")
_rows /= np.linalg.norm(_rows, axis=1, keepdims=True)
_packed = [base64.b64encode(row.tobytes()).decode() for row in _rows]


def vectors(texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[n, DIMENSION], of unit length: what the embedder gives."""
    return _rows[[_which(text) for text in texts]]


def _which(text: str) -> int:
    number = _NUMBER.search(text)
    return (int(number[0]) if number else zlib.crc32(text.encode())) % VECTORS


def _embedded(body: dict[str, Any]) -> dict[str, Any]:
    return {"data": [{"index": n, "embedding": _packed[_which(text)]} for n, text in enumerate(body["input"])]}


def _ranked(body: dict[str, Any]) -> dict[str, Any]:
    """A passage with the number of the question is best, then as they came."""
    numbers = _NUMBER.findall(body["query"]["text"])
    logits = [8.0 if any(number in passage["text"] for number in numbers) else -0.1 * place
              for place, passage in enumerate(body["passages"])]
    order = sorted(range(len(logits)), key=lambda place: -logits[place])
    return {"rankings": [{"index": place, "logit": logits[place]} for place in order]}


def said(messages: list[dict[str, Any]]) -> str:
    """The sentence of the excerpts that has the question's number, as a good model would say it."""
    text = str(messages[-1]["content"])
    excerpts, _, question = text.rpartition("Question:")
    for number in _NUMBER.findall(question):
        for sentence in re.findall(r"[^.\n>]*\.", excerpts):
            if number in sentence:
                return " ".join(sentence.split())
    return "The documents do not say."


class Heard(HttpToolsProtocol):
    """Tells the app when a request came: what a model's server does until the app is called is the model's time."""

    def data_received(self, data: bytes) -> None:
        self._heard = time.perf_counter()
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["begun"] = self._heard


class Stubs:
    """An ASGI app, as thin as can be."""

    def __init__(self) -> None:
        self._spent: dict[str, list[tuple[str, float, float]]] = {}
        self._posts: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
            "/v1/embeddings": ("embedding", _embedded), "/v1/ranking": ("ranking", _ranked),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun, path = float(scope["state"]["begun"]), str(scope["path"])
        if path == "/spent":
            spent, self._spent = self._spent, {}
            await _answer(send, spent)
        elif path in self._posts:
            model, act = self._posts[path]
            found = act(await _body(receive))
            if model == "ranking":
                await asyncio.sleep(max(0.0, begun + RANKING_S - time.perf_counter()))
            await _answer(send, found)
            self._note(scope, model, begun)
        elif path == "/v1/chat/completions":
            await self._talk(scope, await _body(receive), send, begun)
        else:
            await _answer(send, {"data": [{"id": "stub"}]})

    async def _talk(self, scope: Scope, body: dict[str, Any], send: Send, begun: float) -> None:
        """Streams the sentence, then more. The model's share of the time to the first text ends with the sentence."""
        sentence = said(body["messages"])
        text = f"{sentence}\nThis is said in the documents."
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", b"text/event-stream")]})
        await asyncio.sleep(LLM_FIRST_S)
        for at in range(0, len(text), CHARACTERS):
            if at:
                await asyncio.sleep(LLM_TOKEN_S)
            await _event(send, {"choices": [{"index": 0, "delta": {"content": text[at : at + CHARACTERS]}}]})
            if at <= len(sentence) < at + CHARACTERS:
                self._note(scope, "llm", begun)
        await _event(send, {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": len(text) // CHARACTERS}})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    def _note(self, scope: Scope, model: str, begun: float) -> None:
        request = next((value.decode() for name, value in scope["headers"] if name == b"x-request-id"), "")
        now = time.perf_counter()
        self._spent.setdefault(request, []).append((model, now, now - begun))


async def _body(receive: Receive) -> dict[str, Any]:
    whole = bytearray()
    while True:
        message = await receive()
        whole += message.get("body", b"")
        if not message.get("more_body", False):
            found: dict[str, Any] = json.loads(whole)
            return found


async def _answer(send: Send, body: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _event(send: Send, body: object) -> None:
    await send({"type": "http.response.body", "body": b"data: " + json.dumps(body).encode() + b"\n\n",
                "more_body": True})


if __name__ == "__main__":
    uvicorn.run(Stubs(), http=Heard, port=int(sys.argv[1]), log_level="error", access_log=False, lifespan="off",
                timeout_keep_alive=120)
