"""From a plan to a scheduler that is ready: step down, say how far, pause and go on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from dummies import Small, cross_encoder_plan, open_with, smaller
from ullage.devices import Gpu
from ullage.engines.base import Batch, Row, Usage
from ullage.engines.dummy import DummyEngine
from ullage.errors import OutOfMemory
from ullage.http import Health
from ullage.plan import Ledger
from ullage.schedule import device
from ullage.serve.encoder import Encoder, EncoderLifecycle
from ullage.settings import Settings

pytestmark = pytest.mark.usefixtures("model_cache")


@pytest.fixture
def settings() -> Settings:
    return Settings()


async def prove(encoder: Encoder) -> object:
    return await encoder.scheduler.submit([Row(np.zeros(4, np.int32))], lambda *_: None)


async def test_a_profile_that_does_not_load_steps_down_and_says_so(monkeypatch, settings):
    planned = smaller(cross_encoder_plan(settings), 4096, 2048, 1024)
    asked = open_with(monkeypatch, [Small(), Small(), DummyEngine()])
    lifecycle = EncoderLifecycle(settings, planned, prove)
    health = Health()
    await lifecycle.start(health)
    tried = [call["profile"].max_tokens for call in asked]
    assert tried == [planned.profile.max_tokens, 4096, 2048]
    told = lifecycle.memory.report()
    assert told["profile"] == lifecycle.encoder.profile.id == planned.fallbacks[1].profile_id
    assert [(step["profile"], step["instead"]) for step in told["stepped_down"]] == [
        (planned.profile_id, planned.fallbacks[0].profile_id),
        (planned.fallbacks[0].profile_id, planned.fallbacks[1].profile_id),
    ]
    assert all("5 bytes left" in step["reason"] for step in told["stepped_down"])
    assert told["batch_tokens"] == {"cap": 2048, "planned": 2048}
    await lifecycle.stop()


async def test_a_proof_that_runs_out_of_memory_steps_down_too(monkeypatch, settings):
    def never(_: Batch) -> None:
        raise OutOfMemory("no room to run")

    planned = smaller(cross_encoder_plan(settings), 1024)
    engines = [DummyEngine(fail=never), DummyEngine()]
    open_with(monkeypatch, engines)
    lifecycle = EncoderLifecycle(settings, planned, prove)
    await lifecycle.start(Health())
    assert [engine.loaded for engine in engines] == [False, True]
    assert lifecycle.encoder.profile.max_tokens == 1024
    await lifecycle.stop()
    assert not engines[1].loaded


async def test_when_nothing_loads_the_sum_is_told(monkeypatch, settings):
    planned = smaller(cross_encoder_plan(settings), 1024)
    open_with(monkeypatch, [Small(), Small()])
    lifecycle = EncoderLifecycle(settings, planned, prove)
    with pytest.raises(OutOfMemory, match=r"no profile of the plan loads \(.*s512, .*t1024.*\): .*t1024.* needs "
                                          r"fixed \d+ MiB \+ weights .* = \d+ MiB on cpu; the device has 5 bytes left"):
        await lifecycle.start(Health())


async def test_loading_says_how_far_it_is(monkeypatch, settings):
    seen: list[tuple[str, float | None]] = []

    class Slow(DummyEngine):
        def __init__(self, progress) -> None:
            super().__init__()
            self._progress = progress

        def load(self) -> None:
            for share in (0.0, 0.4, 1.0):
                self._progress(share)

    class Told(Health):
        def loading(self, reason: str, progress: float | None = None) -> None:
            super().loading(reason, progress)
            seen.append((self.reason, self.progress))

    planned = cross_encoder_plan(settings)
    planned = replace(planned, profile=replace(planned.profile, instances=2))
    open_with(monkeypatch, lambda progress, **_: Slow(progress))
    lifecycle = EncoderLifecycle(settings, planned, prove)
    await lifecycle.start(Told())
    await lifecycle.stop()
    assert ("loading weights 20 %", 0.2) in seen
    assert ("loading weights 100 %", 1.0) in seen
    assert seen[0][0] == f"loading {planned.profile_id}"
    assert seen[-1][0] == "scoring a first request"


async def test_instances_share_the_plan_and_the_queue(monkeypatch, settings):
    planned = cross_encoder_plan(settings)
    planned = replace(planned, profile=replace(planned.profile, instances=2),
                      ledger=Ledger(100, weights=40, activations=60, slack=8))
    engines = [DummyEngine(), DummyEngine()]
    asked = open_with(monkeypatch, engines)
    encoder = Encoder(settings, planned, cap=True)
    await encoder.start()
    assert [call["ledger"] for call in asked] == 2 * [Ledger(100, weights=20, activations=30, slack=8)]
    assert len(encoder.scheduler.devices) == 2
    assert all(engine.loaded for engine in engines)
    await encoder.close()


async def test_the_opener_is_told_all_that_the_plan_says(monkeypatch, settings):
    asked = open_with(monkeypatch, [DummyEngine()])
    planned = cross_encoder_plan(settings)
    Encoder(settings, planned, cap=True)
    assert set(asked[0]) == {"profile", "ledger", "gpu", "gpu_ledger", "cache_dir", "threads", "cap", "progress",
                             "backend"}
    assert asked[0]["ledger"] == planned.ledger


async def test_unready_while_a_longest_row_does_not_fit_and_ready_again(monkeypatch, settings):
    monkeypatch.setattr(device, "FIRST_PROBE_S", 0.01)
    room = [1 << 30]

    def fail(batch: Batch) -> None:
        if batch.tokens > room[0]:
            raise OutOfMemory(f"{batch.tokens} tokens do not fit")

    open_with(monkeypatch, [DummyEngine(fail=fail)])
    lifecycle, health = EncoderLifecycle(settings, cross_encoder_plan(settings), prove), Health()
    await lifecycle.start(health)
    health.set_ready()
    room[0] = 100
    with pytest.raises(OutOfMemory):
        await lifecycle.encoder.scheduler.submit([Row(np.zeros(200, np.int32))], lambda *_: None)
    assert not health.ready
    assert health.reason.startswith("one row of 512 tokens cannot be computed now")
    room[0] = 512
    async with asyncio.timeout(20):
        while not health.ready:
            await asyncio.sleep(0.005)
    assert lifecycle.memory.report()["events"]["ooms"] == 2
    await lifecycle.stop()


async def test_what_engines_hold_is_told(monkeypatch, settings):
    class OnGpu(DummyEngine):
        def usage(self) -> Usage | None:
            return Usage("cuda:0", 11, 12, 13)

    open_with(monkeypatch, [OnGpu()])
    planned = replace(cross_encoder_plan(settings), gpu_ledger=Ledger(5, weights=7))
    lifecycle = EncoderLifecycle(settings, planned, prove)
    await lifecycle.start(Health())
    await lifecycle.encoder.scheduler.usage()
    told = lifecycle.memory.report()["gpu"]
    assert (told["planned_bytes"], told["used_bytes"], told["peak_bytes"], told["headroom_bytes"]) == (12, 11, 12, 1)
    await lifecycle.stop()


@pytest.mark.parametrize("spare", [0, 1 << 20, 5 << 20, 1 << 30])
def test_something_is_done_before_a_stated_budget_is_passed(settings, spare):
    planned = cross_encoder_plan(settings)
    stated = planned.ledger.total + spare
    memory = EncoderLifecycle(Settings(ranking_memory=stated), planned, prove).memory
    if spare:
        assert planned.ledger.total < memory.ceiling_bytes <= stated
    else:  # a share of a stack is its plan to the byte: a prediction may be off by 5 %
        assert memory.ceiling_bytes == planned.ledger.total + planned.ledger.total // 20


async def test_one_engine_on_each_gpu_behind_one_queue(monkeypatch, settings):
    planned = cross_encoder_plan(settings)
    gpus = (Gpu(0, "a GPU", 8 << 30, 8 << 30), Gpu(3, "a GPU", 8 << 30, 8 << 30))
    planned = replace(planned, gpus=gpus, profile=replace(planned.profile, device="cuda"),
                      gpu_ledger=Ledger(100, weights=40), ledger=Ledger(100, weights=40, activations=60))
    asked = open_with(monkeypatch, [DummyEngine(), DummyEngine()])
    encoder = Encoder(settings, planned, cap=True)
    assert [call["gpu"] for call in asked] == [*gpus]
    assert [call["gpu_ledger"] for call in asked] == 2 * [Ledger(100, weights=40)]  # each has its own card
    assert [call["ledger"] for call in asked] == 2 * [Ledger(100, weights=20, activations=30)]
    assert [device.name for device in encoder.scheduler.devices] == ["cuda:0/0", "cuda:3/1"]
