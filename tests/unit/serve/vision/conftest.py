from __future__ import annotations

from collections.abc import Iterator

import pytest

from ullage.devices import detect
from ullage.engines.vision.engine import Asked, Found, VisionEngine
from ullage.models.card import find_card
from ullage.plan import plan_service
from ullage.serve.vision.app import assemble
from ullage.serve.vision.lifecycle import VisionLifecycle, open_vision
from ullage.settings import Settings


class Shared:
    """The real engine, loaded once for all tests."""

    ooms = 0

    def __init__(self, engine: VisionEngine) -> None:
        self._engine = engine

    def load(self) -> None:
        pass

    def run(self, asked: Asked) -> Found:
        return self._engine.run(asked)

    def release(self) -> None:
        self._engine.release()

    def close(self) -> None:
        pass


def planned_with(settings):
    card = find_card("ullage/page-vision", "vision")
    return plan_service("vision", card, settings, detect())["vision"]


@pytest.fixture(scope="session")
def loaded(model_cache) -> Iterator[VisionEngine]:
    settings = Settings(cache_dir=model_cache, threads=2, vision_profile="cpu-fp32-p500k", vision_max_pixels=2_000_000)
    engine = open_vision(settings, planned_with(settings))
    engine.load()
    yield engine
    engine.close()


@pytest.fixture
def vision(loaded, model_cache):
    """Make the app of a vision service that shares the loaded engine."""

    def made(**changed):
        settings = Settings(cache_dir=model_cache, vision_profile="cpu-fp32-p500k", vision_max_pixels=2_000_000,
                            **changed)
        planned = planned_with(settings)
        lifecycle = VisionLifecycle(settings, planned, lambda *_: Shared(loaded))
        return assemble(settings, planned, planned.card, lifecycle)

    return made
