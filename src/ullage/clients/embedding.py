"""Texts to vectors, by the embedding service."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import numpy as np
import numpy.typing as npt

from ullage.clients.base import ModelClient
from ullage.errors import DependencyDown

Float32 = npt.NDArray[np.float32]
InputType = Literal["query", "passage"]

TEXTS_PER_CALL = 32
CHARACTERS_PER_CALL = 65_536
CALLS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """What decides whether two vectors may be compared: the model's name and the number of dimensions."""

    name: str
    dimension: int


class EmbeddingClient(ModelClient):
    """`POST /v1/embeddings`, OpenAI's shape with `input_type`. Errors: see ModelClient.

    `calls_at_once` keeps who writes from crowding out who asks; None, where people wait: the service has the queue.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        timeout_s: float = 120.0,
        api_key: str = "",
        calls_at_once: int | None = CALLS_AT_ONCE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, role="embedding", model=model, timeout_s=timeout_s, api_key=api_key,
                         transport=transport)
        self._slots = nullcontext() if calls_at_once is None else asyncio.Semaphore(calls_at_once)

    async def describe(self) -> EmbedderInfo:
        """The embedder behind the URL, proved by embedding one text."""
        vectors = await self.embed(["What is embedded here?"], "query")
        return EmbedderInfo(await self.model(), int(vectors.shape[1]))

    async def embed(self, texts: Sequence[str], input_type: InputType) -> Float32:
        """Vectors [n, dimension] fp32 in the order of `texts`. A text over the model's limit is cut at its end."""
        if not texts:
            return np.empty((0, 0), np.float32)
        name = await self.model()
        if len(texts) <= TEXTS_PER_CALL and sum(map(len, texts)) <= CHARACTERS_PER_CALL:
            return await self._embed(name, texts, input_type)
        try:
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self._embed(name, part, input_type)) for part in _parts(texts)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        parts = [call.result() for call in calls]
        if len({part.shape[1] for part in parts}) != 1:
            raise DependencyDown(f"embedding at {self.base_url} gave vectors of different lengths for {name}: "
                                 "it must serve one model under one name")
        return np.concatenate(parts)

    async def _embed(self, name: str, texts: Sequence[str], input_type: InputType) -> Float32:
        body = {
            "model": name,
            "input": list(texts),
            "input_type": input_type,
            "encoding_format": "base64",
            "truncate": "END",
        }
        async with self._slots:
            answer = await self.call("POST", "/v1/embeddings", body)
        try:
            return _vectors(answer, len(texts))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise DependencyDown(f"embedding at {self.base_url} answered with a body that holds no {len(texts)} "
                                 f"vectors ({error}): check that embedding_url is an embedding service's") from None


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Consecutive parts bounded in texts and in characters; a longer text goes alone."""
    begin = characters = 0
    for index, text in enumerate(texts):
        full = index - begin >= TEXTS_PER_CALL or characters + len(text) > CHARACTERS_PER_CALL
        if full and index > begin:
            yield texts[begin:index]
            begin, characters = index, 0
        characters += len(text)
    yield texts[begin:]


def _vectors(answer: Any, count: int) -> Float32:
    items = sorted(answer["data"], key=lambda item: item["index"])
    if [item["index"] for item in items] != list(range(count)):
        raise ValueError(f"{len(items)} vectors for {count} texts")
    rows = [item["embedding"] for item in items]
    packed = all(isinstance(row, str) for row in rows)
    vectors = _unpacked(rows) if packed else np.stack([np.asarray(row, np.float32) for row in rows])
    if not np.isfinite(vectors).all():
        raise ValueError("a vector is not finite")
    return vectors


def _unpacked(rows: Sequence[str]) -> Float32:
    """From base64 of little-endian fp32; a service that ignores `encoding_format` sends lists of numbers."""
    packed = [binascii.a2b_base64(row, strict_mode=True) for row in rows]
    sizes = {len(row) for row in packed}
    if len(sizes) != 1 or min(sizes) % 4:
        raise ValueError(f"vectors of {', '.join(map(str, sorted(sizes)))} bytes")
    return np.frombuffer(b"".join(packed), np.dtype("<f4")).reshape(len(rows), -1).astype(np.float32)
