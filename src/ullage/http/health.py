"""Is the process up, and is it ready? Ready is true only after a real forward pass inside the budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["loading", "ready", "paused", "stopping", "failed"]


@dataclass(slots=True)
class Health:
    """`reason` says why a service is not ready, and what it is doing about it.

    `progress` is the share done, 0 to 1, of what a loading service reports a share of.
    """

    state: State = "loading"
    reason: str = "starting"
    progress: float | None = None

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    def loading(self, reason: str, progress: float | None = None) -> None:
        """With `progress` the reason ends in it: `loading weights 40 %`."""
        self.state, self.progress = "loading", progress
        self.reason = reason if progress is None else f"{reason} {progress * 100:.0f} %"

    def set_ready(self) -> None:
        self.state, self.reason, self.progress = "ready", "", None

    def pause(self, reason: str) -> None:
        """A ready service that cannot do its work now, and goes on trying."""
        if self.state in ("ready", "paused"):
            self.state, self.reason = "paused", reason

    def resume(self) -> None:
        """The end of a pause; whatever else keeps it from being ready stays."""
        if self.state == "paused":
            self.set_ready()

    def stopping(self) -> None:
        self.state, self.reason, self.progress = "stopping", "stopping; no new work is accepted", None

    def failed(self, reason: str) -> None:
        self.state, self.reason, self.progress = "failed", reason, None

    def body(self) -> dict[str, object]:
        """A superset of every body the NIM generations and their clients have been seen to use."""
        if self.ready:
            return {"object": "health.response", "message": "Service is ready.", "status": "ready", "ready": True}
        told: dict[str, object] = {
            "object": "health.response",
            "message": f"Service is not ready: {self.reason}.",
            "status": "not_ready",
            "ready": False,
            "state": self.state,
            "reason": self.reason,
        }
        return told if self.progress is None else {**told, "progress": round(self.progress, 3)}
