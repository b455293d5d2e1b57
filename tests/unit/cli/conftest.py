"""Run a command in this process, as a shell would see it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ullage.cli.main import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of standard output must be one JSON value."""
        return json.loads(self.out)

    @property
    def refusal(self) -> str:
        """The one line in which it failed."""
        assert self.code != 0
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")


@pytest.fixture
def ullage(capsys, monkeypatch, tmp_path) -> Callable[..., Ran]:
    for name in list(os.environ):
        if name.startswith(("ULLAGE_", "NIM_", "APP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ULLAGE_STATE_DIR", str(tmp_path / "state"))

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run
