"""A process that cannot do what it was told says so in one line, with its exit code, and starts nothing."""

import socket
import subprocess
import sys

import pytest

from processes import clean_environment


def ullage(*arguments, **environment):
    command = [sys.executable, "-m", "ullage", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment(**environment))


def refused(done, code):
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_budget_too_small_shows_the_sum_and_the_way_out(model_cache):
    said = refused(ullage("serve", "ranking", "--memory", "100MiB", "--port", "1"), 3)
    assert "smallest budget that works is" in said
    needed = said.rsplit(" ", 1)[1]
    assert ullage("plan", "--json", ULLAGE_RANKING_MEMORY=needed).returncode == 0


def test_a_stack_too_large_for_its_budget_starts_nothing(model_cache, tmp_path):
    said = refused(ullage("up", "--memory", "300MiB", ULLAGE_STATE_DIR=str(tmp_path)), 3)
    assert "ranking" in said
    assert "300 MiB" in said
    assert list(tmp_path.rglob("*.log")) == []


def test_a_port_in_use_is_named(model_cache):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert f":{port}" in refused(ullage("serve", "ranking", "--port", str(port)), 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("memory: [", "line 1"),
        ("memori: 1GiB", "did you mean memory?"),
        ("- a", "holds a list"),
        ("retrieve_top_k: 0\nrerank_top_k: 99", "rerank_top_k=99"),
    ],
)
def test_a_broken_settings_file_is_refused(tmp_path, content, said):
    file = tmp_path / "ullage.yaml"
    file.write_text(content)
    line = refused(ullage("settings", ULLAGE_CONFIG=str(file)), 2)
    assert said in line


def test_a_name_nobody_honours_is_refused():
    assert "did you mean ULLAGE_RANKING_PORT?" in refused(ullage("settings", ULLAGE_RANKIN_PORT="1"), 2)
