import subprocess
import sys

import pytest

from processes import clean_environment
from ullage import __version__
from ullage.cli import main as module
from ullage.cli.main import main
from ullage.errors import OUTCOMES, DoesNotFit, UllageError, outcome


def test_version(ullage):
    assert ullage("--version").out == f"ullage {__version__}\n"


def test_without_a_command_the_help_is_shown(ullage):
    ran = ullage()
    assert ran.code == 0
    for command in ("up", "down", "plan", "status", "settings", "models", "serve", "ingest", "ask", "search", "bench",
                    "demo"):
        assert f"\n  {command} " in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["sevre"], "Did you mean 'serve'"),
        (["plan", "--bogus"], "No such option: --bogus"),
        (["--bogus"], "No such option: --bogus"),
        (["serve"], "Missing argument"),
        (["serve", "rag", "--port", "many"], "Invalid value for '--port'"),
        (["search", "x", "--top-k", "26"], "Invalid value for '--top-k'"),
        (["models", "bogus"], "No such command 'bogus'"),
        (["ask"], "Missing argument"),
        (["plan", "ranking", "surplus"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(ullage, arguments, said):
    ran = ullage(*arguments)
    assert said in ran.refusal
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("cls", list(OUTCOMES), ids=lambda cls: cls.__name__)
def test_every_error_is_one_line_with_its_exit_code(monkeypatch, capsys, cls):
    error = DoesNotFit("too\nsmall", needed_bytes=2, budget_bytes=1) if cls is DoesNotFit else cls("too\nsmall")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(module, "app", fail)
    assert main([]) == outcome(error).exit_code
    assert capsys.readouterr().err == "error: too small\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (RuntimeError("two\nlines"), 1, "error: RuntimeError: two lines; this is a bug in ullage"),
        (UllageError("x"), 1, "error: x"),
    ],
)
def test_nothing_ends_in_a_traceback(monkeypatch, capsys, error, code, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(module, "app", fail)
    monkeypatch.delenv("ULLAGE_LOG_LEVEL", raising=False)
    assert main([]) == code
    assert capsys.readouterr().err.startswith(said)


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "ullage", "plan", "--only", "ranking", "--memory", "1MiB"],
                          capture_output=True, text=True, env=clean_environment(), check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: ranking does not fit: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_pipe_is_no_traceback():
    code = f"{sys.executable} -m ullage settings | head -n 1"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=clean_environment(), check=False)
    assert done.stdout.startswith("name")
    assert "Traceback" not in done.stderr
