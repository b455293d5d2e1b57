"""What `up --ray` and `store copy` refuse before anything is started, in one line."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ullage.cli import main as entry
from ullage.cli.up_ray import as_options
from ullage.stack.ray.cluster import has_ray
from ullage.store import Chunk, VectorStore


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = entry.main(arguments)
    return code, capsys.readouterr().err


def test_options_of_ray_without_ray_are_refused(capsys):
    for option, value in (("--replicas", "ranking=2"), ("--replica-cpus", "2.0")):
        code, error = said(capsys, "up", option, value)
        assert code == 2
        assert error.startswith(f"error: {option} {value} is for services on Ray: add --ray local")
        assert error.count("\n") == 1


def test_replicas_are_read_before_anything_is_planned(capsys):
    assert said(capsys, "up", "--ray", "local", "--replicas", "llm=2")[0] == 2


@pytest.mark.skipif(has_ray(), reason="Ray is installed here")
def test_without_the_extra_it_says_what_to_install(capsys, tmp_path):
    code, error = said(capsys, "--set", f"state_dir={tmp_path}", "up", "--only", "ranking", "--ray", "local")
    assert (code, error) == (2, "error: --ray needs Ray: pip install 'ullage[ray]'\n")


def test_a_detached_stack_is_started_with_the_same_options():
    assert as_options("local", "ranking=2", None) == ["--ray", "local", "--replicas", "ranking=2"]
    assert as_options(None, None, None) == []


def test_one_database_is_copied_into_another(capsys, tmp_path: Path):
    old, new = str(tmp_path / "old.db"), str(tmp_path / "new.db")
    with closing(VectorStore(old)) as store:
        store.create_collection("c", embedder="m", dimension=4)
        chunk = Chunk("d.md", "a" * 64, 0, "pump", metadata={"document": {"chunks": 1}})
        store.upsert("c", [chunk], np.ones((1, 4), np.float32))
    assert entry.main(["store", "copy", old, new, "--json"]) == 0
    [copied] = json.loads(capsys.readouterr().out)
    assert (copied["collection"], copied["passages"], copied["skipped"]) == ("c", 1, 0)
    code, error = said(capsys, "store", "copy", old, old)
    assert (code, error.count("\n")) == (2, 1)
    code, error = said(capsys, "store", "copy", old, new)
    assert (code, "has a collection c already" in error) == (2, True)
