"""Manifests: valid against Kubernetes' own schemas, with probes, limits from the plan, and no secret in them."""

from __future__ import annotations

import kubernetes_validate
import pytest

from ullage.devices import Machine, find_machine
from ullage.settings import Settings, load
from ullage.stack.deploy import limit_bytes, manifests
from ullage.stack.place import place

MACHINE = Machine(cores=8, total_bytes=64 << 30, free_bytes=60 << 30, limit="host")
NEWEST = "1.31"


def made(machine=MACHINE, **flags):
    effective = load({"vectors_uri": "http://milvus:19530", **flags}, environ={})
    plan = place(effective.settings, None, machine)
    return manifests(plan, effective.settings, image="ullage:cpu", namespace="rag"), plan


@pytest.fixture(scope="module")
def rendered():
    return made()


def deployments(documents):
    return {d["metadata"]["name"]: d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment"}


def test_kubernetes_knows_every_field(rendered):
    documents, _ = rendered
    assert {d["kind"] for d in documents} == {"Namespace", "NetworkPolicy", "PersistentVolumeClaim", "Deployment",
                                              "Service"}
    for document in documents:
        kubernetes_validate.validate(document, NEWEST, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_found(rendered):
    documents, _ = rendered
    broken = {**documents[-1], "specification": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


def test_limits_are_those_of_the_plan(rendered):
    documents, plan = rendered
    pods = deployments(documents)
    assert set(pods) == {p.service for p in plan.services}
    for planned in plan.services:
        [container] = pods[planned.service]["containers"]
        assert container["resources"]["limits"]["memory"] == str(limit_bytes(planned))
        given = {e["name"]: e["value"] for e in container["env"]}
        assert given[f"ULLAGE_{planned.service.upper()}_MEMORY"] == str(planned.ledger.total)
        assert given.keys() <= {f"ULLAGE_{name.upper()}" for name in Settings.model_fields}
        load({}, environ=given)


def test_probes_mean_what_they_are_for(rendered):
    for service, pod in deployments(rendered[0]).items():
        [container] = pod["containers"]
        paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
        assert paths == {"startup": "/v1/health/ready", "readiness": "/v1/health/ready",
                         "liveness": "/v1/health/live"}, service


def test_nobody_is_root_and_nobody_writes_to_the_image(rendered):
    for pod in deployments(rendered[0]).values():
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                "capabilities": {"drop": ["ALL"]}}


def test_a_planned_gpu_is_asked_for_and_no_other():
    documents, plan = made(find_machine("l4-24gb"), ranking_model="nvidia/llama-nemotron-rerank-1b-v2")
    pods = deployments(documents)
    assert plan["ranking"].gpus
    for planned in plan.services:
        limits = pods[planned.service]["containers"][0]["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == ("1" if planned.gpus else None)


def test_no_secret_is_written_into_a_manifest():
    documents, _ = made(api_keys="this-is-secret", transcription_api_key="and-this")
    assert "this-is-secret" not in str(documents)
    assert "and-this" not in str(documents)
    assert "ullage-secrets" in str(documents)
