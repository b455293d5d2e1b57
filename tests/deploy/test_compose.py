"""Compose files: what `docker-compose config` makes of them, alone and over a file shaped as the vendor's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from ullage.devices import Machine
from ullage.settings import Settings, load
from ullage.settings.names import NAMES
from ullage.stack.deploy import compose_environment
from ullage.stack.place import place

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
VENDOR = Path(__file__).parent / "vendor"
OURS = ("ranking", "embedding", "llm", "ingest", "rag", "web")
MACHINE = Machine(cores=8, total_bytes=64 << 30, free_bytes=60 << 30, limit="host")
OVERLAYS = {"nemotron": "nims.yaml", "nemoretriever": "nims-older.yaml"}

pytestmark = pytest.mark.skipif(shutil.which("docker-compose") is None,
                                reason="docker-compose is not installed (Debian package docker-compose)")


def variables():
    """What run-single-gpu.sh writes into run.env."""
    lines = [line for line in (COMPOSE / "defaults.env").read_text().splitlines() if line and line[0] != "#"]
    settings = load({"vectors_uri": "http://milvus:19530"}, environ={}).settings
    given = dict(line.split("=", 1) for line in lines)
    return {**given, "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b", **compose_environment(place(settings, None, MACHINE))}


@cache
def config(*files):
    """The services after every merge and substitution; a warning is a failure, it says that a variable is not set."""
    command = ["docker-compose", *(word for file in files for word in ("-f", str(file))), "config"]
    vendor = {"USERID": "1000", "NGC_API_KEY": "none"} if any(VENDOR in Path(f).parents for f in files) else variables()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **vendor})
    assert done.returncode == 0, done.stderr
    assert "not set" not in done.stderr, done.stderr
    return yaml.safe_load(done.stdout)["services"]


STACKS = [(COMPOSE / "stack.yaml",), (COMPOSE / "stack.yaml", COMPOSE / "gpu.yaml")]


@pytest.mark.parametrize("files", STACKS, ids=["cpu", "gpu"])
def test_every_service_has_a_health_check_a_limit_and_logs_that_end(files):
    services = config(*files)
    assert set(services) == {*OURS, "milvus", "etcd", "s3"}
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert service["mem_limit"], name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert "no-new-privileges:true" in service["security_opt"], name
        for needed in service.get("depends_on", {}).values():
            assert needed == {"condition": "service_healthy"}, name


@pytest.mark.parametrize("files", STACKS, ids=["cpu", "gpu"])
def test_ours_run_as_nobody_in_particular_and_write_nowhere_else(files):
    for name, service in config(*files).items():
        if name in OURS:
            assert service["user"] == "10001:0", name
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name


def test_only_what_people_use_is_published_and_on_the_loopback_alone():
    published = {name: service["ports"] for name, service in config(*STACKS[0]).items() if service.get("ports")}
    assert set(published) == {"rag", "ingest", "web"}
    said = str(published)
    assert said.count("127.0.0.1") == 3


@pytest.mark.parametrize("files", STACKS, ids=["cpu", "gpu"])
def test_every_variable_of_ours_is_a_setting_and_the_settings_are_valid(files):
    for name, service in config(*files).items():
        if name in OURS:
            environment = service["environment"]
            assert {v for v in environment if v.startswith("ULLAGE_")} <= {f"ULLAGE_{s.upper()}"
                                                                         for s in Settings.model_fields}
            assert set(environment) <= {f"ULLAGE_{s.upper()}" for s in Settings.model_fields} | NAMES.keys()
            settings = load({}, environ={k: str(v) for k, v in environment.items()}).settings
            assert settings.service_memory(name) == int(environment[f"ULLAGE_{name.upper()}_MEMORY"])
            assert settings.host == "0.0.0.0"


def test_every_substituted_variable_is_documented_or_comes_from_the_plan():
    used = {v for file in ("stack.yaml", "gpu.yaml")
            for v in re.findall(r"\$\{(\w+)", (COMPOSE / file).read_text())}
    assert used <= variables().keys()


def test_limits_are_above_the_plan_and_budgets_are_the_plan():
    made = variables()
    for service in OURS:
        budget, limit = int(made[f"ULLAGE_{service.upper()}_MEMORY"]), int(made[f"{service.upper()}_LIMIT"])
        assert budget + (64 << 20) <= limit <= 1.3 * budget + (128 << 20)


def test_on_a_gpu_two_services_share_it_inside_their_bytes():
    services = config(*STACKS[1])
    for name in ("ranking", "embedding"):
        [device] = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["device_ids"], device["capabilities"]) == (["0"], ["gpu"])
        assert services[name]["environment"][f"ULLAGE_{name.upper()}_DEVICE"] == "auto"
    assert "deploy" not in services["rag"]


@pytest.mark.parametrize(("which", "file"), OVERLAYS.items())
def test_the_overlay_replaces_the_reranker_and_nothing_else(which, file):
    name = f"{which}-ranking-ms"
    alone, over = config(VENDOR / file), config(VENDOR / file, COMPOSE / f"overlay-{which}-ranking.yaml")
    assert {other: service for other, service in over.items() if other != name} == {
        other: service for other, service in alone.items() if other != name}
    ranking = over[name]
    assert ranking["image"] == "ullage:cuda"
    assert ranking["command"] == ["serve", "ranking", "--host", "0.0.0.0", "--port", "8000"]
    assert ranking["ports"] == alone[name]["ports"]
    assert ranking["deploy"] == alone[name]["deploy"]
    assert ranking["healthcheck"]["test"] == ["CMD", "curl", "-fsS", "http://localhost:8000/v1/health/ready"]
    assert ranking["mem_limit"]


@pytest.mark.parametrize(("which", "file"), OVERLAYS.items())
def test_the_vendors_own_variables_are_taken_or_refused_by_name(which, file):
    environment = config(VENDOR / file, COMPOSE / f"overlay-{which}-ranking.yaml")[f"{which}-ranking-ms"]["environment"]
    given = {name: str(value) for name, value in environment.items() if value is not None}
    assert {"NGC_API_KEY", "NIM_MODEL_PROFILE"} <= given.keys()
    settings = load({}, service="ranking", environ=given).settings
    assert settings.ranking_served_name.startswith("nvidia/llama-")
    assert settings.service_gpu_memory("ranking") == 4 << 30
