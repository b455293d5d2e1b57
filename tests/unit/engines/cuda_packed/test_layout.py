"""Where things lie in a packed batch, for any rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ullage.engines.base import Batch, Row
from ullage.engines.cuda_packed import layout
from ullage.models.shape import Shape
from ullage.plan.packed import (
    MAX_ROWS,
    STEP_TOKENS,
    TILE_TOKENS,
    graph_buckets,
    most_rows,
    pooled_bytes,
    workspace,
)

lengths_of_rows = st.lists(st.integers(1, 700), min_size=1, max_size=40)


def batch_of(lengths: list[int]) -> Batch:
    return Batch.lay([Row(np.arange(1, n + 1, dtype=np.int32), np.full(n, i, np.int32))
                      for i, n in enumerate(lengths)])


def numbers(lengths: list[int], room: layout.Spaces) -> np.ndarray:
    out = np.full(room.numbers + 5, -7, np.int32)
    layout.write(batch_of(lengths), room, out)
    assert (out[room.numbers :] == -7).all()  # nothing beyond
    return out[: room.numbers]


@given(lengths_of_rows, st.sampled_from([1, STEP_TOKENS]))
def test_tiles_cover_every_token_once(lengths: list[int], step: int) -> None:
    room, captured = layout.spaces_for(np.array(lengths, np.int32), (), step=step)
    assert not captured
    flat = numbers(lengths, room)
    tiles = flat[3 * room.tokens : 3 * (room.tokens + room.tiles)].reshape(-1, 3)
    seen = np.zeros(room.tokens, int)
    starts = np.cumsum([0, *lengths])
    for begin, end, first in tiles[tiles[:, 1] > 0]:
        assert begin in starts
        assert end == starts[list(starts).index(begin) + 1]
        seen[first : min(first + TILE_TOKENS, end)] += 1
    assert (seen[: sum(lengths)] == 1).all()
    assert (seen[sum(lengths) :] == 0).all()


@given(lengths_of_rows)
def test_rows_know_their_tiles_and_lengths(lengths: list[int]) -> None:
    room, _ = layout.spaces_for(np.array(lengths, np.int32), (), step=STEP_TOKENS)
    flat = numbers(lengths, room)
    tiles = flat[3 * room.tokens : 3 * (room.tokens + room.tiles)].reshape(-1, 3)
    rows = flat[3 * (room.tokens + room.tiles) :].reshape(-1, 3)
    for index, (length, start) in enumerate(zip(lengths, np.cumsum([0, *lengths]), strict=False)):
        first, count, tokens = rows[index]
        assert tokens == length
        assert count == -(-length // TILE_TOKENS)
        assert (tiles[first : first + count, 0] == start).all()
    assert (rows[len(lengths) :] == 0).all()


@given(lengths_of_rows)
def test_ids_positions_and_types_come_first(lengths: list[int]) -> None:
    room, _ = layout.spaces_for(np.array(lengths, np.int32), (), step=STEP_TOKENS)
    ids, positions, types = numbers(lengths, room)[: 3 * room.tokens].reshape(3, -1)
    total = sum(lengths)
    assert (ids[:total] == positions[:total] + 1).all()
    assert (types[:total] == np.repeat(np.arange(len(lengths)), lengths)).all()
    assert not ids[total:].any()


@given(st.lists(st.integers(1, 400), min_size=1, max_size=300), st.integers(400, 4096))
def test_no_batch_needs_more_room_than_the_workspace_has(lengths: list[int], max_tokens: int) -> None:
    shape = Shape(hidden=64, layers=1, heads=1, kv_heads=1, head_dim=64, ffn=64, vocab=100, positions=4096)
    sizes = workspace(shape, "bert", "bf16", max_tokens, max_tokens)
    buckets = graph_buckets(max_tokens, sparing=False)
    assert buckets[-1] == layout.rounded(max_tokens, STEP_TOKENS)
    for rows in layout.forwards(np.array(lengths, np.int32), max_tokens):
        part = np.array(lengths[rows], np.int32)
        for graphs in ((), buckets):
            room, _ = layout.spaces_for(part, graphs, step=STEP_TOKENS)
            assert room.tokens * shape.hidden * 2 <= sizes["residual"]
            assert room.numbers * 4 <= sizes["numbers"]
            pooled = pooled_bytes(shape, "bert", most_rows(max_tokens))
            assert 2 * room.rows * shape.hidden * 4 <= pooled
            assert room.tiles * shape.hidden * 4 + pooled <= sizes["shared"]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=200), st.integers(100, 2000))
def test_forwards_take_every_row_in_order(lengths: list[int], max_tokens: int) -> None:
    parts = layout.forwards(np.array(lengths, np.int32), max_tokens)
    assert [index for part in parts for index in range(part.start, part.stop)] == list(range(len(lengths)))
    for part in parts:
        assert part.stop - part.start <= MAX_ROWS
        assert sum(lengths[part]) <= max_tokens or part.stop - part.start == 1


@given(st.integers(1, 20_000), st.sampled_from([128, 512, 2048]))
def test_chunks_are_even(tokens: int, most: int) -> None:
    parts = layout.chunks(tokens, most)
    sizes = [part.stop - part.start for part in parts]
    assert sum(sizes) == tokens
    assert max(sizes) <= most
    assert all(size % STEP_TOKENS == 0 for size in sizes[:-1])
    if tokens % STEP_TOKENS == 0:  # as on a GPU: every size is one that warm-up ran
        assert all(size % STEP_TOKENS == 0 for size in sizes)


def test_a_small_batch_takes_the_smallest_graph_that_holds_it() -> None:
    graphs = graph_buckets(4096, sparing=False)
    room, captured = layout.spaces_for(np.array([64, 64, 64, 64], np.int32), graphs, step=STEP_TOKENS)
    assert (room.tokens, captured) == (256, True)
    room, captured = layout.spaces_for(np.array([1] * 40, np.int32), graphs, step=STEP_TOKENS)
    assert (room.tokens, captured) == (384, True)  # rows, not tokens, decide
    room, captured = layout.spaces_for(np.array([3000], np.int32), graphs, step=STEP_TOKENS)
    assert (room.tokens, captured) == (3072, True)
    room, captured = layout.spaces_for(np.array([1] * 300, np.int32), graphs, step=STEP_TOKENS)
    assert (room.tokens, captured) == (384, False)


def test_rows_of_a_batch_are_taken_as_a_batch() -> None:
    whole = batch_of([3, 5, 2])
    part = layout.take_rows(whole, slice(1, 3))
    assert part.cumulative_lengths.tolist() == [0, 5, 7]
    assert part.input_ids.tolist() == [1, 2, 3, 4, 5, 1, 2]
    assert part.token_types.tolist() == [1] * 5 + [2] * 2
