"""Run the async services from plain Python: one event loop in one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from ullage.devices import detect
from ullage.models.resolve import resolve
from ullage.plan import plan_service
from ullage.serve.encoder import Encoder
from ullage.settings import Service, load

T = TypeVar("T")


class LocalEncoder:
    """An encoder planned within `memory` bytes and loaded in this process."""

    def __init__(
        self, service: Service, model: str | None, memory: int | str | None, threads: int | None,
        precision: str | None = None
    ) -> None:
        flags = {f"{service}_model": model, f"{service}_memory": memory, "threads": threads, "precision": precision}
        settings = load(flags, service=service).settings
        card = resolve(settings.model(service) or "", "ranking" if service == "ranking" else "embedding")
        self.plan = plan_service(service, card, settings, detect())[service]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"ullage-{service}", daemon=True)
        self._thread.start()
        try:
            self.encoder = Encoder(settings, self.plan, cap=False)
            self.wait(self.encoder.start())
        except BaseException:
            self._stop_loop()
            raise

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and return what it returns. Raises RuntimeError once closed."""
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("this model was closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Give the memory back. Idempotent."""
        if self._thread.is_alive():
            self.wait(self.encoder.close())
            self._stop_loop()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
