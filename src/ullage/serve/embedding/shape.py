"""A vector as it was asked for: fewer dimensions, other numbers, base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from ullage.engines.base import Float32
from ullage.errors import InvalidRequest, RequestError
from ullage.models.card import Card
from ullage.serve.embedding.schema import EmbeddingType

Values = npt.NDArray[Any]


def wanted_dimensions(asked: int | None, card: Card) -> int:
    """How many dimensions to give. More than there are gives all, as NIM does for models that may be cut.

    Raises RequestError (400) below 1, InvalidRequest for another size than its own of a model not trained to be cut.
    """
    whole = card.shape.hidden
    if asked is None:
        return whole
    if asked < 1:
        raise RequestError(f"dimensions={asked}: give 1 or more")
    if asked != whole and not card.dimensions:
        raise InvalidRequest(f"dimensions={asked}: {card.name} gives {whole} and no other, "
                             "for it was not trained to be cut")
    return min(asked, whole)


def cut_to(rows: Float32, dimensions: int, *, normalize: bool) -> Float32:
    """The first `dimensions` of each row [n, hidden], of unit length again where the whole rows are."""
    if dimensions == rows.shape[1]:
        return rows
    return unit(rows[:, :dimensions]) if normalize else np.ascontiguousarray(rows[:, :dimensions])


def unit(rows: Float32) -> Float32:
    """Rows [n, d] brought to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    divided: Float32 = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return divided


def as_type(rows: Float32, kind: EmbeddingType, card: Card) -> Values:
    """Rows [n, d] as numbers of `kind`.

    int8 is round(127 x) of a unit vector's x, uint8 the same plus 128. binary and ubinary are the signs, eight to a
    byte, the first in the highest bit: [n, ceil(d / 8)], as int8 less 128, or uint8. Raises InvalidRequest for int8
    and uint8 of vectors whose length is not 1: there is no scale that keeps them comparable.
    """
    if kind == "float":
        return rows
    if kind in ("binary", "ubinary"):
        bits = np.packbits(rows > 0, axis=1)
        return bits if kind == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    if not card.normalize:
        raise InvalidRequest(f"embedding_type={kind}: vectors of {card.name} are not of unit length; use float")
    whole = np.clip(np.rint(rows * 127), -127, 127).astype(np.int16)
    return whole.astype(np.int8) if kind == "int8" else (whole + 128).astype(np.uint8)


def base64_of(row: Values) -> str:
    """Little-endian fp32 as OpenAI's clients read it, or the bytes of int8, uint8 and bits."""
    return base64.b64encode(row.astype(row.dtype.newbyteorder("<")).tobytes()).decode("ascii")
