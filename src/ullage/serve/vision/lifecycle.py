"""From a plan to a loaded engine that has looked at a page, once, however many ports share it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping
from typing import cast

import structlog
from PIL import Image, ImageDraw
from prometheus_client import CollectorRegistry

from ullage.devices import detect
from ullage.engines.onnx_cpu import trim_memory
from ullage.engines.vision.engine import Asked, VisionEngine
from ullage.errors import EngineFailed, ModelUnsupported, OutOfMemory
from ullage.http import Health
from ullage.http.gate import ByteGate
from ullage.http.memory import Memory, SteppedDown, resident_bytes
from ullage.http.metrics import counter, gauge
from ullage.models.card import FileRole
from ullage.models.files import locate
from ullage.plan import ServicePlan
from ullage.plan.budget import budget
from ullage.plan.vision import arena_bytes
from ullage.serve.encoder import ALLOWANCE_SHARE, SHARED_SHARE
from ullage.serve.vision.pool import Looker, Pool
from ullage.serve.watch import ResidentWatch
from ullage.settings import Settings

log = structlog.get_logger("ullage.vision")

BYTES_PER_BODY_BYTE = 4
"""Memory that a byte of a request body takes until the answer: itself, its text, twice at times, and the file in it."""

PROVED = "Ready?"
OpenEngine = Callable[[Settings, ServicePlan], Looker]


class VisionLifecycle:
    """`start` is called for every port: the first call loads, the others wait for it.

    `open_engine` makes the engine of a plan.
    """

    def __init__(
        self, settings: Settings, planned: ServicePlan, open_engine: OpenEngine | None = None
    ) -> None:
        if planned.card is None or planned.profile is None:
            raise ModelUnsupported(f"the plan of {planned.service} names no model")
        self._settings = settings
        self._planned = planned
        self._open = open_engine or open_vision
        self._loading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._watch: ResidentWatch | None = None
        self._healths: list[Health] = []
        self.pool: Pool | None = None
        self.memory = _memory(settings, planned, self)

    async def start(self, health: Health) -> None:
        """Raises OutOfMemory when no profile of the plan loads, or ModelError."""
        self._healths.append(health)
        health.loading(f"loading {self._planned.profile_id}")
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(), name="vision loading")
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        before = resident_bytes()
        candidates = [self._planned, *self._planned.fallbacks]
        for place, planned in enumerate(candidates):
            try:
                self.pool = await self._load_one(planned)
                break
            except OutOfMemory as error:
                if place + 1 == len(candidates):
                    raise
                self._step_down(planned, candidates[place + 1], error)
        trim_memory()
        assert self.pool is not None
        self._begin_watch(self.pool, before)

    async def _load_one(self, planned: ServicePlan) -> Pool:
        for health in self._healths:
            health.loading(f"loading {planned.profile_id}")
        engine = await asyncio.to_thread(self._open, self._settings, planned)
        pool = Pool(engine, most_waiting=self._settings.queue_requests)
        try:
            await pool.start()
            await _prove(pool, self._settings)
        except BaseException:
            await pool.close()
            raise
        return pool

    def _step_down(self, planned: ServicePlan, instead: ServicePlan, error: OutOfMemory) -> None:
        log.warning("stepping down", profile=planned.profile_id, instead=instead.profile_id, reason=error.message)
        memory = self.memory
        memory.stepped_down.append(SteppedDown(planned.profile_id, instead.profile_id, error.message))
        memory.profile, memory.ledger = instead.profile_id, instead.ledger.as_dict()

    def _begin_watch(self, pool: Pool, before: int) -> None:
        """In a process that held much before, its resident memory is not ours to hold."""
        memory = self.memory
        fixed = memory.ledger.get("fixed", 0)
        memory.elsewhere_bytes = max(0, before - fixed)
        memory.watched = before <= fixed * SHARED_SHARE
        self._watch = ResidentWatch(memory, pool, trim=trim_memory)
        self._watching = asyncio.create_task(self._watch.run(), name="memory watch")

    async def stop(self) -> None:
        """Called for every port; the first call does it."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        pool, self.pool = self.pool, None
        if pool is not None:
            await pool.close()

    def retry_after_s(self) -> int:
        return 1 if self.pool is None else self.pool.retry_after_s()

    def events(self) -> Mapping[str, int]:
        """How often what was done to stay inside the plan."""
        found = {} if self.pool is None else {"ooms": self.pool.ooms}
        if self._watch is not None:
            found |= {name: getattr(self._watch, name) for name in ("over_ceiling", "trims", "holds")}
        return found


def open_vision(settings: Settings, planned: ServicePlan) -> VisionEngine:
    """Verify the files and build the engine of a plan. Raises ModelError."""
    card, profile = planned.card, planned.profile
    assert card is not None
    assert profile is not None
    paths = locate(card, settings.cache_dir)
    return VisionEngine(
        {cast("FileRole", role): path for role, path in paths.items()},
        settings.tasks,
        threads=settings.threads or detect().cores,
        detector_pixels=profile.pixels,
        max_pixels=settings.vision_max_pixels,
        arena_bytes=arena_bytes(profile),
    )


async def _prove(pool: Pool, settings: Settings) -> None:
    """One real picture through every task. Raises EngineFailed when its one word is not read."""
    page = Image.new("RGB", (480, 160), "white")
    pencil = ImageDraw.Draw(page)
    pencil.text((60, 50), PROVED, fill="black", font_size=48)
    kept = io.BytesIO()
    page.save(kept, "PNG")
    for task in settings.tasks:
        looked = await pool.look([Asked(task, kept.getvalue())])
        said = "".join(line.text for line in looked.found[0].lines)
        if task == "ocr" and PROVED.rstrip("?") not in said:
            raise EngineFailed(f"the first page reads {said[:40]!r} and not {PROVED!r}: the models do not work")


def _memory(settings: Settings, planned: ServicePlan, lifecycle: VisionLifecycle) -> Memory:
    """The record of the process. What a lone request may take beyond the plan is what the budget leaves."""
    limit = budget(settings, detect(), planned.service).host.size
    spare = max(0, limit - limit // ALLOWANCE_SHARE - planned.ledger.total)
    lone = min(int(settings.max_body), (planned.ledger.slack + spare) // BYTES_PER_BODY_BYTE)
    gate = ByteGate(planned.ledger.slack // BYTES_PER_BODY_BYTE, lone, retry_after_s=lifecycle.retry_after_s)
    beyond = max(0, gate.alone_bytes * BYTES_PER_BODY_BYTE - planned.ledger.slack)
    return Memory(
        planned.profile_id,
        planned.ledger.as_dict(),
        allowance_bytes=max(planned.ledger.total // ALLOWANCE_SHARE, beyond),
        gate=gate,
        events=lifecycle.events,
        read=resident_bytes,
    )


def add_pool_metrics(registry: CollectorRegistry, lifecycle: VisionLifecycle) -> None:
    """Figures of the pool, read at scrape time."""

    def read(name: str) -> Callable[[], float]:
        return lambda: float(getattr(lifecycle.pool.counters, name)) if lifecycle.pool else 0.0

    for name, text in (
        ("pictures", "Pictures looked at"),
        ("refused", "Requests refused for want of queue"),
        ("abandoned", "Requests whose caller went away"),
        ("failures", "Pictures that failed, for whatever reason"),
        ("compute_s", "Seconds of compute"),
    ):
        counter(registry, f"ullage_vision_{name.replace('_s', '_seconds')}", text, read(name))
    gauge(registry, "ullage_vision_queue_depth", "Pictures admitted and waiting", read("waiting"))
