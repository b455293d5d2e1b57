from __future__ import annotations

import numpy as np
import pytest

from ullage.engines.base import Batch, Row
from ullage.engines.dummy import DummyEngine
from ullage.errors import OutOfMemory


def row(*ids: int, types: list[int] | None = None) -> Row:
    return Row(np.asarray(ids, np.int32), None if types is None else np.asarray(types, np.int32))


def test_rows_are_laid_end_to_end() -> None:
    batch = Batch.lay([row(7, 8, 9), row(5), row(3, 4, types=[0, 1])])
    assert batch.input_ids.tolist() == [7, 8, 9, 5, 3, 4]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 0, 1]
    assert batch.token_types.tolist() == [0, 0, 0, 0, 0, 1]
    assert batch.cumulative_lengths.tolist() == [0, 3, 4, 6]
    assert {array.dtype for array in (batch.input_ids, batch.position_ids, batch.token_types)} == {np.dtype(np.int32)}
    assert (batch.rows, batch.tokens) == (3, 6)
    assert batch.input_ids[batch.row(2)].tolist() == [3, 4]


@pytest.mark.parametrize("rows", [[], [row()], [row(1), row()]])
def test_no_rows_or_an_empty_row_is_refused(rows: list[Row]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        Batch.lay(rows)


def test_the_dummy_engine_keeps_the_contract() -> None:
    engine = DummyEngine(width=5, token_vectors=True, max_tokens=10)
    engine.load()
    together = engine.run(Batch.lay([row(1, 2, 3), row(9)]))
    assert together.rows.shape == (2, 5)
    assert together.tokens is not None
    assert together.tokens.shape == (4, 5)
    np.testing.assert_allclose(engine.run(Batch.lay([row(9)])).rows[0], together.rows[1])
    assert engine.batches == [[3, 1], [1]]
    with pytest.raises(OutOfMemory, match="11 tokens in one batch; this engine holds 10"):
        engine.run(Batch.lay([row(*range(11))]))
    engine.close()
    assert not engine.loaded
