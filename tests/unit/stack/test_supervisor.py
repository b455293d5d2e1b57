import asyncio
import os
import signal
import sys
import time
from dataclasses import replace

import pytest

from supervising import FAST, Watched, alive, supervised
from ullage.errors import DoesNotFit, EngineFailed, ModelError, SettingsError
from ullage.stack.death import exit_text
from ullage.stack.pace import Timing


async def test_a_service_is_started_watched_and_stopped(services, tmp_path):
    spec = services.spec("ranking")
    async with supervised([spec], tmp_path) as stack:
        await stack.until_ready()
        assert stack["ranking"].pid == services.pids(spec)[0]
        assert alive(stack["ranking"].pid)
    assert stack.states("ranking") == ["starting", "ready", "stopping", "stopped"]
    assert services.stopped_cleanly(spec)
    assert not alive(services.pids(spec)[0])
    assert stack["ranking"].reason == "exited with 0"
    assert stack["ranking"].pid is None


async def test_a_killed_service_is_started_again(services, tmp_path):
    killed, other = services.spec("ranking"), services.spec("embedding")
    async with supervised([killed, other], tmp_path) as stack:
        await stack.until_ready()
        os.kill(stack["ranking"].pid, signal.SIGKILL)
        await stack.until(lambda: stack["ranking"].restarts == 1)
        await stack.until_ready()
        assert len(services.pids(killed)) == 2
        assert len(services.pids(other)) == 1
        assert stack["embedding"].restarts == 0
    [death] = [r for r in stack.heard if r.state == "restarting"]
    assert death.reason == "killed by SIGKILL; again in 0.05 s"
    assert death.pid is None


async def test_the_pause_doubles_up_to_the_longest(services, tmp_path):
    patient = replace(FAST, first_attempts=99)
    async with supervised([services.spec("rag", "exit-1")], tmp_path, patient) as stack:
        await stack.until(lambda: stack["rag"].restarts >= 5)
    reasons = [r.reason for r in stack.heard if r.state == "restarting"]
    assert [reason.split("again in ")[1] for reason in reasons[:5]] == ["0.05 s", "0.1 s", "0.2 s", "0.2 s", "0.2 s"]
    assert reasons[0].startswith("exited with 1 (it cannot be)")


async def test_a_service_that_never_gets_ready_is_given_up(services, tmp_path):
    spec = services.spec("rag", "exit-1")
    watched = Watched([spec], tmp_path, replace(FAST, first_attempts=3))
    with pytest.raises(EngineFailed, match="rag cannot start: it cannot be"):
        await asyncio.wait_for(watched.supervisor.run(watched.stop), 30)
    assert watched["rag"].state == "failed"
    assert len(services.pids(spec)) == 3


async def test_a_healthy_life_forgives_earlier_deaths(services, tmp_path):
    timing = Timing(first_delay_s=0.05, longest_delay_s=10, healthy_s=0, starting_probe_s=0.02, ready_probe_s=0.02)
    async with supervised([services.spec("rag")], tmp_path, timing) as stack:
        for deaths in (1, 2, 3):
            await stack.until_ready()
            os.kill(stack["rag"].pid, signal.SIGKILL)
            await stack.until(lambda deaths=deaths: stack["rag"].restarts == deaths)
    assert {r.reason.split("; ")[1] for r in stack.heard if r.state == "restarting"} == {"again in 0.05 s"}


@pytest.mark.parametrize(("code", "error"), [(2, SettingsError), (3, DoesNotFit), (4, ModelError)])
async def test_a_hopeless_start_stops_the_stack_and_says_why(services, tmp_path, code, error):
    good, bad = services.spec("embedding"), services.spec("ranking", f"exit-{code}-weights are gone")
    watched = Watched([good, bad], tmp_path)
    with pytest.raises(error, match="ranking cannot start: weights are gone"):
        await asyncio.wait_for(watched.supervisor.run(watched.stop), 30)
    assert watched["ranking"].state == "failed"
    assert watched["ranking"].restarts == 0
    assert len(services.pids(bad)) == 1
    assert not any(alive(pid) for pid in services.pids(good))


async def test_what_needs_others_waits_for_them_and_stops_before_them(services, tmp_path):
    database = services.spec("vectors")
    server = services.spec("rag", needs=("vectors",))
    async with supervised([server, database], tmp_path) as stack:
        await stack.until_ready()
    order = [(r.service, r.state) for r in stack.heard]
    assert order.index(("vectors", "ready")) < order.index(("rag", "starting"))
    assert order.index(("rag", "stopped")) < order.index(("vectors", "stopping"))
    assert [r.reason for r in stack.heard if r.state == "waiting"] == ["for vectors to be ready"]


async def test_a_need_that_never_gets_ready_is_named(services, tmp_path):
    database, server = services.spec("vectors", "loading"), services.spec("rag", needs=("vectors",))
    async with supervised([database, server], tmp_path) as stack:
        await stack.until(lambda: stack["vectors"].reason == "still loading")
        assert stack["rag"].state == "waiting"
        assert stack["vectors"].state == "starting"
        assert services.pids(server) == []


async def test_one_that_will_not_stop_is_killed_in_time(services, tmp_path):
    spec = replace(services.spec("llm", "deaf"), drain_s=0.0)
    timing = Timing(kill_after_s=0.2, starting_probe_s=0.05)
    async with supervised([spec], tmp_path, timing) as stack:
        await stack.until_ready()
    assert stack["llm"].reason == "killed by SIGKILL"
    assert not alive(services.pids(spec)[0])


async def test_hurry_does_not_wait(services, tmp_path):
    spec = services.spec("llm", "deaf")
    async with supervised([spec], tmp_path, Timing(kill_after_s=600, starting_probe_s=0.05)) as stack:
        await stack.until_ready()
        stack.stop.set()
        await stack.until(lambda: stack["llm"].state == "stopping")
        assert alive(services.pids(spec)[0])
        stack.supervisor.hurry()
    assert not alive(services.pids(spec)[0])


async def test_a_command_that_does_not_exist_does_not_end_the_stack(services, tmp_path):
    lost = replace(services.spec("rag"), command=("/nowhere/at/all",))
    async with supervised([lost, services.spec("ranking")], tmp_path) as stack:
        await stack.until(lambda: stack["rag"].restarts >= 1 and stack["ranking"].state == "ready")


async def test_start_times_are_those_of_the_present_process(services, tmp_path):
    before = time.time()
    async with supervised([services.spec("rag")], tmp_path) as stack:
        await stack.until_ready()
        first = stack["rag"].started_unix_s
        assert before <= first <= time.time()
        os.kill(stack["rag"].pid, signal.SIGKILL)
        await stack.until(lambda: stack["rag"].restarts == 1)
        await stack.until_ready()
        assert stack["rag"].started_unix_s > first


async def test_settings_given_here_reach_the_child(services, tmp_path):
    code = "import os, sys; print('error: ' + os.environ['ULLAGE_HOST'], file=sys.stderr); sys.exit(2)"
    spec = replace(services.spec("rag"), command=(sys.executable, "-c", code), environment={"ULLAGE_HOST": "10.1.2.3"})
    watched = Watched([spec], tmp_path)
    with pytest.raises(SettingsError, match=r"10\.1\.2\.3"):
        await watched.supervisor.run(watched.stop)


def test_exit_codes_are_told_as_people_know_them():
    assert exit_text(3) == "exited with 3"
    assert exit_text(-9) == "killed by SIGKILL"
