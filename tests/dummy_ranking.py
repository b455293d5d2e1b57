"""A process that serves ranking above the dummy engine: `python dummy_ranking.py PORT TOKENS_PER_S`."""

from __future__ import annotations

import sys

import pytest

from dummies import cross_encoder_plan, open_with
from ullage.engines.dummy import DummyEngine
from ullage.http import run_server
from ullage.http.run import claim_port
from ullage.serve.ranking.app import create_app
from ullage.settings import load


def main(port: int, tokens_per_s: float) -> None:
    settings = load(service="ranking").settings
    open_with(pytest.MonkeyPatch(), [DummyEngine(tokens_per_s=tokens_per_s)])
    run_server(create_app(settings, cross_encoder_plan(settings)), claim_port("127.0.0.1", port))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
