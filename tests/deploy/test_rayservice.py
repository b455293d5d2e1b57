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
from ullage.stack.place import elsewhere, place_one
from ullage.stack.ray.deploy import SERVE_PORT, SPREAD
from ullage.stack.ray.entry import ARGUMENTS, build
from ullage.stack.ray.replicas import parse_replicas
from ullage.stack.ray.resources import request_of

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE, LLM_FILE = (DEPLOY / "kubernetes" / name for name in ("rayservice.yaml", "rayservice-llm.yaml"))
NEWEST = "1.31"
MACHINE = Machine(cores=8, total_bytes=16 << 30, free_bytes=16 << 30, limit="host")
GIB = 1 << 30


@pytest.fixture(scope="module", params=[FILE, LLM_FILE], ids=lambda file: file.stem)
def documents(request):
    return list(yaml.safe_load_all(request.param.read_text()))


@pytest.fixture(scope="module")
def service(documents):
    return documents[0]["spec"]


@pytest.fixture(scope="module")
def models():
    """Of the manifest of our own models."""
    return next(iter(yaml.safe_load_all(FILE.read_text())))["spec"]


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


def test_every_variable_is_a_setting_or_rays(documents, service):
    of_vllm = {"HF_HOME"} if documents[0]["metadata"]["name"] == "ullage-llm" else set()
    for template in templates(service):
        [container] = template["spec"]["containers"]
        given = {one["name"]: one["value"] for one in container["env"]}
        ours = {name for name in given if name.startswith("ULLAGE_")}
        assert ours <= {f"ULLAGE_{name.upper()}" for name in Settings.model_fields}
        assert given.keys() - ours == {"RAY_USAGE_STATS_ENABLED", *SPREAD, *of_vllm}
        assert SPREAD.items() <= given.items()
        load({}, environ=given)


def test_the_least_replicas_fit_the_least_workers(models):
    config = yaml.safe_load(models["serveConfigV2"])
    [group] = models["rayClusterConfig"]["workerGroupSpecs"]
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


def test_the_llm_is_the_same_with_and_without_kubernetes_and_its_url_is_right():
    """vLLM's bytes and the share that Ray counts are one number."""
    manifest = next(iter(yaml.safe_load_all(LLM_FILE.read_text())))
    inside = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    alone_text = (DEPLOY / "ray" / "llm.yaml").read_text()
    alone = yaml.safe_load(alone_text)
    assert inside["applications"] == alone["applications"]
    [application] = alone["applications"]
    [model] = application["args"]["llm_configs"]
    share = model["engine_kwargs"]["gpu_memory_utilization"]
    assert model["placement_group_config"]["bundles"][0]["GPU"] == share
    assert float(model["runtime_env"]["env_vars"]["VLLM_RAY_PER_WORKER_GPUS"]) == share
    port = alone["http_options"]["port"]
    assert port == SERVE_PORT == inside["http_options"]["port"]
    assert alone["http_options"]["host"] == "127.0.0.1"
    where = f"{application['route_prefix']}/v1"
    assert f"llm_url=http://127.0.0.1:{port}{where} " in alone_text
    assert f"ULLAGE_LLM_URL=http://{manifest['metadata']['name']}-serve-svc:{port}{where}\n" in LLM_FILE.read_text()
    assert f"llm_model={model['model_loading_config']['model_id']} " in alone_text
    settings = load({"llm_url": f"http://127.0.0.1:{port}{where}", "llm_model": "llm"}, environ={}).settings
    assert elsewhere(settings)["llm"] == f"http://127.0.0.1:{port}{where}"


@pytest.mark.parametrize(("arguments", "said"), [
    ({"service": "ranking", "replica": 2}, "replica is none of"), ({"service": "llm"}, "does not run on Ray"),
    ({}, "does not run on Ray"), ({"service": "ranking", "replicas": "many"}, "write ranking=2"),
])
def test_an_argument_that_is_not_ours_is_refused(arguments, said):
    with pytest.raises(SettingsError, match=said):
        build(arguments)
