"""Memory of the packed engine on a GPU that others use too: predicted beside measured, device-wide.

A hog takes all but so many bytes, and the ranking service is started in what is left. What it takes is read from the
driver as the change of the whole device, by a process that holds nothing on it itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import pynvml

from ullage.bench.gpu_checkpoint import one_billion
from ullage.bench.gpu_service import RankingProcess, calls_of, flood, tokenizer_in
from ullage.devices import detect
from ullage.errors import DoesNotFit, OutOfMemory, UllageError
from ullage.models.card import Card
from ullage.models.resolve import resolve
from ullage.plan import Ledger, Profile, plan_service
from ullage.plan.packed import packed_gpu_ledger
from ullage.settings import Settings

GIB, MIB = 1 << 30, 1 << 20
FREE_BYTES = tuple(int(gib * GIB) for gib in (8, 4, 3.3, 2.6, 2.0, 1.0))
SHARED: dict[str, Any] = {"gpu_headroom": "64MiB", "allow_lower_precision": True, "allow_cpu": False}
"""Settings of the service beside a hog. The default headroom is made for a GPU that others grow on."""

FLOOD_CLIENTS, FLOOD_S, FLOOD_QUEUE_TOKENS = 8, 12.0, 2_000_000

LOAD_TIMEOUT_S = 120.0
PROFILES = (
    Profile("cuda", "bf16", 16384, 8192), Profile("cuda", "bf16", 2048, 2048),
    Profile("cuda", "bf16", 16384, 8192, host_embedding=True),
    Profile("cuda", "int8", 16384, 8192), Profile("cuda", "int8", 4096, 2048),
    Profile("cuda", "int8", 16384, 8192, host_embedding=True),
    Profile("cuda", "fp8", 16384, 8192), Profile("cuda", "fp8", 4096, 2048),
    Profile("cuda", "fp8", 16384, 8192, host_embedding=True),
)  # fmt: skip

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one profile, device-wide. `said` is why it did not load, or how it did."""

    profile: str
    predicted: int
    measured: int | None
    said: str
    free_before: int | None = None

    @property
    def off(self) -> float | None:
        """How far the prediction is from what was measured, as a share of that."""
        return None if self.measured is None else self.predicted / self.measured - 1


def footprints(folder: Path, cache_dir: Path, say: Say, profiles: Sequence[Profile] = PROFILES) -> list[Footprint]:
    """Each profile on an empty GPU."""
    card = one_billion()
    found = []
    for profile in profiles:
        measured = measure(card, profile, packed_gpu_ledger(card, profile), folder, cache_dir)
        found.append(measured)
        say(text(measured))
    return found


def free_memory_cases(
    folder: Path, cache_dir: Path, say: Say, free: Sequence[int] = FREE_BYTES
) -> tuple[list[Footprint], dict[str, int]]:
    """The ranking service started beside a hog that leaves each amount free, on the profile that the plan announces or
    refused; then, at the first amount, a flood over HTTP while the hog takes all that is left: what it counted."""
    calls = calls_of(tokenizer_in(folder), FLOOD_CLIENTS)
    found: list[Footprint] = []
    with Hog() as hog:
        for left in free:
            hog.leave(left)
            found.append(_beside(folder, cache_dir))
            say(text(found[-1]))
        hog.leave(free[0])
        counted = _flood_beside(hog, folder, cache_dir, calls)
        say(f"flood while the hog fills the card: {counted}")
    return found, counted


def _beside(folder: Path, cache_dir: Path) -> Footprint:
    """One start in what is free now: the service's own plan, and what the device lost."""
    at, free_before = _used(), _free()
    announced, needed = _announced(folder)
    try:
        with RankingProcess(folder, cache_dir, **SHARED) as service:
            taken = _used() - at
            ledger = service.memory["gpu"]["ledger"]
            kept = "as announced" if service.profile == announced else f"announced was {announced}"
            return Footprint(service.profile, sum(ledger.values()), taken,
                             f"ready after {service.start_s:.1f} s, {kept}", free_before)
    except DoesNotFit as error:
        kept = "" if announced == "none" else f"although {announced} was announced: "
        return Footprint("none", needed, None, f"refused: {kept}{error.message}", free_before)


def _announced(folder: Path) -> tuple[str, int]:
    """The profile that `ullage plan ranking` names now and its bytes, or `none` and what the smallest needs."""
    settings = Settings(**{**SHARED, "ranking_device": "cuda"})
    try:
        planned = plan_service("ranking", resolve(str(folder), "ranking"), settings, detect())["ranking"]
    except DoesNotFit as error:
        return "none", error.needed_bytes
    assert planned.gpu_ledger is not None
    return planned.profile_id, planned.gpu_ledger.total


