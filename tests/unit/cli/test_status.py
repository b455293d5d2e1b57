import asyncio
import io
from dataclasses import replace

from rich.console import Console

from ullage.cli.board import Board
from ullage.cli.status import status_table
from ullage.stack.services import Spec
from ullage.stack.state import ServiceRecord
from ullage.stack.status import ServiceStatus
from ullage.stack.supervisor import Supervisor

RANKING = ServiceStatus("ranking", "ready", True, "", "127.0.0.1", 1976, 17, "cpu-int8-t512-s512", 200 << 20, 150 << 20,
                        0.75, 3, 1.0, "log")


def text(renderable):
    stream = io.StringIO()
    Console(file=stream, width=200).print(renderable)
    return stream.getvalue()


def test_no_stack_is_exit_code_6(ullage, tmp_path):
    ran = ullage("status")
    assert ran.code == 6
    assert f"no stack runs on {tmp_path / 'state'}" in ran.out
    ran = ullage("status", "--json")
    assert ran.code == 6
    assert ran.json["running"] is False
    assert ran.json["services"] == []


def test_no_stack_is_nothing_to_stop(ullage):
    ran = ullage("down")
    assert (ran.code, ran.err) == (0, "")
    assert "no stack runs" in ran.out


def test_predicted_stands_beside_measured():
    first, row, total = text(status_table([RANKING])).splitlines()
    assert first.split() == ["service", "port", "profile", "predicted", "measured", "restarts", "ratio", "pid", "up",
                             "state"]
    assert row.split()[:10] == ["ranking", "1976", "cpu-int8-t512-s512", "200", "MiB", "150", "MiB", "3", "0.75", "17"]
    assert row.split()[-1] == "ready"
    assert total.split() == ["sum", "200", "MiB", "150", "MiB", "0.75"]


def test_a_narrow_table_fits_a_narrow_terminal():
    shown = text(status_table([replace(RANKING, state="starting", reason="loading")], wide=False)).splitlines()
    assert max(len(line.rstrip()) for line in shown) <= 100
    assert shown[1].split()[-3:] == ["3", "starting:", "loading"]


def record(state, reason=""):
    return ServiceRecord("ranking", "127.0.0.1", 1976, "http", "cpu", {"fixed": 64 << 20}, "log", state, reason)


def test_a_line_at_each_change_where_nobody_looks(capsys):
    board = Board(Console(file=io.StringIO()))
    for changed in (record("starting"), record("starting"), record("starting", "loading"), record("ready")):
        board.changed(changed)
    assert capsys.readouterr().out.splitlines() == [
        "ranking starting", "ranking starting: loading", "ranking ready on port 1976, cpu, 64 MiB predicted",
    ]


async def test_a_live_table_in_a_terminal(tmp_path, capsys):
    stream = io.StringIO()
    board = Board(Console(file=stream, force_terminal=True, width=200))
    board.start(Supervisor([Spec("ranking", ("true",), "127.0.0.1", 1976)], tmp_path, board.changed))
    board.changed(record("ready"))
    await asyncio.to_thread(board.close)
    assert "waiting" in stream.getvalue()
    assert capsys.readouterr().out == ""
