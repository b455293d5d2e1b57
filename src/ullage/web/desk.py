"""Whom the page talks to, shared by every open page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ullage.clients.ingest import IngestClient
from ullage.clients.once import Once
from ullage.clients.rag import RagClient
from ullage.clients.stack import StackClient, control_socket
from ullage.settings import Settings
from ullage.web.doctor import findings

T = TypeVar("T")
STATUS_KEPT_S = 1.5
FINDINGS_KEPT_S = 20.0
COLLECTIONS_KEPT_S = 1.0


@dataclass(slots=True)
class Fresh(Generic[T]):
    """Asks at most once in `kept_s` seconds and tells everybody the same: fifty pages ask no more than one does.

    An error is not kept.
    """

    ask: Callable[[], Awaitable[T]]
    kept_s: float
    _value: T | None = None
    _until: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self) -> T:
        async with self._turn:
            if self._value is None or time.monotonic() >= self._until:
                self._value = await self.ask()
                self._until = time.monotonic() + self.kept_s
            return self._value

    def forget(self) -> None:
        self._until = 0.0


@dataclass(slots=True)
class Desk:
    """`status` and `collections` are shared answers; the clients' errors come through them."""

    rag: RagClient
    ingest: IngestClient
    ranking: Once
    stack: StackClient
    default_collection: str
    max_upload_bytes: int
    services: dict[str, Once]
    """Those with metrics of their own, by name."""
    status: Fresh[dict[str, Any]] = field(init=False)
    collections: Fresh[list[dict[str, Any]]] = field(init=False)
    findings: Fresh[list[dict[str, Any]]] = field(init=False)

    def __post_init__(self) -> None:
        self.status = Fresh(self.stack.status, STATUS_KEPT_S)
        self.collections = Fresh(self.ingest.collections, COLLECTIONS_KEPT_S)
        self.findings = Fresh(findings, FINDINGS_KEPT_S)

    @classmethod
    def of(cls, settings: Settings) -> Desk:
        timeout_s = settings.request_timeout_s
        rag, ingest = (RagClient(settings.url("rag"), timeout_s=timeout_s),
                       IngestClient(settings.url("ingest"), timeout_s=timeout_s))
        models = {name: Once(settings.url(name), role=name, timeout_s=timeout_s)
                  for name in ("ranking", "embedding", "llm")}
        return cls(
            rag=rag,
            ingest=ingest,
            ranking=models["ranking"],
            stack=StackClient(control_socket(settings.state_dir)),
            default_collection=settings.collection,
            max_upload_bytes=int(settings.max_upload),
            services={**models, "ingest": ingest, "rag": rag},
        )

    async def close(self) -> None:
        for client in self.services.values():
            await client.close()
