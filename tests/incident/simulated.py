"""A GPU that is not here: it counts what is taken of it, by us and by others."""

from __future__ import annotations

from typing import Any

from ullage.engines.base import Batch, Output, Usage
from ullage.engines.dummy import DummyEngine
from ullage.errors import OutOfMemory
from ullage.plan import Ledger, Profile


class Card:
    """`free_bytes` of a card that has others on it."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes

    def take(self, size: int) -> None:
        if size > self.free_bytes:
            raise OutOfMemory(f"{size} bytes asked for, {self.free_bytes} free on the card")
        self.free_bytes -= size

    def give(self, size: int) -> None:
        self.free_bytes += size


class SimulatedEngine(DummyEngine):
    """Takes its ledger from the card at load and nothing more afterwards. A batch over its profile is out of memory."""

    def __init__(self, card: Card, profile: Profile, ledger: Ledger) -> None:
        super().__init__(width=1, max_tokens=profile.max_tokens)
        self.card, self.profile, self.ledger = card, profile, ledger
        self.largest_tokens = 0

    def load(self) -> None:
        self.card.take(self.ledger.total)
        super().load()

    def run(self, batch: Batch) -> Output:
        self.largest_tokens = max(self.largest_tokens, batch.tokens)
        return super().run(batch)

    def usage(self) -> Usage:
        return Usage("cuda:0", self.ledger.total, self.ledger.total, self.ledger.total)

    def close(self) -> None:
        if self.loaded:
            self.card.give(self.ledger.total)
        super().close()


class Opener:
    """Stands in for `open_encoder`: the same arguments, an engine on the simulated card."""

    def __init__(self, card: Card, tokenizer: Any) -> None:
        self.card, self.tokenizer = card, tokenizer
        self.engines: list[SimulatedEngine] = []

    def __call__(self, card: Any, profile: Profile, ledger: Ledger, *, gpu_ledger: Ledger, **_: Any) -> Any:
        self.engines.append(SimulatedEngine(self.card, profile, gpu_ledger))
        return self.tokenizer, self.engines[-1]
