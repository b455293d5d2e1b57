"""Checkpoints of every family, and engines for them on the CPU in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from packed_models import FAMILIES, LONGEST, Made, everything_seen, make
from ullage.engines.cuda_packed.engine import PackedEngine
from ullage.plan.profile import Profile


@pytest.fixture(autouse=True)
def bidirectional(monkeypatch: pytest.MonkeyPatch) -> None:
    everything_seen(monkeypatch)


@pytest.fixture(scope="module", params=FAMILIES)
def ranker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    options: dict[str, Any] = {"temperature": 0.7} if request.param == "llama" else {}
    return make(tmp_path_factory.mktemp("ranker") / request.param, request.param, ranks=True, **options)


@pytest.fixture(scope="module", params=FAMILIES)
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("embedder") / request.param, request.param, ranks=False)


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., PackedEngine]]:
    """Engines by card and folder, loaded, and closed after the test."""
    engines = []

    def loaded(made: Made, *, max_tokens: int = 8192, max_sequence: int = LONGEST, **options: Any) -> PackedEngine:
        profile = Profile("cpu", "fp32", max_tokens, max_sequence)
        engine = PackedEngine(made.card, profile, made.folder, cache_dir=tmp_path, threads=1, **options)
        engines.append(engine)
        engine.load()
        return engine

    yield loaded
    for engine in engines:
        engine.close()
