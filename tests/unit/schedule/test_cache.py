"""Exact results in a bounded number of bytes."""

import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ullage.engines.base import Row
from ullage.schedule.cache import ENTRY_BYTES, ScoreCache, row_key


def row(*ids: int, types: list[int] | None = None) -> Row:
    return Row(np.asarray(ids, np.int32), None if types is None else np.asarray(types, np.int32))


def test_the_key_is_the_ids_the_types_and_the_purpose():
    assert row_key("logit", row(1, 2)) == row_key("logit", row(1, 2, types=[0, 0]))
    different = {row_key("logit", row(1, 2)), row_key("vector", row(1, 2)), row_key("logit", row(1, 2, types=[0, 1])),
                 row_key("logit", row(2, 1)), row_key("logit", row(1, 2, 0)), row_key("logit", row(1))}
    assert len(different) == 6


def test_a_cache_of_no_bytes_keeps_nothing():
    cache = ScoreCache(0)
    cache.put(b"k", 1.0)
    assert (cache.get(b"k"), len(cache), cache.held_bytes) == (None, 0, 0)


def test_the_least_recently_used_goes_first():
    cache = ScoreCache(2 * (ENTRY_BYTES + sys.getsizeof(1.0)))
    cache.put(b"a", 1.0)
    cache.put(b"b", 2.0)
    assert cache.get(b"a") == 1.0
    cache.put(b"c", 3.0)
    assert (cache.get(b"a"), cache.get(b"b"), cache.get(b"c")) == (1.0, None, 3.0)


def test_the_bytes_of_an_array_count_whoever_owns_them():
    whole = np.zeros((4, 1000), np.float32)
    cache = ScoreCache(100_000)
    cache.put(b"own", whole[0].copy())
    cache.put(b"view", whole[1])
    assert cache.held_bytes >= 2 * 4000
    cache.put(b"large", np.zeros(50_000, np.float32))
    assert cache.get(b"large") is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 500))), st.integers(0, 5000))
def test_it_never_holds_more_than_it_may_and_never_another_value(puts, capacity):
    cache, last = ScoreCache(capacity), {}
    for name, size in puts:
        key, value = bytes([name]), b"x" * size
        cache.put(key, value)
        last[key] = value
        assert cache.held_bytes <= capacity
    for key, value in last.items():
        found = cache.get(key)
        assert found is None or len(found) <= max(size for name, size in puts if bytes([name]) == key)
        if found is not None and ENTRY_BYTES + sys.getsizeof(value) <= capacity:
            assert found == value
