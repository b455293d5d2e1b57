"""Predicted beside measured, for every service of the stack that runs now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from ullage.devices import rss_bytes
from ullage.stack.probe import Readiness, probe
from ullage.stack.state import ServiceRecord, read_record


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """`resident_bytes` counts the process and its children; `ratio` is measured / predicted, None without a process."""

    service: str
    state: str
    ready: bool
    reason: str
    host: str
    port: int
    pid: int | None
    profile: str
    predicted_bytes: int
    resident_bytes: int
    ratio: float | None
    restarts: int
    started_unix_s: float | None
    log: str


@dataclass(frozen=True, slots=True)
class StackStatus:
    """`pid` is the supervisor's."""

    running: bool
    pid: int | None = None
    budget_bytes: int = 0
    budget_source: str = ""
    predicted_bytes: int = 0
    resident_bytes: int = 0
    services: tuple[ServiceStatus, ...] = ()


async def stack_status(state_dir: Path) -> StackStatus:
    """Reads the run file, asks every service whether it is ready, and measures it."""
    record = read_record(state_dir)
    if record is None:
        return StackStatus(running=False)
    found = await asyncio.gather(*(probe(s.probe, s.host, s.port, s.cert) for s in record.services))
    services = tuple(measured(s, f) for s, f in zip(record.services, found, strict=True))
    return StackStatus(
        running=True,
        pid=record.pid,
        budget_bytes=record.budget_bytes,
        budget_source=record.budget_source,
        predicted_bytes=sum(s.predicted_bytes for s in services),
        resident_bytes=sum(s.resident_bytes for s in services),
        services=services,
    )


def measured(record: ServiceRecord, found: Readiness | None = None) -> ServiceStatus:
    """A record beside its memory now; without `found` the record's own state says whether it is ready."""
    resident = rss_bytes(record.pid) if record.pid is not None else 0
    predicted = record.predicted_bytes
    ready = found.ready if found is not None else record.state == "ready"
    return ServiceStatus(
        service=record.service,
        state="ready" if ready else ("not ready" if record.state == "ready" else record.state),
        ready=ready,
        reason="" if ready else (record.reason or (found.reason if found is not None else "")),
        host=record.host,
        port=record.port,
        pid=record.pid,
        profile=record.profile,
        predicted_bytes=predicted,
        resident_bytes=resident,
        ratio=round(resident / predicted, 3) if predicted and resident else None,
        restarts=record.restarts,
        started_unix_s=record.started_unix_s,
        log=record.log,
    )
