"""Which names a served model answers to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ullage.errors import UnknownModel


def plain(name: str) -> str:
    """A name as paths and gRPC have it: every character but letters and digits is `_`."""
    return re.sub(r"[^A-Za-z0-9]", "_", name)


@dataclass(frozen=True, slots=True)
class Names:
    """`listed` are shown to clients, the model's own name first; each also counts without its organisation."""

    listed: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """In order, without blanks and repetitions."""
        return cls(tuple(dict.fromkeys(name for name in names if name)))

    def knows(self, name: str) -> bool:
        return name in self.listed or name in {known.rsplit("/", 1)[-1] for known in self.listed}

    def knows_plain(self, name: str) -> bool:
        """Whether `name` is one of ours as a path or gRPC has it."""
        ours = {plain(known).lower() for known in self.listed}
        ours |= {plain(known.rsplit("/", 1)[-1]).lower() for known in self.listed}
        return plain(name).lower() in ours

    def unknown(self, name: str) -> UnknownModel:
        return UnknownModel(f"model {name!r} is not served here: {', '.join(self.listed)} is")
