"""`ullage deploy kubernetes`: manifests with probes, limits from the plan, and nobody let in who need not be."""

from __future__ import annotations

from typing import Any

from ullage.plan import Plan, ServicePlan
from ullage.settings import Service, Settings
from ullage.stack.deploy.limits import limit_bytes
from ullage.stack.services import drain_s
from ullage.version import __version__

FRONT: tuple[Service, ...] = ("rag", "ingest", "web")
"""Who may be called from outside the stack's own pods."""

STATE_GIB = 50
START_S = 600
PROBE_S = 10
PRE_STOP_S = 5
"""A pod that is told to stop is still sent requests for a moment."""

Manifest = dict[str, Any]


def manifests(plan: Plan, settings: Settings, *, image: str, namespace: str) -> list[Manifest]:
    """For every service of the plan but the vector database, which is Milvus's own chart (`vectors_uri`)."""
    ours = [planned for planned in plan.services if planned.service != "vectors"]
    made: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        _policy(namespace),
    ]
    for planned in ours:
        if planned.service == "ingest":
            made.append(_claim(namespace))
        made += [_deployment(planned, ours, settings, image, namespace), _service(planned, settings, namespace)]
        if planned.service in FRONT:
            made.append(_front_policy(planned, settings, namespace))
    return made


def _deployment(planned: ServicePlan, ours: list[ServicePlan], settings: Settings, image: str,
                namespace: str) -> Manifest:
    service = planned.service
    stop_s = int(drain_s(service, settings)) + PRE_STOP_S + 10
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(service, namespace),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _labels(service)},
            # Two ingestors may not have one ledger open, nor two pods one GPU that is held whole.
            "strategy": {"type": "Recreate"} if service == "ingest" or planned.gpus else
                        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": _labels(service) | {"app.kubernetes.io/version": __version__},
                             "annotations": {"prometheus.io/scrape": "true", "prometheus.io/path": "/v1/metrics",
                                             "prometheus.io/port": str(settings.port(service))}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": stop_s,
                    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 0, "fsGroup": 0,
                                        "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [_container(planned, ours, settings, image)],
                    "volumes": [{"name": "tmp", "emptyDir": {}}, _state_volume(service)],
                },
            },
        },
    }


def _container(planned: ServicePlan, ours: list[ServicePlan], settings: Settings, image: str) -> Manifest:
    service, port = planned.service, settings.port(planned.service)
    memory = str(limit_bytes(planned))
    limits = {"memory": memory} | ({"nvidia.com/gpu": str(len(planned.gpus))} if planned.gpus else {})

    def probe(path: str, failures: int) -> Manifest:
        return {"httpGet": {"path": path, "port": port, "scheme": "HTTPS" if settings.tls_cert else "HTTP"},
                "periodSeconds": PROBE_S, "timeoutSeconds": 5, "failureThreshold": failures}

    return {
        "name": service, "image": image, "args": ["serve", service],
        "ports": [{"name": "http", "containerPort": port}],
        "env": _environment(planned, ours, settings),
        "envFrom": [{"secretRef": {"name": "ullage-secrets", "optional": True}}],
        "resources": {"requests": {"memory": memory, "cpu": "250m"}, "limits": limits},
        "startupProbe": probe("/v1/health/ready", START_S // PROBE_S),
        "readinessProbe": probe("/v1/health/ready", 2),
        # A service that is busy still says that it is live; only one that says nothing is started again.
        "livenessProbe": probe("/v1/health/live", 6),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PRE_STOP_S)]}}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
                         {"name": "state", "mountPath": "/var/lib/ullage"}],
    }


def _environment(planned: ServicePlan, ours: list[ServicePlan], settings: Settings) -> list[Manifest]:
    name = planned.service.upper()
    given = {"ULLAGE_HOST": "0.0.0.0", "ULLAGE_HEADROOM": "0", "ULLAGE_LOG_FORMAT": "json",  # noqa: S104
             f"ULLAGE_{name}_MEMORY": str(planned.ledger.total),
             f"ULLAGE_{name}_PORT": str(settings.port(planned.service)),
             "ULLAGE_VECTORS_URI": settings.vectors_uri or "http://milvus:19530"}
    if planned.gpu_ledger is not None:
        given |= {f"ULLAGE_{name}_GPU_MEMORY": str(planned.gpu_ledger.total), "ULLAGE_GPU_HEADROOM": "0"}
    for model in ("ranking", "embedding", "llm"):
        given[f"ULLAGE_{model.upper()}_MODEL"] = str(getattr(settings, f"{model}_model"))
    scheme = "https" if settings.tls_cert else "http"
    for other in ours:
        if other.service != "web":
            url = settings.named_url(other.service) or f"{scheme}://{other.service}:{settings.port(other.service)}"
            given[f"ULLAGE_{other.service.upper()}_URL"] = url
    return [{"name": variable, "value": value} for variable, value in sorted(given.items())]


def _service(planned: ServicePlan, settings: Settings, namespace: str) -> Manifest:
    port = settings.port(planned.service)
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(planned.service, namespace),
            "spec": {"selector": _labels(planned.service),
                     "ports": [{"name": "http", "port": port, "targetPort": port}]}}


def _policy(namespace: str) -> Manifest:
    """By default a pod of ours is reached by pods of ours alone."""
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "own-pods-alone", "namespace": namespace},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]}}


def _front_policy(planned: ServicePlan, settings: Settings, namespace: str) -> Manifest:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": f"open-{planned.service}", "namespace": namespace},
            "spec": {"podSelector": {"matchLabels": _labels(planned.service)}, "policyTypes": ["Ingress"],
                     "ingress": [{"ports": [{"port": settings.port(planned.service), "protocol": "TCP"}]}]}}


def _claim(namespace: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "ullage-ingest", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{STATE_GIB}Gi"}}}}


def _state_volume(service: Service) -> Manifest:
    kept: Manifest = {"persistentVolumeClaim": {"claimName": "ullage-ingest"}}
    return {"name": "state", **(kept if service == "ingest" else {"emptyDir": {}})}


def _metadata(service: Service, namespace: str) -> Manifest:
    return {"name": service, "namespace": namespace, "labels": _labels(service)}


def _labels(service: Service) -> dict[str, str]:
    return {"app.kubernetes.io/name": service, "app.kubernetes.io/part-of": "ullage"}
