"""The embedding service above the dummy engine: the real tokenizer and routes, vectors that depend on a text alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI

from dummies import open_with
from ullage.devices import detect
from ullage.engines.base import Batch, Output
from ullage.engines.dummy import DummyEngine
from ullage.models.card import find_card
from ullage.plan import plan_service
from ullage.serve.embedding.app import create_app
from ullage.settings import Settings

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class Unit(DummyEngine):
    """Vectors of length 1 where the card says so."""

    def __init__(self, *, normalize: bool = True) -> None:
        super().__init__(width=384)
        self._normalize = normalize

    def run(self, batch: Batch) -> Output:
        rows = super().run(batch).rows
        return Output(rows=rows / np.linalg.norm(rows, axis=1, keepdims=True) if self._normalize else rows, tokens=None)


@pytest.fixture
def dummy_embedding(monkeypatch: pytest.MonkeyPatch, model_cache: Path) -> Callable[..., FastAPI]:
    """Builds the app; `card` are changes to the bundled model's card, the rest settings."""

    def build(card: dict[str, object] | None = None, **settings: object) -> FastAPI:
        made = Settings(cache_dir=model_cache, **settings)
        planned = plan_service("embedding", find_card(MODEL, "embedding"), made, detect())["embedding"]
        planned = replace(planned, card=planned.card.model_copy(update=card or {}))
        open_with(monkeypatch, [Unit(normalize=planned.card.normalize)])
        return create_app(made, planned)

    return build
