"""What is refused before any replica is started, and how far from the model is told."""

import os

import pytest

from ullage.bench.ray_replicas import Flow, Scaled, scale
from ullage.cli.main import main
from ullage.errors import SettingsError
from ullage.settings import load


def test_off_is_of_so_many_times_the_service_without_ray():
    found = Scaled(2, Flow(50.0, 1.0, 2.0, 0), {1: Flow(55.0, 1.0, 2.0, 0), 4: Flow(180.0, 1.0, 2.0, 3)})
    assert found.off(1) == pytest.approx(0.1)
    assert found.off(4) == pytest.approx(-0.1)
    said = found.as_dict()
    assert said["replicas"]["4"] == {"passages_per_s": 180.0, "p50_s": 1.0, "p99_s": 2.0, "failed": 3,
                                     "off": pytest.approx(-0.1)}
    assert said["cores"] == os.cpu_count()


def test_replicas_leave_a_core_to_those_who_ask():
    cores = os.cpu_count() or 1
    with pytest.raises(SettingsError, match=f"{cores} replicas of 1 cores need {cores}, .* this machine has {cores}"):
        scale(load({}, environ={}).settings, [1, cores], cpus=1, seconds=1)


@pytest.mark.parametrize("counts", ["1,x", "0", "", "1,,2", "-1"])
def test_counts_are_numbers_from_1(capsys, counts):
    assert main(["bench", "ray-replicas", f"--replicas={counts}"]) == 2
    assert f"--replicas {counts}: write counts such as 1,2,4" in capsys.readouterr().err
