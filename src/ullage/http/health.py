"""Is the process up, and is it ready? Ready is true only after a real forward pass inside the budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["loading", "ready", "stopping", "failed"]


@dataclass(slots=True)
class Health:
    """`reason` says why a service is not ready, and what it is doing about it."""

    state: State = "loading"
    reason: str = "starting"

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    def loading(self, reason: str) -> None:
        self.state, self.reason = "loading", reason

    def set_ready(self) -> None:
        self.state, self.reason = "ready", ""

    def stopping(self) -> None:
        self.state, self.reason = "stopping", "stopping; no new work is accepted"

    def failed(self, reason: str) -> None:
        self.state, self.reason = "failed", reason

    def body(self) -> dict[str, object]:
        """A superset of every body the NIM generations and their clients have been seen to use."""
        if self.ready:
            return {"object": "health.response", "message": "Service is ready.", "status": "ready", "ready": True}
        return {
            "object": "health.response",
            "message": f"Service is not ready: {self.reason}.",
            "status": "not_ready",
            "ready": False,
            "reason": self.reason,
        }
