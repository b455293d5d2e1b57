"""Work of which one run serves everybody who asked before it began."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable


class SharedTurns:
    """Counts, by name, who asked and who was served. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._served: Counter[str] = Counter()

    def ask(self, name: str) -> int:
        with self._lock:
            self._asked[name] += 1
            return self._asked[name]

    def serve(self, name: str, ticket: int, run: Callable[[], None]) -> None:
        """Run it unless a run that began after the ticket was drawn is done. The caller holds the lock of `run`."""
        with self._lock:
            if self._served[name] >= ticket:
                return
            upto = self._asked[name]
        run()
        with self._lock:
            self._served[name] = max(self._served[name], upto)
