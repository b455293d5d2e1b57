from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ullage.engines.vision.engine import VisionEngine
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.settings import VISION_TASKS


@pytest.fixture(scope="session")
def paths(model_cache: Path) -> dict[str, Path]:
    return locate(find_card("ullage/page-vision", "vision"), model_cache)


@pytest.fixture(scope="session")
def engine(paths: dict[str, Path]) -> Iterator[VisionEngine]:
    """Small and bounded: 500,000 pixels of detector."""
    made = VisionEngine(paths, VISION_TASKS, threads=2, detector_pixels=500_000, max_pixels=2_000_000,
                        arena_bytes=129 << 20)
    made.load()
    yield made
    made.close()
