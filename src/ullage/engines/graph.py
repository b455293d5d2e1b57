"""What an encoder's ONNX graph takes and gives, read from its declared inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ullage.errors import ModelUnsupported

KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
INTEGERS: dict[str, np.dtype[Any]] = {"tensor(int64)": np.dtype(np.int64), "tensor(int32)": np.dtype(np.int32)}
FLOATS = ("tensor(float)", "tensor(float16)")
VECTORS = ("last_hidden_state", "token_embeddings")
POOLED = ("sentence_embedding",)


@dataclass(frozen=True, slots=True)
class Graph:
    """`inputs` maps a name to its integer type; `outputs` are the ones to ask for.

    `vectors` names the output [rows, tokens, hidden], `pooled` the one [rows, width]; either may be missing.
    `single_row` graphs were exported for a batch of one.
    """

    inputs: dict[str, np.dtype[Any]]
    vectors: str | None
    pooled: str | None
    single_row: bool

    @property
    def outputs(self) -> list[str]:
        return [name for name in (self.vectors, self.pooled) if name is not None]


class Declared(Protocol):
    """An input or output: `type` as ONNX Runtime writes it, `shape` of numbers, names and None."""

    name: str
    type: str
    shape: list[Any]


def read_graph(
    taken: Sequence[Declared], given: Sequence[Declared], name: str, pooling: str, token_vectors: bool
) -> Graph:
    """Match what a graph takes and gives to what is wanted of it. Raises ModelUnsupported naming both."""
    signature = f"{name} takes {_names(taken)} and gives {_names(given)}"
    inputs: dict[str, np.dtype[Any]] = {}
    for node in taken:
        if node.name not in KNOWN_INPUTS or node.type not in INTEGERS:
            raise ModelUnsupported(f"{signature}: an encoder takes integers called {', '.join(KNOWN_INPUTS)}")
        inputs[node.name] = INTEGERS[node.type]
    if "input_ids" not in inputs or "attention_mask" not in inputs:
        raise ModelUnsupported(f"{signature}: input_ids and attention_mask must be among the inputs")
    vectors, pooled = _choose(given, pooling, token_vectors)
    if vectors is None and pooled is None:
        wanted = "logits [rows, labels]" if pooling == "none" else "last_hidden_state [rows, tokens, hidden]"
        raise ModelUnsupported(f"{signature}: {wanted} is wanted")
    return Graph(inputs, vectors, pooled, _single_row(taken, signature))


def _choose(outputs: Sequence[Declared], pooling: str, token_vectors: bool) -> tuple[str | None, str | None]:
    """(token vectors, pooled): by name first, then by being the only output of that rank."""
    ranked = {node.name: len(node.shape) for node in outputs if node.type in FLOATS}
    vectors = _pick(ranked, 3, VECTORS)
    if pooling == "none":
        return (vectors if token_vectors else None), _pick(ranked, 2, ("logits",))
    if vectors is not None or token_vectors:
        return vectors, None
    return None, _pick(ranked, 2, POOLED)


def _pick(ranked: dict[str, int], rank: int, names: tuple[str, ...]) -> str | None:
    for name in names:
        if ranked.get(name) in (rank, 0):  # 0: the exporter wrote no shape down
            return name
    candidates = [name for name, found in ranked.items() if found == rank]
    return candidates[0] if len(candidates) == 1 and len(ranked) == 1 else None


def _single_row(taken: Sequence[Declared], signature: str) -> bool:
    rows, *lengths = next(node.shape for node in taken if node.name == "input_ids") or [None]
    if any(isinstance(length, int) for length in lengths) or (isinstance(rows, int) and rows != 1):
        raise ModelUnsupported(f"{signature}: input_ids has a fixed shape, export it with dynamic rows and tokens")
    return bool(rows == 1)


def _names(nodes: Sequence[Declared]) -> str:
    return ", ".join(f"{node.name} {list(node.shape)}" for node in nodes)
