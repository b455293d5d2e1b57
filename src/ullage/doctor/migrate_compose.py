"""Our compose file and env file of a migration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ullage.doctor.migrate import Migration
from ullage.plan import ServicePlan
from ullage.settings import Service, Settings
from ullage.version import __version__

BESIDE_SHARE = 8
LEAST_BESIDE_BYTES = 64 << 20
"""What a container's limit leaves beside the plan: page cache, sockets, the health check."""

MIB = 1 << 20
NETWORK = "nvidia-rag"
VECTORS_PORT = 19530

_URLS: dict[Service, str] = {"ranking": "ULLAGE_RANKING_URL", "embedding": "ULLAGE_EMBEDDING_URL",
                             "llm": "ULLAGE_LLM_URL", "vision": "ULLAGE_VISION_URL", "rag": "ULLAGE_RAG_URL",
                             "ingest": "ULLAGE_INGEST_URL"}


def compose_text(made: Migration, folder: Path) -> str:
    """One compose file with our services under the names of those that they replace, and what was kept."""
    services = {str(planned.service): _service(made, planned, folder) for planned in made.plan.services}
    tree: dict[str, Any] = {
        "services": {**services, **made.kept},
        "networks": {"default": {"name": NETWORK}},
        "volumes": {"state": {}, "cache": {}, **made.volumes},
    }
    head = (f"# Written by ullage {__version__} (`ullage doctor migrate`) for {made.machine.name}. MIGRATION.md says "
            "what became of what.\n# Set ULLAGE_IMAGE to take another image.\n")
    return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)


def env_text(made: Migration) -> str:
    """The settings that hold for every service, each with what it was."""
    lines = ["# Settings for every service; `ullage settings` explains each."]
    for one in made.mapped.taken:
        if one.service is None and not one.setting.endswith("_model"):
            lines += [f"# {one.said} ({one.origin})", f"ULLAGE_{one.setting.upper()}={one.value}"]
    for name, value in (made.chosen.models if made.chosen else {}).items():
        lines += ["# the model of the replaced service", f"ULLAGE_{name.upper()}={value}"]
    return "\n".join(lines) + "\n"


def _service(made: Migration, planned: ServicePlan, folder: Path) -> dict[str, Any]:
    service = planned.service
    settings = made.chosen.settings if made.chosen else Settings()
    port = settings.port(service)
    vendors = made.taken[service]
    body: dict[str, Any] = {
        "image": f"${{ULLAGE_IMAGE:-ullage:{'cuda' if planned.gpus else 'cpu'}}}",
        "restart": "unless-stopped",
        "user": "${USERID:-10001}:0",
        "env_file": [str(folder.resolve() / "ullage.env")],
        "environment": _environment(made, planned),
        "mem_limit": f"{_limit_bytes(planned) // MIB}m",
        "volumes": ["state:/var/lib/ullage", "cache:/var/cache/ullage"],
        "ports": _published(made, service, port),
        "networks": {"default": {"aliases": sorted({vendor.name for vendor in vendors})}} if vendors else ["default"],
    }
    if service == "vectors":
        body |= {"entrypoint": ["python", "-m", "ullage.stack.lite_server", "--data-dir", "/var/lib/ullage/vectors",
                                "--host", "0.0.0.0", "--port", str(port)],  # noqa: S104
                 "healthcheck": _health(["CMD", "python", "-c", "import socket; socket.create_connection(('127.0.0.1', "
                                         f"{port}), 2)"])}
        del body["ports"]
    else:
        body |= {"command": ["serve", str(service)], "healthcheck": _health(["CMD", "healthy", str(port)])}
    if planned.gpus:
        body["deploy"] = {"resources": {"reservations": {"devices": [
            {"driver": "nvidia", "device_ids": [str(gpu.index) for gpu in planned.gpus], "capabilities": ["gpu"]}]}}}
    if needs := _needs(made, service):
        body["depends_on"] = {name: {"condition": condition} for name, condition in needs.items()}
    return body


def _environment(made: Migration, planned: ServicePlan) -> dict[str, str]:
    service, name = planned.service, planned.service.upper()
    found = {"ULLAGE_HOST": "0.0.0.0", "ULLAGE_HEADROOM": "0",  # noqa: S104
             f"ULLAGE_{name}_MEMORY": str(planned.ledger.total)}
    if planned.gpu_ledger is not None:
        # A container that is given one GPU knows it as its first.
        places = ",".join(f"cuda:{number}" for number in range(len(planned.gpus)))
        found |= {f"ULLAGE_{name}_DEVICE": places, f"ULLAGE_{name}_GPU_MEMORY": str(planned.gpu_ledger.total),
                  "ULLAGE_GPU_HEADROOM": "0"}
    found |= {f"ULLAGE_{one.setting.upper()}": one.value for one in made.mapped.taken
              if one.service == service and not one.setting.endswith("_model")}
    served = (made.chosen.served if made.chosen else {}).get(service)
    if served and f"{service}_served_name" in Settings.model_fields and made.chosen \
            and f"{service}_model" not in made.chosen.models:
        found.setdefault(f"ULLAGE_{name}_SERVED_NAME", served)
    if service in ("rag", "ingest", "web"):
        found |= _addresses(made)
    return found


def _addresses(made: Migration) -> dict[str, str]:
    """Where rag and ingest find the others: inside of the compose network, by our names."""
    elsewhere = {one.setting for one in made.mapped.taken if one.service is None}
    settings = made.chosen.settings if made.chosen else Settings()
    found = {variable: f"http://{service}:{settings.port(service)}" for service, variable in _URLS.items()
             if service in made.taken and variable.removeprefix("ULLAGE_").lower() not in elsewhere}
    milvus = next((name for name in made.kept if "milvus" in name), "vectors" if "vectors" in made.taken else "")
    if milvus and "vectors_uri" not in elsewhere:
        found["ULLAGE_VECTORS_URI"] = f"http://{milvus}:{VECTORS_PORT}"
    return found


def _needs(made: Migration, service: Service) -> dict[str, str]:
    """rag and ingest wait for vectors and embedding; without ranking or llm they still answer."""
    if service not in ("rag", "ingest"):
        return {}
    found: dict[str, str] = {name: "service_healthy" for name in ("embedding", "vectors") if name in made.taken}
    for name, body in made.kept.items():
        if "milvus" in name:
            found[name] = "service_healthy" if isinstance(body, dict) and "healthcheck" in body else "service_started"
    return found


def _published(made: Migration, service: Service, port: int) -> list[str]:
    """On the loopback; the vision service answers at a port for each of its tasks."""
    if service == "vision" and made.chosen:
        return [f"127.0.0.1:{one}:{one}" for one in made.chosen.settings.vision_ports()]
    return [f"127.0.0.1:{_host_port(made, service, port)}:{port}"]


def _host_port(made: Migration, service: Service, port: int) -> int:
    """The port on the host that the replaced service had, so that its clients need not change."""
    for vendor in made.taken[service]:
        for published, _ in vendor.ports:
            if published.isdigit():
                return int(published)
    return port


def _limit_bytes(planned: ServicePlan) -> int:
    beside = max(planned.ledger.total // BESIDE_SHARE, LEAST_BESIDE_BYTES)
    return -(-(planned.ledger.total + beside) // MIB) * MIB


def _health(test: list[str]) -> dict[str, Any]:
    return {"test": test, "interval": "10s", "timeout": "5s", "retries": 3, "start_period": "300s"}
