"""What the ranking and embedding services share: one planned encoder behind one scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry

from ullage.devices import detect
from ullage.engines.encoder import open_encoder
from ullage.engines.onnx_cpu import trim_memory
from ullage.errors import DeadlineExceeded, ModelUnsupported
from ullage.http import Health
from ullage.http.metrics import counter, gauge
from ullage.models.card import Card
from ullage.models.tokenize import Tokenizer
from ullage.plan import Profile, ServicePlan
from ullage.schedule import Scheduler
from ullage.settings import Settings

T = TypeVar("T")


class Encoder:
    """Opened files and an engine that is loaded by `start`.

    `cap` makes the process hold its engine to the plan's bytes; leave it False where several models share a process.
    """

    def __init__(self, settings: Settings, planned: ServicePlan, *, cap: bool) -> None:
        if planned.card is None or planned.profile is None:
            raise ModelUnsupported(f"the plan of {planned.service} names no model")
        self.card: Card = planned.card
        self.profile: Profile = planned.profile
        self.tokenizer: Tokenizer
        self.tokenizer, engine = open_encoder(
            planned.card,
            planned.profile,
            planned.ledger,
            cache_dir=settings.cache_dir,
            threads=settings.threads or detect().cores,
            cap=cap,
        )
        self.scheduler = Scheduler(
            engine,
            max_batch_tokens=planned.profile.max_tokens,
            max_row_tokens=planned.profile.max_sequence,
            queue_tokens=settings.queue_tokens,
        )

    async def start(self) -> None:
        """Raises ModelError or OutOfMemory when the model cannot run inside its plan."""
        await self.scheduler.start()

    async def close(self) -> None:
        await self.scheduler.close()


class EncoderLifecycle:
    """Opens and loads in the background, so that `live` answers at once; then one real request makes it ready."""

    def __init__(
        self, settings: Settings, planned: ServicePlan, prove: Callable[[Encoder], Awaitable[object]]
    ) -> None:
        self._settings = settings
        self._planned = planned
        self._prove = prove
        self.encoder: Encoder | None = None

    async def start(self, health: Health) -> None:
        health.loading(f"loading {self._planned.profile_id}")
        self.encoder = await asyncio.to_thread(Encoder, self._settings, self._planned, cap=True)
        await self.encoder.start()
        health.loading("scoring a first request")
        await self._prove(self.encoder)
        trim_memory()

    async def stop(self) -> None:
        if self.encoder is not None:
            await self.encoder.close()


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Await `work` or raise DeadlineExceeded; what was queued for it is dropped."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise DeadlineExceeded(f"no answer within request_timeout_s={seconds:g}: send less, or raise it") from None


def add_scheduler_metrics(registry: CollectorRegistry, lifecycle: EncoderLifecycle) -> None:
    """Queue and compute figures of the scheduler, read at scrape time."""

    def read(name: str) -> Callable[[], float]:
        return lambda: float(getattr(lifecycle.encoder.scheduler.counters, name)) if lifecycle.encoder else 0.0

    for name, text in (
        ("batches", "Batches run"),
        ("rows", "Sequences run"),
        ("tokens", "Tokens run"),
        ("refused", "Requests refused for want of queue"),
        ("failures", "Batches that failed"),
        ("splits", "Batches split after running out of memory"),
        ("compute_s", "Seconds of compute"),
    ):
        counter(registry, f"ullage_scheduler_{name.replace('_s', '_seconds')}", text, read(name))
    gauge(registry, "ullage_scheduler_queued_tokens", "Tokens admitted and waiting", read("queued_tokens"))
    gauge(registry, "ullage_scheduler_running_tokens", "Tokens in the batch now running", read("running_tokens"))
