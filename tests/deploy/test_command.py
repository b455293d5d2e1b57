"""`ullage deploy` as a person runs it."""

from __future__ import annotations

import pytest
import yaml

from ullage.cli.main import main


@pytest.fixture(autouse=True)
def no_settings_of_this_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("ULLAGE_STATE_DIR", str(tmp_path))


def test_env_is_what_compose_reads(capsys):
    assert main(["deploy", "env", "--device-file", "l4-24gb", "--only", "ranking,rag"]) == 0
    lines = dict(line.split("=") for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {"ULLAGE_RANKING_MEMORY", "RANKING_LIMIT", "ULLAGE_RANKING_GPU_MEMORY", "ULLAGE_RAG_MEMORY",
                          "RAG_LIMIT"}
    assert int(lines["RAG_LIMIT"]) > int(lines["ULLAGE_RAG_MEMORY"])


def test_manifests_are_one_stream_of_documents(capsys):
    assert main(["deploy", "kubernetes", "--only", "ranking", "--namespace", "mine", "--image", "x:1"]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [d["kind"] for d in documents] == ["Namespace", "NetworkPolicy", "Deployment", "Service"]
    assert documents[2]["spec"]["template"]["spec"]["containers"][0]["image"] == "x:1"


def test_a_unit_is_printed(capsys):
    assert main(["deploy", "systemd", "--only", "ranking", "--user", "rag"]) == 0
    assert "User=rag\n" in capsys.readouterr().out


def test_what_does_not_fit_is_refused_with_the_sum(capsys):
    assert main(["deploy", "env", "--memory", "100MiB"]) == 3
    assert "the smallest budget that works is" in capsys.readouterr().err
