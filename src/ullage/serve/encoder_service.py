"""What the services of one encoder share: its names, its readiness, and how a request's phases are told."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from ullage.errors import NotReady, UllageError
from ullage.http import Health
from ullage.http.metrics import Inferences, PhaseMetrics
from ullage.http.names import Names
from ullage.models.card import Card
from ullage.serve.encoder import Encoder, EncoderLifecycle, within


class Timed(Protocol):
    """What an encoder's answer tells of its time, in seconds."""

    @property
    def tokenize_s(self) -> float: ...
    @property
    def queue_s(self) -> float: ...
    @property
    def compute_s(self) -> float: ...


T = TypeVar("T", bound=Timed)


@dataclass(frozen=True, slots=True)
class EncoderService:
    """`timeout_s` bounds a request from its tokens to its answer."""

    ROLE: ClassVar[str]

    card: Card
    names: Names
    lifecycle: EncoderLifecycle
    health: Health
    phases: PhaseMetrics
    inferences: Inferences
    timeout_s: float

    def encoder(self) -> Encoder:
        """Raises NotReady."""
        if self.lifecycle.encoder is None or not self.health.ready:
            raise NotReady(f"{self.ROLE} is not ready: {self.health.reason}", retry_after_s=2)
        return self.lifecycle.encoder

    def unknown(self, model: str) -> UllageError:
        return self.names.unknown(model)

    async def counted(self, work: Awaitable[T], texts: int) -> T:
        """Await the answer to so many texts, and count it. Raises DeadlineExceeded."""
        with self.inferences.one(texts) as done:
            answer = await within(self.timeout_s, work)
            done(answer.queue_s, answer.compute_s)
        self.phases.observe(phases_of(answer))
        return answer


def phases_of(answer: Timed) -> dict[str, float]:
    """Seconds of each phase."""
    return {"tokenize": answer.tokenize_s, "queue": answer.queue_s, "compute": answer.compute_s}
