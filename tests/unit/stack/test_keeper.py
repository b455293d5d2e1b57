"""A service that is asked to restart, that dies again and again, or that says nothing any more."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import httpx
import pytest

from supervising import FAST, alive, supervised
from ullage.clients.stack import StackClient
from ullage.errors import NotFound, Unavailable
from ullage.stack.control import Control
from ullage.stack.death import Death, kernel_kills
from ullage.stack.doorstep import Doorstep
from ullage.stack.pace import Pace, Timing


async def test_a_service_with_its_own_sockets_is_restarted_in_turn(services, tmp_path):
    spec = services.spec("rag")
    async with supervised([spec], tmp_path) as stack:
        await stack.until_ready()
        first = stack["rag"].pid
        done = await stack.supervisor.restart("rag")
        assert (done.service, done.how) == ("rag", "in turn")
        assert stack["rag"].pid != first
        assert not alive(first)
        assert stack["rag"].restarts == 0
    assert services.pids(spec)[0] == first
    assert len(services.pids(spec)) == 2


async def test_why_two_are_never_at_once_is_told(services, tmp_path):
    spec = services.spec("ingest", alone="one ledger")
    async with supervised([spec], tmp_path) as stack:
        await stack.until_ready()
        assert (await stack.supervisor.restart("ingest", "no room")).why == "one ledger"


async def test_a_service_that_is_not_there_is_not_restarted(services, tmp_path):
    async with supervised([services.spec("rag")], tmp_path) as stack:
        with pytest.raises(NotFound, match="ranking does not run here: there are rag"):
            await stack.supervisor.restart("ranking")


async def test_one_that_starts_for_the_first_time_is_left_alone(services, tmp_path):
    async with supervised([services.spec("rag", "loading")], tmp_path) as stack:
        await stack.until(lambda: stack["rag"].reason == "still loading")
        with pytest.raises(Unavailable, match="rag starts for the first time"):
            await stack.supervisor.restart("rag")


async def test_a_crash_loop_is_stopped_explained_and_ended_by_hand(services, tmp_path):
    spec, other = services.spec("rag", "brief"), services.spec("ranking")
    async with supervised([spec, other], tmp_path, replace(FAST, loop_deaths=3)) as stack:
        await stack.until(lambda: stack["rag"].state == "failed")
        assert len(services.pids(spec)) == 3
        assert stack["rag"].restarts == 2
        assert stack["rag"].reason.startswith("it died 3 times within ")
        assert "the last time exited with 9" in stack["rag"].reason
        assert "`ullage restart rag`" in stack["rag"].reason
        await stack.until(lambda: stack["ranking"].state == "ready")  # the rest goes on
        restart = asyncio.create_task(stack.supervisor.restart("rag"))
        await stack.until(lambda: len(services.pids(spec)) > 3)
        await asyncio.wait({restart})
        restart.exception()


async def test_asking_ends_the_pause(services, tmp_path):
    spec = services.spec("rag")
    patient = replace(FAST, first_delay_s=600, longest_delay_s=600)
    async with supervised([spec], tmp_path, patient) as stack:
        await stack.until_ready()
        os.kill(stack["rag"].pid, signal.SIGKILL)
        await stack.until(lambda: stack["rag"].state == "restarting")
        assert (await stack.supervisor.restart("rag")).how == "started"
        assert stack["rag"].state == "ready"


async def test_one_that_says_nothing_any_more_is_killed(services, tmp_path, monkeypatch):
    monkeypatch.setattr("ullage.stack.probe.TIMEOUT_S", 0.1)
    spec = services.spec("rag")
    async with supervised([spec], tmp_path, replace(FAST, hung_s=0.3)) as stack:
        await stack.until_ready()
        first = stack["rag"].pid
        os.kill(first, signal.SIGSTOP)
        await stack.until(lambda: stack["rag"].restarts >= 1)
        await stack.until_ready()
        assert not alive(first)
    assert any("no answer for" in record.reason for record in stack.heard)


async def test_callers_are_told_why_nobody_is_at_home(services):
    doorstep = Doorstep.of(replace(services.spec("ranking"), inherits=True))
    url = f"http://127.0.0.1:{doorstep.listeners[0].getsockname()[1]}"
    try:
        async with doorstep.answering(lambda: "it fell"), httpx.AsyncClient(trust_env=False) as http:
            asked = await http.post(f"{url}/v1/ranking", json={})
            health = await http.get(f"{url}/v1/health/ready")
    finally:
        doorstep.close()
    assert (asked.status_code, health.status_code) == (502, 503)
    assert asked.json()["message"] == "ranking does not run: it fell"
    assert health.json()["reason"] == "it fell"
    assert asked.headers["retry-after"] == "5"


class _Nothing:
    services = ()


class _Report:
    settings = None
    plan = _Nothing()

    def now(self, records):
        return {"services": [record.service for record in records]}


async def test_the_control_socket_answers_its_client_and_nobody_else(services, tmp_path):
    deep = tmp_path / ("long" * 30)  # longer than the kernel takes as an address
    deep.mkdir()
    async with supervised([services.spec("rag")], tmp_path) as stack:
        await stack.until_ready()
        async with Control(stack.supervisor, _Report(), stack.stop).open(deep):
            socket = deep / "control.sock"
            assert socket.stat().st_mode & 0o777 == 0o600
            client = StackClient(socket)
            assert await client.status() == {"services": ["rag"]}
            assert (await client.restart("rag"))["how"] == "in turn"
            assert (await client.restart("rag", wait=False))["how"] == "begun"
            with pytest.raises(NotFound, match="vision does not run here"):
                await client.restart("vision")
            await stack.until_ready()
            assert (await client.stop()) == {"stopping": True}
            assert stack.stop.is_set()
        assert not socket.exists()


async def test_without_a_stack_its_client_says_so(tmp_path):
    with pytest.raises(Unavailable, match="no stack answers at "):
        await StackClient(tmp_path / "control.sock").status()


def test_deaths_are_told_in_words():
    assert str(Death(-9, 1.0, "last words")) == "killed by SIGKILL"
    assert "by the kernel, which had no memory left" in str(Death(-9, 1.0, "", kernel=True))
    assert "disk of state_dir or cache_dir full" in str(Death(-signal.SIGBUS, 1.0, ""))
    assert str(Death(4, 0.0, "the card says otherwise")) == "exited with 4 (the card says otherwise)"


def test_the_kernels_count_is_read_where_there_is_one(tmp_path):
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 3\noom_kill 2\n")
    assert kernel_kills(events) == 2
    assert kernel_kills(tmp_path / "none") == 0


def test_a_healthy_life_begins_the_count_anew():
    pace = Pace(Timing(loop_deaths=2, healthy_s=10, first_delay_s=1, longest_delay_s=3))
    pace.died(1)
    assert (pace.delay_s, pace.looping) == (1.0, False)
    pace.died(30)
    assert (pace.deaths, pace.looping) == (1, False)
    pace.died(1)
    assert pace.looping
    pace.died(1)
    assert pace.delay_s == 3.0


async def test_a_new_process_that_does_not_get_ready_leaves_the_old_one_alone(services, tmp_path):
    """Its command is broken by now, as after an upgrade gone wrong."""
    spec = services.spec("rag")
    async with supervised([spec], tmp_path) as stack:
        await stack.until_ready()
        first = stack["rag"].pid
        keeper = stack.supervisor._keepers["rag"]
        keeper.spec = replace(services.spec("rag", "exit-4-weights are gone"), inherits=True)
        with pytest.raises(Unavailable, match=r"rag is not replaced: its new process exited with 4 \(weights are gone"):
            await stack.supervisor.restart("rag")
        assert stack["rag"].pid == first
        assert alive(first)
        keeper.spec = spec
        await stack.until(lambda: stack["rag"].state == "ready")


async def test_stopping_ends_a_new_process_that_is_not_ready_yet(services, tmp_path):
    spec = services.spec("rag")
    async with supervised([spec], tmp_path) as stack:
        await stack.until_ready()
        keeper = stack.supervisor._keepers["rag"]
        coming = services.spec("rag", "loading")
        keeper.spec = replace(coming, inherits=True)
        restart = asyncio.create_task(stack.supervisor.restart("rag"))
        await stack.until(lambda: services.pids(coming))
        stack.stop.set()
        await stack.until(lambda: stack["rag"].state == "stopped")
        await asyncio.wait({restart})
        assert restart.cancelled() or restart.exception() is not None
    assert not alive(services.pids(coming)[0])
