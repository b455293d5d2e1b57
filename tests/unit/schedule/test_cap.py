"""The cap on batch tokens: down at once, up slowly, never past the plan."""

from hypothesis import given
from hypothesis import strategies as st

from ullage.schedule.cap import CLEAN_BATCHES, MOST_CLEAN_BATCHES, STEPS, BatchCap


def clean(cap: BatchCap, batches: int) -> int:
    return sum(cap.clean() for _ in range(batches))


def test_running_out_halves_what_was_tried_and_stops_at_one_longest_row():
    cap = BatchCap(4096, floor=512)
    assert cap.lower(4000)
    assert cap.tokens == 2000
    assert cap.lower(2000)
    assert cap.lower(1000)
    assert cap.tokens == 512
    assert not cap.lower(512)
    assert cap.tokens == 512


def test_a_small_batch_that_failed_does_not_raise_the_cap():
    cap = BatchCap(4096, floor=512)
    cap.lower(1400)
    cap.lower(4000)
    assert cap.tokens == 700


def test_clean_batches_bring_it_back_step_by_step_to_the_plan_and_no_further():
    cap = BatchCap(4096, floor=512)
    cap.lower(4096)
    assert clean(cap, CLEAN_BATCHES - 1) == 0
    assert clean(cap, 1) == 1
    assert cap.tokens == 2048 + 4096 // STEPS
    assert clean(cap, 3 * CLEAN_BATCHES) == 3
    assert cap.tokens == 4096
    assert clean(cap, 1000) == 0


def test_a_raise_that_failed_is_waited_for_longer():
    cap = BatchCap(4096, floor=512)
    cap.lower(4096)
    clean(cap, CLEAN_BATCHES)
    cap.lower(cap.tokens)
    assert cap.patience == 2 * CLEAN_BATCHES
    assert clean(cap, CLEAN_BATCHES) == 0
    assert clean(cap, CLEAN_BATCHES) == 1
    while cap.tokens < 4096:
        cap.clean()
    assert cap.patience == CLEAN_BATCHES


@given(st.lists(st.one_of(st.none(), st.integers(1, 10_000)), max_size=400), st.integers(1, 4096), st.integers(1, 4096))
def test_it_stays_between_one_row_and_the_plan(events, planned, floor):
    cap = BatchCap(planned, floor)
    for failed in events:
        before = cap.tokens
        changed = cap.clean() if failed is None else cap.lower(failed)
        assert changed == (cap.tokens != before)
        assert min(floor, planned) <= cap.tokens <= planned
        assert cap.patience <= MOST_CLEAN_BATCHES
    clean(cap, (STEPS + 1) * MOST_CLEAN_BATCHES)
    assert cap.tokens == planned