def _flood_beside(hog: Hog, folder: Path, cache_dir: Path, calls: Sequence[dict[str, object]]) -> dict[str, int]:
    with RankingProcess(folder, cache_dir, queue_tokens=FLOOD_QUEUE_TOKENS, **SHARED) as service:
        with ThreadPoolExecutor(1) as other:
            flooding = other.submit(lambda: asyncio.run(flood(service.url, calls, FLOOD_S)))
            time.sleep(FLOOD_S / 3)
            hog.leave(0)
            left = _free()
            found = flooding.result()
        events = httpx.get(f"{service.url}/v1/memory", timeout=30).json()["events"]
    return {"calls": len(found.times), "failed": len(found.failures), "free_mib_at_the_end": left // MIB,
            "out_of_memory_events": int(events.get("ooms", 0))}


def measure(
    card: Card, profile: Profile, ledger: Ledger, folder: Path, cache_dir: Path, *, at: int | None = None,
    free_before: int | None = None,
) -> Footprint:
    """Load a profile in a process of its own and read the device before and after."""
    before = _used() if at is None else at
    begun = time.perf_counter()
    with _Engine(card, profile, ledger, folder, cache_dir) as engine:
        try:
            told = engine.wait()
        except UllageError as error:
            return Footprint(profile.id, ledger.total, None, f"did not load: {error}", free_before)
        taken = _used() - before
        return Footprint(profile.id, ledger.total, taken,
                         f"ready after {time.perf_counter() - begun:.1f} s, own count {told['own'] >> 20} MiB, of it "
                         f"{told['beside'] >> 20} MiB beside the allocator", free_before)


def text(found: Footprint) -> str:
    free = "" if found.free_before is None else f"{found.free_before >> 20} MiB free: "
    if found.measured is None or found.off is None:
        return f"{free}{found.profile}: predicted {found.predicted >> 20} MiB, {found.said}"
    return (f"{free}{found.profile}: predicted {found.predicted >> 20} MiB, measured {found.measured >> 20} MiB "
            f"({found.off:+.1%}), {found.said}")


class _Child:
    """A process of our own that answers over a pipe."""

    def __init__(self, target: Callable[..., None], *given: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *given), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, what: Any) -> None:
        self._pipe.send(what)

    def wait(self, seconds: float = LOAD_TIMEOUT_S) -> Any:
        """The next answer. Raises what the child raised, or OutOfMemory when it went away without a word."""
        if not self._pipe.poll(seconds):
            raise OutOfMemory(f"the process did not answer within {seconds:g} s")
        try:
            found = self._pipe.recv()
        except EOFError:
            raise OutOfMemory("the process ended without a word") from None
        if isinstance(found, Exception):
            raise found
        return found

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._pipe.send("close")
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class _Engine(_Child):
    def __init__(self, card: Card, profile: Profile, ledger: Ledger, folder: Path, cache_dir: Path) -> None:
        super().__init__(_run_engine, card, profile, ledger, folder, cache_dir)

    def __enter__(self) -> _Engine:
        return self


class Hog(_Child):
    """Another user of the GPU, who takes all but what it is told to leave."""

    def __init__(self) -> None:
        super().__init__(_run_hog)

    def __enter__(self) -> Hog:
        self.wait()
        return self

    def leave(self, size: int) -> None:
        self.ask(size)
        self.wait()


def _run_engine(pipe: Connection, card: Card, profile: Profile, ledger: Ledger, folder: Path, cache_dir: Path) -> None:
    from ullage.engines.cuda_packed.engine import PackedEngine

    engine = PackedEngine(card, profile, folder, cache_dir=cache_dir, index=0,
                          limit_bytes=ledger.total - ledger.fixed)
    try:
        engine.load()
    except UllageError as error:
        pipe.send(error)
        return
    usage = engine.usage()
    pipe.send({"own": engine.loaded_bytes, "beside": engine.beside_bytes, "peak": usage.peak_bytes if usage else 0})
    pipe.recv()
    engine.close()


def _run_hog(pipe: Connection) -> None:
    import torch

    torch.cuda.init()
    held: list[Any] = []
    pipe.send("here")
    while (asked := pipe.recv()) != "close":
        free = torch.cuda.mem_get_info(0)[0]
        if free < asked:
            held.clear()
            torch.cuda.empty_cache()
            free = torch.cuda.mem_get_info(0)[0]
        for size in (free - asked, 64 * MIB, 16 * MIB, 2 * MIB):
            with suppress(torch.cuda.OutOfMemoryError):
                while (left := torch.cuda.mem_get_info(0)[0] - asked) >= 2 * MIB:
                    held.append(torch.empty(min(size, left) // MIB * MIB, dtype=torch.uint8, device="cuda"))
        pipe.send("done")


def _used() -> int:
    pynvml.nvmlInit()
    return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)


def _free() -> int:
    pynvml.nvmlInit()
    return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).free)
