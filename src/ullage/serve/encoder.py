"""What the ranking and embedding services share: one planned encoder behind one scheduler."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry

from ullage.devices import Gpu, detect
from ullage.engines.base import Engine
from ullage.engines.encoder import open_encoder
from ullage.engines.trim import trim_memory
from ullage.errors import DeadlineExceeded, ModelUnsupported, OutOfMemory
from ullage.http import Health
from ullage.http.gate import ByteGate
from ullage.http.memory import Memory, SteppedDown, resident_bytes
from ullage.http.metrics import counter, gauge
from ullage.models.card import Card
from ullage.models.tokenize import Tokenizer
from ullage.plan import Ledger, Profile, ServicePlan
from ullage.plan.budget import budget
from ullage.plan.cpu_backend import cpu_backend
from ullage.plan.profile import mebibytes, sum_text
from ullage.schedule import Scheduler
from ullage.serve.watch import ResidentWatch
from ullage.settings import Settings

log = structlog.get_logger("ullage.serve")
T = TypeVar("T")

TURN_S = 0.1
"""Seconds of a batch: nobody waits much longer for a turn. Larger batches gain nothing measurable where they take that
long: MiniLM on 2 cores did 7,460 tokens/s in 0.03 s batches and 7,460 in 0.28 s ones; an H100 fills up in 0.08 s."""

BATCHES_AHEAD = 1
"""On a GPU a batch takes some 0.05 s, and the event loop is busy with bodies about as long: with one batch after the
other a H100 stood still 29 % of the time under 32 clients in bf16, and 42 % in FP8."""

SWITCH_S = 0.0005
"""On a GPU, how long a thread of Python may keep the others waiting (usually 0.005): those that describe batches and
hear of results are always a moment's work, and tokenizing or the event loop held each of them up for all of it. What
it gains was not measured apart from other changes."""

BYTES_PER_BODY_BYTE = 12
"""Memory that a byte of a request body takes until the answer: itself, its text, its tokens, what allocators keep of
them. Measured: 21 MiB for 1.7 MiB of 512 passages of 615 tokens, cut to 512."""

CHARACTERS_PER_TOKEN = 6
"""More than texts have in most languages, so that an estimate by it is rather too small."""

ALLOWANCE_SHARE = 20
"""One part in twenty: a prediction is to be within 5 %, and as much of a budget is left alone."""

SHARED_SHARE = 1.25
"""A process that held more than this share of the plan's fixed part before loading is not the service's alone."""


class Encoder:
    """Opened files and an engine that is loaded by `start`.

    `cap` makes the process hold its engine to the plan's bytes; leave it False where several models share a process.
    `progress` is told the share of the weights that is loaded, `on_fit` why one longest row does not fit.
    """

    def __init__(
        self,
        settings: Settings,
        planned: ServicePlan,
        *,
        cap: bool,
        progress: Callable[[float], None] = lambda _: None,
        on_fit: Callable[[str], None] = lambda _: None,
    ) -> None:
        if planned.card is None or planned.profile is None:
            raise ModelUnsupported(f"the plan of {planned.service} names no model")
        self.card: Card = planned.card
        self.profile: Profile = planned.profile
        self.tokenizer: Tokenizer
        engines: list[Engine] = []
        places = [gpu for gpu in planned.gpus or (None,) for _ in range(self.profile.instances)]
        for number, gpu in enumerate(places):
            told = _part(progress, number, len(places))
            self.tokenizer, engine = _open(settings, planned, self.card, self.profile, gpu, cap, told)
            engines.append(engine)
        ahead = BATCHES_AHEAD if self.overlaps else 0
        if ahead:
            sys.setswitchinterval(SWITCH_S)
        self.scheduler = Scheduler(
            engines,
            names=[f"{'cpu' if gpu is None else f'cuda:{gpu.index}'}/{number}" for number, gpu in enumerate(places)],
            max_batch_tokens=self.profile.max_tokens,
            max_row_tokens=self.profile.max_sequence,
            max_batch_rows=settings.max_batch_rows,
            queue_tokens=settings.queue_tokens,
            queue_requests=settings.queue_requests,
            queue_s=settings.request_timeout_s,
            turn_s=TURN_S / (1 + ahead),
            ahead=ahead,
            batch_wait_s=settings.batch_wait_ms / 1e3,
            cache_bytes=int(settings.score_cache),
            on_fit=on_fit,
        )

    @property
    def overlaps(self) -> bool:
        """Whether this process has its processor to itself while the engine computes."""
        return self.profile.device == "cuda"

    async def start(self) -> None:
        """Raises ModelError or OutOfMemory when the model cannot run inside its plan."""
        await self.scheduler.start()

    async def close(self) -> None:
        await self.scheduler.close()


def _open(
    settings: Settings, planned: ServicePlan, card: Card, profile: Profile, gpu: Gpu | None, cap: bool,
    progress: Callable[[float], None],
) -> tuple[Tokenizer, Engine]:
    """One engine of a plan. Its ledgers are those of all engines of the host, and of all on one GPU, which share what
    is fixed."""
    copies = profile.instances
    return open_encoder(
        card,
        profile,
        _share(planned.ledger, copies * max(1, len(planned.gpus))),
        gpu=gpu,
        gpu_ledger=None if planned.gpu_ledger is None else _share(planned.gpu_ledger, copies),
        cache_dir=settings.cache_dir,
        threads=settings.threads or max(1, detect().cores // copies),
        cap=cap,
        backend=cpu_backend(card, settings, detect()) if "onnx" in card.backends else "onnxruntime",
        progress=progress,
    )


def _share(ledger: Ledger, instances: int) -> Ledger:
    return Ledger(ledger.fixed, ledger.weights // instances, ledger.activations // instances, ledger.slack)


def _part(progress: Callable[[float], None], number: int, instances: int) -> Callable[[float], None]:
    """The progress of one of several instances as a share of all."""
    return lambda share: progress((number + share) / instances)


class EncoderLifecycle:
    """Opens and loads in the background, so that `live` answers at once; then one real request makes it ready.

    A profile that runs out of memory while it loads steps down to the next of the plan. `memory` is what the process
    planned and holds.
    """

    def __init__(
        self, settings: Settings, planned: ServicePlan, prove: Callable[[Encoder], Awaitable[object]]
    ) -> None:
        self._settings = settings
        self._planned = planned
        self._prove = prove
        self._watch: ResidentWatch | None = None
        self._watching: asyncio.Task[None] | None = None
        self.encoder: Encoder | None = None
        self.memory = _memory(settings, planned, self)

    async def start(self, health: Health) -> None:
        """Raises OutOfMemory with the sum when no profile of the plan loads, or ModelError."""
        before = resident_bytes()
        candidates = [self._planned, *self._planned.fallbacks]
        for place, planned in enumerate(candidates):
            try:
                encoder = await self._load(planned, health)
                break
            except OutOfMemory as error:
                await self.stop()
                if place + 1 == len(candidates):
                    raise _nothing_left(candidates, error) from None
                self._step_down(planned, candidates[place + 1], error)
        trim_memory()
        self._watch = self._begin_watch(encoder, before)

    async def _load(self, planned: ServicePlan, health: Health) -> Encoder:
        health.loading(f"loading {planned.profile_id}")
        loop = asyncio.get_running_loop()

        def progress(share: float) -> None:
            """Called in any thread."""
            loop.call_soon_threadsafe(health.loading, "loading weights", share)

        def on_fit(reason: str) -> None:
            health.pause(reason) if reason else health.resume()

        self.encoder = await asyncio.to_thread(
            Encoder, self._settings, planned, cap=True, progress=progress, on_fit=on_fit
        )
        await self.encoder.start()
        health.loading("scoring a first request")
        await self._prove(self.encoder)
        return self.encoder

    def _step_down(self, planned: ServicePlan, instead: ServicePlan, error: OutOfMemory) -> None:
        log.warning("stepping down", profile=planned.profile_id, instead=instead.profile_id, reason=error.message)
        memory = self.memory
        memory.stepped_down.append(SteppedDown(planned.profile_id, instead.profile_id, error.message))
        memory.profile, memory.ledger, memory.device = instead.profile_id, instead.ledger.as_dict(), instead.where
        memory.gpu_ledger = None if instead.gpu_ledger is None else instead.gpu_ledger.as_dict()

    def _begin_watch(self, encoder: Encoder, before: int) -> ResidentWatch:
        """Look on from now. In a process that held much before, its resident memory is not ours to hold."""
        memory = self.memory
        fixed = memory.ledger.get("fixed", 0)
        memory.elsewhere_bytes = max(0, before - fixed)
        memory.watched = before <= fixed * SHARED_SHARE
        watch = ResidentWatch(memory, encoder.scheduler, trim=trim_memory)
        if not memory.watched:
            log.info("resident memory is not watched: other work shares this process", resident_bytes=before)
        self._watching = asyncio.create_task(watch.run(), name="memory watch")
        return watch

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        if self.encoder is not None:
            await self.encoder.close()

    def retry_after_s(self) -> int:
        return 1 if self.encoder is None else self.encoder.scheduler.retry_after_s()

    def events(self) -> Mapping[str, int]:
        """How often what was done to stay inside the plan."""
        found: dict[str, int] = {}
        if self.encoder is not None:
            counted = self.encoder.scheduler.counters
            found = {name: getattr(counted, name) for name in
                     ("ooms", "splits", "cap_lowerings", "cap_raises", "probes", "devices_lost")}
        if self._watch is not None:
            found |= {name: getattr(self._watch, name) for name in ("over_ceiling", "trims", "holds")}
        return found

    def batch_tokens(self) -> tuple[int, int] | None:
        if self.encoder is None:
            return None
        return self.encoder.scheduler.batch_tokens_cap, self.encoder.scheduler.batch_tokens_planned


def _memory(settings: Settings, planned: ServicePlan, lifecycle: EncoderLifecycle) -> Memory:
    """The record of one service's process. What a lone request may take beyond the plan is what the budget leaves."""
    limit = budget(settings, detect(), planned.service).host.size
    spare = max(0, limit - limit // ALLOWANCE_SHARE - planned.ledger.total)
    lone = min(int(settings.max_body), (planned.ledger.slack + spare) // BYTES_PER_BODY_BYTE)
    gate = ByteGate(planned.ledger.slack // BYTES_PER_BODY_BYTE, lone, retry_after_s=lifecycle.retry_after_s)
    beyond = max(0, gate.alone_bytes * BYTES_PER_BODY_BYTE - planned.ledger.slack)
    allowance = max(planned.ledger.total // ALLOWANCE_SHARE, beyond)
    if limit > planned.ledger.total:  # a share of a stack is its plan to the byte, and others of it leave some
        allowance = min(allowance, limit - planned.ledger.total)
    return Memory(
        planned.profile_id,
        planned.ledger.as_dict(),
        device=planned.where,
        gpu_ledger=None if planned.gpu_ledger is None else planned.gpu_ledger.as_dict(),
        allowance_bytes=allowance,
        gate=gate,
        events=lifecycle.events,
        batch_tokens=lifecycle.batch_tokens,
        usage=lambda: [device.last_usage for device in lifecycle.encoder.scheduler.devices if device.last_usage]
        if lifecycle.encoder else [],
        read=resident_bytes,
    )


def _nothing_left(tried: list[ServicePlan], error: OutOfMemory) -> OutOfMemory:
    """What was tried, and what the smallest of it adds up to."""
    last = tried[-1]
    ledger = last.gpu_ledger or last.ledger
    parts = sum_text((name, size) for name, size in ledger.as_dict().items() if size)
    names = ", ".join(planned.profile_id for planned in tried)
    return OutOfMemory(f"no profile of the plan loads ({names}): {last.profile_id} needs {parts} = "
                       f"{mebibytes(ledger.total)} on {last.where}; {error.message}")


def about_tokens(texts: Sequence[str], limit: int, *, beside: str = "") -> int:
    """About the tokens of rows that hold one text each, cut to `limit`, with the text `beside` in each."""
    return sum(min(limit, (len(beside) + len(text)) // CHARACTERS_PER_TOKEN + 2) for text in texts)


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
        ("shared", "Sequences answered by a computation under way"),
        ("cached", "Sequences answered by the score cache"),
        ("refused", "Requests refused for want of queue"),
        ("expired", "Requests whose deadline passed in the queue"),
        ("abandoned", "Requests whose caller went away"),
        ("failures", "Batches that failed"),
        ("splits", "Batches split after running out of memory"),
        ("compute_s", "Seconds of compute"),
    ):
        counter(registry, f"ullage_scheduler_{name.replace('_s', '_seconds')}", text, read(name))
    gauge(registry, "ullage_scheduler_queued_tokens", "Tokens admitted and waiting", read("queued_tokens"))
    gauge(registry, "ullage_scheduler_running_tokens", "Tokens in the batch now running", read("running_tokens"))
