"""An embedding service that hashes words, for tests that need one they can switch off and hold."""

from __future__ import annotations

import asyncio
import base64
import re
import threading
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

DIMENSION = 32


class HashingEmbedder:
    """Texts that share words get near vectors. `down` answers 500, `gate` holds every passage while it is clear."""

    def __init__(self) -> None:
        self.name = "test/hashing"
        self.down = False
        self.gate = threading.Event()
        self.gate.set()
        self.passages: list[str] = []
        self.app = FastAPI()
        self.app.get("/v1/models")(self._models)
        self.app.get("/v1/health/ready")(self._ready)
        self.app.post("/v1/embeddings")(self._embed)
        self.url = ""

    async def _models(self) -> dict:
        return {"data": [{"id": self.name}]}

    async def _ready(self) -> JSONResponse:
        return JSONResponse({}, 500 if self.down else 200)

    async def _embed(self, request: Request) -> JSONResponse:
        body = await request.json()
        if body["input_type"] == "passage":
            await asyncio.to_thread(self.gate.wait, 30)
            if not self.down:
                self.passages += body["input"]
        if self.down:
            return JSONResponse({"message": "away"}, 500)
        rows = [base64.b64encode(vector(text).tobytes()).decode() for text in body["input"]]
        return JSONResponse({"data": [{"index": n, "embedding": row} for n, row in enumerate(rows)]})


def vector(text: str) -> np.ndarray:
    row = np.full(DIMENSION, 0.01, "<f4")
    for word in re.findall(r"\w+", text.lower()):
        row[zlib.crc32(word.encode()) % DIMENSION] += 1
    return row / np.linalg.norm(row)


RunIngest = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
