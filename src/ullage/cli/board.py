"""What `ullage up` shows while it runs: a live table in a terminal, else a line at each change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ullage.cli.output import mib
from ullage.cli.status import status_table

if TYPE_CHECKING:
    from ullage.stack.state import ServiceRecord
    from ullage.stack.supervisor import Supervisor

REFRESHES_PER_S = 1.0


class Board:
    """Hears of every change; draws itself once a second where somebody looks."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._supervisor: Supervisor | None = None
        self._told: dict[str, tuple[str, str]] = {}

    def start(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=REFRESHES_PER_S)
            self._live.start()

    def changed(self, record: ServiceRecord) -> None:
        if self._live is None:
            self._tell(record)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _table(self) -> Table:
        from ullage.stack.status import measured

        records = list(self._supervisor.records.values()) if self._supervisor else []
        return status_table([measured(record) for record in records], wide=False)

    def _tell(self, record: ServiceRecord) -> None:
        now = (record.state, record.reason)
        if self._told.get(record.service) == now:
            return
        self._told[record.service] = now
        what = f"{record.service} {record.state}"
        if record.state == "ready":
            what += f" on port {record.port}, {record.profile}, {mib(record.predicted_bytes)} predicted"
        print(f"{what}: {record.reason}" if record.reason else what, flush=True)
