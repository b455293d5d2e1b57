"""What a service tells of its model to be served over KServe v2. Knows no wire format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from ullage.http.health import Health
from ullage.http.names import Names

Datatype = Literal["BYTES", "INT32", "FP32", "INT8", "UINT8"]
Parameters = Mapping[str, bool | int | float | str]


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` without the batch, -1 where it varies."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Inferred:
    """Outputs by name, in the model's order; `parameters` are said beside them."""

    outputs: Mapping[str, np.ndarray[Any, Any]]
    parameters: Parameters
    rows: int
    queue_s: float
    compute_s: float


class KserveModel(Protocol):
    """One model. `infer` gets each input as the texts of its batch and raises errors of our tree."""

    names: Names
    health: Health
    revision: str
    max_batch_size: int
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]

    async def infer(self, texts: Mapping[str, Sequence[str]], parameters: Parameters) -> Inferred: ...
