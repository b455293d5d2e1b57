"""Every command is found, and none loads another."""

import subprocess
import sys
from pathlib import Path

import pytest

import ullage.cli
from processes import clean_environment
from ullage.cli.lazy import MODULES, LazyCommands


def test_every_module_with_commands_is_in_the_table_with_all_of_them():
    commands = LazyCommands()
    for name in commands:
        assert commands[name].name == name
    folder = Path(next(iter(ullage.cli.__path__)))
    texts = {file.stem: file.read_text() for file in folder.glob("*.py")}
    with_commands = {name for name, text in texts.items()
                     if "\ndef register(app: typer.Typer)" in text or "\napp = typer.Typer(" in text}
    assert with_commands - {"main", "bench_load"} == set(MODULES.values())  # bench_load is a part of bench
    for module in set(MODULES.values()):
        listed = {name for name, has in MODULES.items() if has == module}
        fresh = LazyCommands()
        assert fresh[next(iter(listed))]
        assert set(fresh._found) == listed


def test_a_name_that_is_none_is_not_there():
    assert "sevre" not in LazyCommands()
    with pytest.raises(KeyError):
        LazyCommands()["sevre"]


def test_a_command_loads_no_other():
    asked = ("import sys; from ullage.cli.main import main; main(['serve', '--help']); "
             "print('|', *(m for m in sys.modules if m.startswith('ullage.cli.')))")
    ran = subprocess.run([sys.executable, "-c", asked], env=clean_environment(), capture_output=True, text=True,
                         check=True, timeout=60)
    loaded = set(ran.stdout.rpartition("|")[2].split())
    assert "ullage.cli.serve" in loaded
    assert loaded.isdisjoint(f"ullage.cli.{module}" for module in MODULES.values() if module != "serve")
