"""Where rows, tokens and attention tiles of one batch lie in the flat arrays that a model reads. Only numbers.

A tile is up to `TILE_TOKENS` queries of one row: a unit of attention and of pooling. On a GPU tokens are padded at the
end to a bucket, so that few shapes exist and all of them were run before the engine was ready. Padding is in no tile.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

import numpy as np

from ullage.engines.base import Batch, Int32
from ullage.plan.packed import MAX_ROWS, STEP_TOKENS, TILE_TOKENS

LEAST_ROWS = 16

TOKENS_PER_ROW = 8
MOST_GRAPH_ROWS = 256
"""A graph has room for rows of this mean length, and for so many; other batches run without a graph."""

TILE_ALIGN = 16
"""Tiles are counted in these, so that what lies behind them is aligned alike in every batch."""


@dataclass(frozen=True, slots=True)
class Spaces:
    """How many `tokens`, `rows` and `tiles` one forward has room for."""

    tokens: int
    rows: int
    tiles: int

    @property
    def numbers(self) -> int:
        """int32 values that describe a batch of this size: see `write`."""
        return 3 * self.tokens + 3 * self.tiles + 3 * self.rows


def rounded(value: int, step: int) -> int:
    return -(-value // step) * step


def tiles_of(lengths: Int32) -> int:
    return int((-(-lengths // TILE_TOKENS)).sum())


@cache
def graph_spaces(tokens: int) -> Spaces:
    """What the graph of one bucket has room for."""
    rows = min(max(LEAST_ROWS, tokens // TOKENS_PER_ROW), MOST_GRAPH_ROWS)
    return Spaces(tokens, rows, rounded(tokens // TILE_TOKENS + rows, TILE_ALIGN))


def spaces_for(lengths: Int32, graphs: tuple[int, ...], *, step: int) -> tuple[Spaces, bool]:
    """The room that a batch runs in, and whether a graph of that room exists. `step` 1 pads nothing."""
    tokens, rows, tiles = int(lengths.sum()), len(lengths), tiles_of(lengths)
    for bucket in graphs[bisect_left(graphs, tokens) :]:
        room = graph_spaces(bucket)
        if tokens <= room.tokens and rows <= room.rows and tiles <= room.tiles:
            return room, True
    if step == 1:
        return Spaces(tokens, rows, tiles), False
    return Spaces(rounded(tokens, step), rows_bucket(rows), rounded(tiles, TILE_ALIGN)), False


def rows_bucket(rows: int) -> int:
    """The next power of two, so that the matrices of a head come in few shapes."""
    return max(LEAST_ROWS, 1 << (rows - 1).bit_length())


def forwards(lengths: Int32, max_tokens: int) -> list[slice]:
    """Consecutive rows that fit one forward each. A row longer than `max_tokens` gets its own, which then fails."""
    found: list[slice] = []
    first, tokens = 0, 0
    for index, length in enumerate(int(n) for n in lengths):
        if index > first and (tokens + length > max_tokens or index - first == MAX_ROWS):
            found.append(slice(first, index))
            first, tokens = index, 0
        tokens += length
    found.append(slice(first, len(lengths)))
    return found


def take_rows(batch: Batch, rows: slice) -> Batch:
    """The part of a batch that holds these rows."""
    cumulative = batch.cumulative_lengths
    tokens = slice(int(cumulative[rows.start]), int(cumulative[rows.stop]))
    return Batch(batch.input_ids[tokens], batch.position_ids[tokens], batch.token_types[tokens],
                 cumulative[rows.start : rows.stop + 1] - cumulative[rows.start])


def write(batch: Batch, room: Spaces, out: Int32) -> None:
    """Describe a batch in `out` [room.numbers]: ids, positions, types [tokens each], tiles and rows.

    A tile is (row's first token, token after its last, tile's first query); one of zeros is none. A row is (its first
    tile, its tiles, its tokens). Tiles of the longest rows come first, as they take longest.
    """
    out[: room.numbers] = 0
    flat = out[: 3 * room.tokens].reshape(3, room.tokens)
    for place, values in enumerate((batch.input_ids, batch.position_ids, batch.token_types)):
        flat[place, : batch.tokens] = values
    tiles = out[3 * room.tokens : 3 * (room.tokens + room.tiles)].reshape(room.tiles, 3)
    rows = out[3 * (room.tokens + room.tiles) : room.numbers].reshape(room.rows, 3)
    starts = batch.cumulative_lengths[:-1]
    lengths = np.diff(batch.cumulative_lengths)
    order = np.argsort(-lengths, kind="stable")
    counts = -(-lengths[order] // TILE_TOKENS)
    firsts = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(firsts, counts)
    begins = np.repeat(starts[order], counts)
    tiles[: len(begins), 0] = begins
    tiles[: len(begins), 1] = begins + np.repeat(lengths[order], counts)
    tiles[: len(begins), 2] = begins + within * TILE_TOKENS
    rows[order, 0] = firsts
    rows[order, 1] = counts
    rows[: batch.rows, 2] = lengths


def chunks(tokens: int, most: int, step: int = STEP_TOKENS) -> list[slice]:
    """Equal parts of at most `most` tokens, each a multiple of `step` but the last."""
    count = -(-tokens // most)
    size = min(most, rounded(-(-tokens // count), step))
    return [slice(first, min(first + size, tokens)) for first in range(0, tokens, size)]
