"""What each service's process is: its command, its port, whom it needs, and how it says that it is ready."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from ullage.http.door import Door
from ullage.http.tls import Tls
from ullage.plan import Plan, ServicePlan
from ullage.settings import Effective, Service, Settings
from ullage.settings.load import FILE_VARIABLE
from ullage.settings.model import bracketed

DRAIN_S = 20.0
"""What a server gives accepted requests when it is told to stop; one with a queue gives more, see `drain_s`."""

NEEDS: dict[Service, tuple[Service, ...]] = {
    "ingest": ("vectors", "embedding"),
    "rag": ("vectors", "embedding"),
}
"""Without ranking or llm the RAG server still searches, so it does not wait for them."""

ENCODERS: tuple[Service, ...] = ("ranking", "embedding")
"""Services whose model may run on a GPU of this machine."""

Probe = Literal["http", "grpc"]


def drain_s(service: str, settings: Settings) -> float:
    """Seconds that a service gives accepted requests. An encoder's queue may be that deep, and ends by then."""
    return max(DRAIN_S, settings.request_timeout_s) if service in ENCODERS else DRAIN_S


@dataclass(frozen=True, slots=True)
class Spec:
    """One process. `ledger` is its predicted memory in bytes, part by part; `needs` are started and ready before it.

    One that `inherits` takes its listening sockets, `port` and `more_ports`, from the supervisor. `alone` says why two
    of it may never run at once, where that is so.
    """

    service: str
    command: tuple[str, ...]
    host: str
    port: int
    profile: str = ""
    ledger: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    probe: Probe = "http"
    stop_signal: signal.Signals = signal.SIGTERM
    drain_s: float = DRAIN_S
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits: bool = False
    more_ports: tuple[int, ...] = ()
    alone: str = ""
    tls: Tls | None = None

    @property
    def cert(self) -> Path | None:
        """The certificate that its port shows; None where it speaks plain HTTP."""
        return self.tls.cert if self.tls is not None else None


def specs(plan: Plan, effective: Effective, config: Path | None = None) -> tuple[Spec, ...]:
    """A process for every service of the plan, with exactly the settings in force here.

    Raises SettingsError for a certificate or for keys that cannot be used.
    """
    door = Door.of(effective.settings, "rag")
    inherited = flags_as_environment(effective, config)
    here = [planned.service for planned in plan.services]
    return tuple(_spec(planned, effective.settings, inherited, here, door.tls) for planned in plan.services)


def _spec(planned: ServicePlan, settings: Settings, inherited: Mapping[str, str], here: list[Service],
          tls: Tls | None) -> Spec:
    service = planned.service
    vectors = service == "vectors"
    return Spec(
        service=service,
        command=_vectors_command(settings) if vectors else _serve_command(planned, settings),
        host=settings.bind_host(service),
        port=settings.port(service),
        profile=planned.profile_id,
        ledger=planned.ledger.as_dict(),
        needs=tuple(need for need in NEEDS.get(service, ()) if need in here),
        probe="grpc" if vectors else "http",
        # Milvus Lite closes its files on SIGINT and dies at once on SIGTERM.
        stop_signal=signal.SIGINT if vectors else signal.SIGTERM,
        drain_s=drain_s(service, settings),
        environment={**inherited, **_share(planned)},
        inherits=not vectors,
        more_ports=settings.more_ports(service),
        alone=_alone(service, settings),
        tls=None if vectors else tls,
    )


def _alone(service: Service, settings: Settings) -> str:
    """Why two of a service may never run at once; empty where they may."""
    if service in ("vectors", "ingest"):
        return f"two processes of {service} may not have its data open at once"
    if any(getattr(settings, name) is not None for name in type(settings).model_fields if name.endswith("_grpc_port")
           and (name.startswith(service) or service == "vision")):
        return f"its gRPC port is bound by one process of {service}"
    return ""


def _share(planned: ServicePlan) -> dict[str, str]:
    """The child's part of the plan. The headroom is kept by the stack: a child need not keep it again."""
    share = {"ULLAGE_HEADROOM": "0"}
    if planned.service in ENCODERS:
        name = planned.service.upper()
        share[f"ULLAGE_{name}_DEVICE"] = planned.where
        if planned.gpu_ledger is not None:
            share |= {f"ULLAGE_{name}_GPU_MEMORY": str(planned.gpu_ledger.total), "ULLAGE_GPU_HEADROOM": "0"}
    return share


def _serve_command(planned: ServicePlan, settings: Settings) -> tuple[str, ...]:
    service = planned.service
    return (sys.executable, "-m", "ullage", "serve", service, "--host", settings.host,
            "--port", str(settings.port(service)), "--memory", str(planned.ledger.total))


def _vectors_command(settings: Settings) -> tuple[str, ...]:
    return (sys.executable, "-m", "ullage.stack.lite_server", "--data-dir", str(settings.state_dir / "vectors"),
            "--host", bracketed(settings.bind_host("vectors")), "--port", str(settings.vectors_port))


def flags_as_environment(effective: Effective, config: Path | None = None) -> dict[str, str]:
    """What was given by flag here, as a child's environment; file and environment it reads itself.

    A foreign name that a flag overruled is emptied, or the child would find the two in contradiction.
    """
    given = dict.fromkeys(effective.overruled, "") | {
        f"ULLAGE_{name.upper()}": _written(getattr(effective.settings, name))
        for name, origin in effective.origins.items()
        if origin == "flag" and getattr(effective.settings, name) is not None
    }
    return given if config is None else {**given, FILE_VARIABLE: str(config.absolute())}


def _written(value: Any) -> str:
    """A setting as its environment variable; a secret's own text, not the stars that stand for it."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
