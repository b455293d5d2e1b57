"""What the planner chooses among, and what each choice costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """A way to run one model. The id reads as what it is: `cuda-bf16-t16384-s8192`.

    `device` is `cpu` or `cuda`. `max_tokens` are the tokens of one batch (for an LLM: of its context), `max_sequence`
    those of one row. `instances` engines share the process; with `host_embedding` a GPU model's embedding table stays
    in pinned host memory. A vision model has no tokens: `pixels` is the largest picture its text detector sees, in
    thousands in its id, `cpu-fp32-p1100k`.
    """

    device: str
    precision: str
    max_tokens: int
    max_sequence: int
    instances: int = 1
    host_embedding: bool = False
    pixels: int = 0

    @property
    def id(self) -> str:
        if self.pixels:
            return f"{self.device}-{self.precision}-p{self.pixels // 1000}k"
        table = "-hostembed" if self.host_embedding else ""
        copies = f"-i{self.instances}" if self.instances > 1 else ""
        return f"{self.device}-{self.precision}{table}-t{self.max_tokens}-s{self.max_sequence}{copies}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Predicted resident bytes of one process, part by part.

    `fixed` is the interpreter with its libraries; `activations` is what the largest batch takes; `slack` covers
    what allocators round up.
    """

    fixed: int
    weights: int = 0
    activations: int = 0
    slack: int = 0

    @property
    def total(self) -> int:
        return self.fixed + self.weights + self.activations + self.slack

    def as_dict(self) -> dict[str, int]:
        return {"fixed": self.fixed, "weights": self.weights, "activations": self.activations, "slack": self.slack}


def mebibytes(size: int) -> str:
    """Bytes as people read them in a sum: whole MiB, rounded up."""
    return f"{-(-size // (1 << 20)):,} MiB"


def room(size: int) -> str:
    """Bytes that may be used, as people read them beside a sum: whole MiB, rounded down, so that no shortage hides."""
    return f"{size // (1 << 20):,} MiB"


def sum_text(parts: Iterable[tuple[str, int]]) -> str:
    """`ranking 310 MiB + embedding 300 MiB`."""
    return " + ".join(f"{name} {mebibytes(size)}" for name, size in parts)
