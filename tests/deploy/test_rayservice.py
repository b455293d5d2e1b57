"""The RayService: its pods and its budget against Kubernetes' own schemas, every variable and argument known to us.

KubeRay's own kind is in no schema library, so the fields of it that we use are named here.
"""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from ullage.devices import Machine
from ullage.errors import SettingsError
from ullage.settings import Settings, load
from ullage.stack.place import place_one
from ullage.stack.ray.deploy import SPREAD
from ullage.stack.ray.entry import ARGUMENTS, build
from ullage.stack.ray.replicas import parse_replicas
from ullage.stack.ray.resources import request_of

FILE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "rayservice.yaml"
NEWEST = "1.31"
MACHINE = Machine(cores=8, total_bytes=16 << 30, free_bytes=16 << 30, limit="host")
GIB = 1 << 30


@pytest.fixture(scope="module")
def documents():
    return list(yaml.safe_load_all(FILE.read_text()))


@pytest.fixture(scope="module")
def service(documents):
    return documents[0]["spec"]


def templates(service):
    cluster = service["rayClusterConfig"]
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]


def test_kubernetes_knows_every_field_of_the_pods_and_the_budget(documents, service):
    for template in templates(service):
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "x"}}
        kubernetes_validate.validate(pod, NEWEST, strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**pod, "spec": {**pod["spec"], "container": []}}, NEWEST, strict=True)
    kubernetes_validate.validate(documents[1], NEWEST, strict=True)
    chosen, labels = documents[1]["spec"]["selector"]["matchLabels"], templates(service)[1]["metadata"]["labels"]
    assert chosen.items() <= labels.items()


def test_the_fields_of_kuberay_are_those_it_has(service):
    assert service.keys() == {"serveConfigV2", "rayClusterConfig"}
    cluster = service["rayClusterConfig"]
    assert cluster.keys() == {"enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
    assert cluster["headGroupSpec"].keys() == {"rayStartParams", "template"}
    for group in cluster["workerGroupSpecs"]:
        assert group.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_every_variable_is_a_setting_or_rays(service):
    for template in templates(service):
        [container] = template["spec"]["containers"]
        given = {one["name"]: one["value"] for one in container["env"]}
        ours = {name for name in given if name.startswith("ULLAGE_")}
        assert ours <= {f"ULLAGE_{name.upper()}" for name in Settings.model_fields}
        assert given.keys() - ours == {"RAY_USAGE_STATS_ENABLED", *SPREAD}
        assert SPREAD.items() <= given.items()
        load({}, environ=given)


def test_the_least_replicas_fit_the_least_workers(service):
    config = yaml.safe_load(service["serveConfigV2"])
    [group] = service["rayClusterConfig"]["workerGroupSpecs"]
    limit = group["template"]["spec"]["containers"][0]["resources"]
    assert limit["limits"]["memory"] == "3Gi"
    cpus = memory = 0
    for application in config["applications"]:
        arguments = application["args"]
        assert arguments.keys() <= set(ARGUMENTS)
        assert application["import_path"] == f"{build.__module__}:{build.__name__}"
        name = arguments["service"]
        least = parse_replicas(f"{name}={arguments['replicas']}")[name].least
        asked = request_of(place_one(load({}, service=name, environ={}).settings, name, MACHINE)[name],
                           arguments["cpus"])
        cpus, memory = cpus + least * asked.cpus, memory + least * asked.memory_bytes
    assert cpus <= group["minReplicas"] * int(limit["requests"]["cpu"])
    assert memory <= group["minReplicas"] * 3 * GIB


@pytest.mark.parametrize(("arguments", "said"), [
    ({"service": "ranking", "replica": 2}, "replica is none of"), ({"service": "llm"}, "does not run on Ray"),
    ({}, "does not run on Ray"), ({"service": "ranking", "replicas": "many"}, "write ranking=2"),
])
def test_an_argument_that_is_not_ours_is_refused(arguments, said):
    with pytest.raises(SettingsError, match=said):
        build(arguments)
