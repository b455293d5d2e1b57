"""A ranking replica whose engine takes a fixed time a token without computing: four of them do not share two cores."""

from __future__ import annotations

import pytest
from starlette.types import ASGIApp

from dummies import cross_encoder_plan, open_with
from ullage.engines.dummy import DummyEngine
from ullage.serve.ranking.app import create_app
from ullage.stack.ray.replica import Replica, Signed

TOKENS_PER_S = 2000.0


class Paced(Replica):
    """The product's own app, scheduler and routes; the engine alone is another."""

    def __serve_build_asgi_app__(self) -> ASGIApp:
        open_with(pytest.MonkeyPatch(), [DummyEngine(tokens_per_s=TOKENS_PER_S)])
        self._api = create_app(self._settings, cross_encoder_plan(self._settings))
        return Signed(self._api, self._name)
