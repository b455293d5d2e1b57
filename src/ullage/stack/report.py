"""What a running stack says of itself: services, plan beside measured, devices, and the settings in force."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ullage.devices import Machine, detect
from ullage.plan import Plan
from ullage.plan.budget import headroom_bytes
from ullage.settings import Effective, Settings
from ullage.settings.foreign import redacted
from ullage.stack.state import ServiceRecord
from ullage.stack.status import measured
from ullage.version import __version__


@dataclass(frozen=True, slots=True)
class Report:
    """Sizes are bytes. `look` is what the machine has now."""

    plan: Plan
    effective: Effective
    begun_unix_s: float
    look: Callable[[], Machine] = detect

    @property
    def settings(self) -> Settings:
        return self.effective.settings

    def now(self, records: Sequence[ServiceRecord]) -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_unix_s": self.begun_unix_s,
            "now_unix_s": time.time(),
            "state_dir": str(self.settings.state_dir),
            "services": [self._service(record) for record in records],
            "plan": {
                "budget_bytes": self.plan.budget_bytes,
                "budget_source": self.plan.budget_source,
                "planned_bytes": self.plan.total_bytes,
                "notes": list(self.plan.notes),
                "devices": self._devices(self.look()),
            },
            "settings": self._settings(),
            "notes": list(self.effective.notes),
        }

    def _service(self, record: ServiceRecord) -> dict[str, Any]:
        planned = {str(p.service): p for p in self.plan.services}.get(record.service)
        gpu_ledger = planned.gpu_ledger.as_dict() if planned is not None and planned.gpu_ledger is not None else {}
        return {
            **asdict(measured(record)),
            "url": f"{'http' if record.cert is None else 'https'}://{record.host}:{record.port}",
            "ledger": dict(record.ledger),
            "where": planned.where if planned is not None else "cpu",
            "model": planned.card.name if planned is not None and planned.card is not None else None,
            "gpu_ledger": gpu_ledger,
        }

    def _devices(self, machine: Machine) -> list[dict[str, Any]]:
        """The host, then every GPU; free is now, the budget is the plan's."""
        host = {"name": "host", "kind": "host", "total_bytes": machine.total_bytes, "free_bytes": machine.free_bytes,
                "headroom_bytes": headroom_bytes(self.settings.headroom, machine.total_bytes),
                "budget_bytes": self.plan.budget_bytes, "planned_bytes": self.plan.total_bytes}
        return [host, *(
            {"name": f"cuda:{gpu.index}", "kind": gpu.kind, "model": gpu.name, "total_bytes": gpu.total_bytes,
             "free_bytes": gpu.free_bytes,
             "headroom_bytes": headroom_bytes(self.settings.gpu_headroom, gpu.total_bytes),
             "budget_bytes": limit.size if (limit := self.plan.budget.gpus.get(gpu.index)) is not None else 0,
             "planned_bytes": self.plan.gpu_bytes(gpu.index)}
            for gpu in machine.gpus
        )]

    def _settings(self) -> list[dict[str, Any]]:
        """No secret among them."""
        shown = self.settings.model_dump(mode="json")
        return [
            {"name": name, "value": redacted(name, value) if isinstance(value, str) and value else value,
             "origin": self.effective.origins[name], "foreign": self.effective.foreign.get(name),
             "description": info.description}
            for name, value in shown.items() if (info := Settings.model_fields[name])
        ]
