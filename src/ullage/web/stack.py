"""The machine and its services: who has how many bytes, how they do, and what they are set to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from ullage.errors import DependencyDown, UllageError
from ullage.web.pulse import Trace
from ullage.web.visit import Polled, Told, Visit, part, redraw

POLL_S = 2.0
SPARK_WIDTH, SPARK_HEIGHT = 120.0, 28.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One service's part of a bar: shares [0, 1] of the whole device, and its bytes."""

    service: str
    hue: int
    share: float
    predicted_bytes: int
    measured_bytes: int | None

    @property
    def unused_share(self) -> float:
        """Of the piece: predicted, and not taken so far."""
        if not self.predicted_bytes or self.measured_bytes is None:
            return 0.0
        return max(0.0, 1 - self.measured_bytes / self.predicted_bytes)


@dataclass(frozen=True, slots=True)
class Bar:
    """A device. `others_bytes` is what is not ours; the rest up to `budget_bytes` is still free for us."""

    name: str
    model: str
    total_bytes: int
    budget_bytes: int
    planned_bytes: int
    headroom_bytes: int
    free_bytes: int
    others_bytes: int
    pieces: tuple[Piece, ...]

    @property
    def others_share(self) -> float:
        return self.others_bytes / self.total_bytes if self.total_bytes else 0.0

    @property
    def headroom_share(self) -> float:
        return self.headroom_bytes / self.total_bytes if self.total_bytes else 0.0


class Stack(Polled):
    """Asked for while it is in front, and once for all pages."""

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit, "stack")
        self._status: dict[str, Any] | None = None
        self._fault = ""

    def build(self) -> None:
        self._now = part("waiting.html").classes("stack-now")
        self._doctor = part("doctor.html", findings=None, busy=False, fault="").classes("doctor")
        self._settings = part("nothing.html").classes("stack-settings")
        self._timer = ui.timer(POLL_S, self._refresh, active=False)

    async def act(self, name: str, told: Told) -> None:
        if name == "restart":
            await self._visit.desk.stack.restart(told.value, wait=False)
            self._visit.toast(f"{told.value} is being restarted; no request is lost.", "good")
            self._visit.desk.status.forget()
            await self._refresh()

        elif name == "examine":
            self._visit.begin(self._examine(), "doctor")

    async def _examine(self) -> None:
        redraw(self._doctor, "doctor.html", findings=None, busy=True, fault="")
        found, fault = None, ""
        try:
            found = await self._visit.desk.findings.get()
        except UllageError as error:
            fault = error.message
        redraw(self._doctor, "doctor.html", findings=found, busy=False, fault=fault)

    async def _refresh(self) -> None:
        try:
            self._status, self._fault = await self._visit.desk.status.get(), ""
        except UllageError as error:
            self._status, self._fault = None, error.message
        if self._status is None:
            await self._without_supervisor()
            return
        traces = self._visit.pulse.traces
        redraw(self._now, "stack.html", bars=bars(self._status), services=services(self._status["services"], traces),
               notes=self._status["plan"].get("notes", []), fault="")
        redraw(self._settings, "settings.html", settings=self._status.get("settings", []),
               notes=self._status.get("notes", []))

    async def _without_supervisor(self) -> None:
        """No supervisor: what each service says of itself."""
        traces = self._visit.pulse.traces
        seen = [await _self_portrait(name, service) for name, service in self._visit.desk.services.items()]
        redraw(self._now, "stack.html", bars=[], services=services(seen, traces), notes=[], fault=self._fault)
        redraw(self._settings, "nothing.html")


async def _self_portrait(name: str, service: Any) -> dict[str, Any]:
    shown = {"service": name, "state": "away", "reason": "", "profile": "", "predicted_bytes": 0, "resident_bytes": 0,
             "restarts": None, "url": service.base_url, "where": ""}
    try:
        memory = await service.ask("GET", "/v1/memory")
        shown |= {"profile": memory["profile"], "predicted_bytes": memory["planned_bytes"],
                  "resident_bytes": memory["resident_bytes"], "where": memory["device"]}
        await service.ask("GET", "/v1/health/ready")
    except (UllageError, KeyError, TypeError) as error:
        away = isinstance(error, DependencyDown)
        return {**shown, "state": "away" if away else "not ready", "reason": str(error)}
    return {**shown, "state": "ready"}


def bars(status: dict[str, Any]) -> list[Bar]:
    """RAM first, then every GPU."""
    return [_bar(device, status["services"]) for device in status["plan"]["devices"]]


def _bar(device: dict[str, Any], running: Sequence[dict[str, Any]]) -> Bar:
    total = int(device["total_bytes"])
    pieces: list[Piece] = []
    for hue, service in enumerate(running):
        predicted, measured = _bytes_on(device, service)
        if predicted or measured:
            pieces.append(Piece(service["service"], hue % 8, max(predicted, measured or 0) / total if total else 0.0,
                                predicted, measured))
    ours = sum(piece.measured_bytes or piece.predicted_bytes for piece in pieces)
    return Bar(
        name="Memory" if device["kind"] == "host" else str(device["name"]),
        model=str(device.get("model") or ""),
        total_bytes=total,
        budget_bytes=int(device.get("budget_bytes") or 0),
        planned_bytes=int(device.get("planned_bytes") or 0),
        headroom_bytes=int(device.get("headroom_bytes") or 0),
        free_bytes=int(device["free_bytes"]),
        others_bytes=max(0, total - int(device["free_bytes"]) - ours),
        pieces=tuple(pieces),
    )


def _bytes_on(device: dict[str, Any], service: dict[str, Any]) -> tuple[int, int | None]:
    """(predicted, measured) of a service on a device; a GPU's use by process is not measured here."""
    if device["kind"] == "host":
        return int(service["predicted_bytes"]), int(service["resident_bytes"])
    on_it = device["name"] in str(service.get("where", "")).split(",")
    return (sum((service.get("gpu_ledger") or {}).values()) if on_it else 0), None


def services(running: Sequence[dict[str, Any]], traces: dict[str, Trace]) -> list[dict[str, Any]]:
    """Each with its sparklines, and what it did to stay inside its memory."""
    return [{**service, "hue": hue % 8, **_trace(traces.get(service["service"]))}
            for hue, service in enumerate(running)]


def _trace(trace: Trace | None) -> dict[str, Any]:
    if trace is None:
        return {"latency": None, "rate": None, "latency_now": None, "rate_now": None, "events": {}}
    asked = [value for value in trace.milliseconds if value is not None]
    return {
        "latency": spark([value or 0.0 for value in trace.milliseconds]),
        "rate": spark(list(trace.per_second)),
        "latency_now": asked[-1] if asked else None,
        "rate_now": trace.per_second[-1] if trace.per_second else None,
        "events": {name: count for name, count in (trace.last.events if trace.last else {}).items() if count},
    }


def spark(values: Sequence[float]) -> str | None:
    """The points of an SVG polyline, newest at the right; None for fewer than two values."""
    if len(values) < 2:
        return None
    top = max(values) or 1.0
    step = SPARK_WIDTH / (len(values) - 1)
    return " ".join(f"{n * step:.1f},{SPARK_HEIGHT - 2 - value / top * (SPARK_HEIGHT - 4):.1f}"
                    for n, value in enumerate(values))
