"""The ranking service above the dummy engine: the real tokenizer and routes, logits that depend on a row alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

from dummies import cross_encoder_plan, open_with
from ullage.engines.dummy import DummyEngine
from ullage.serve.ranking.app import create_app
from ullage.settings import Settings


@pytest.fixture
def dummy_ranking(monkeypatch: pytest.MonkeyPatch, model_cache: Path) -> Callable[..., FastAPI]:
    """Builds the app; `engine` and settings by keyword."""

    def build(engine: DummyEngine | None = None, **settings: object) -> FastAPI:
        open_with(monkeypatch, [engine or DummyEngine()])
        made = Settings(cache_dir=model_cache, **settings)
        return create_app(made, cross_encoder_plan(made))

    return build
