"""A service that failed a moment ago is not asked again at once: one wait for a dead service is enough."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from ullage.errors import DeadlineExceeded, DependencyDown, Unavailable

log = structlog.get_logger("ullage.rag")

REST_S = 5.0

T = TypeVar("T")


class Rests:
    """Counts by service. A failure is DependencyDown or DeadlineExceeded; busy, or a request refused, is none."""

    def __init__(self, rest_s: float = REST_S) -> None:
        self._rest_s = rest_s
        self._until: dict[str, tuple[float, str]] = {}

    def reason(self, service: str) -> str:
        """Why the service is not asked now; empty: it is."""
        until, reason = self._until.get(service, (0.0, ""))
        return reason if time.monotonic() < until else ""

    def failed(self, service: str, reason: str) -> None:
        if not self.reason(service):
            log.warning("a service failed and rests", service=service, seconds=self._rest_s, reason=reason)
        self._until[service] = (time.monotonic() + self._rest_s, reason)

    async def ask(self, service: str, call: Callable[[], Awaitable[T]]) -> T:
        """Raises DependencyDown at once while the service rests, else what the call raises."""
        if reason := self.reason(service):
            raise DependencyDown(reason)
        try:
            answer = await call()
        except (DependencyDown, DeadlineExceeded) as error:
            self.failed(service, error.message)
            raise
        self._until.pop(service, None)
        return answer


def unavailable(name: str, url: str) -> Unavailable:
    """The blueprint's words for a service that is away where nothing stands in for it."""
    return DependencyDown(f"{name} NIM unavailable at {url}. Please verify the service is running and accessible.")
