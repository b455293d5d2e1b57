"""A plan never exceeds its budget, and says why when nothing fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.devices import Machine
from ullage.errors import DoesNotFit, SettingsError
from ullage.models.card import find_card
from ullage.plan import plan_service, plan_stack
from ullage.plan.budget import budget
from ullage.plan.ladder import ladder
from ullage.settings import SERVICES, Settings

MIB = 1 << 20
GIB = 1 << 30
CARDS = {
    "ranking": find_card("ullage/minilm-fusion-ranker", "ranking"),
    "embedding": find_card("all-MiniLM-L6-v2", "embedding"),
    "llm": find_card("smollm2-135m-instruct", "llm"),
}


def machine(free: int = 8 * GIB) -> Machine:
    return Machine(cores=2, total_bytes=16 * GIB, free_bytes=free, limit="host")


def candidates(card, settings):
    return [(rung.profile, rung.ledger) for rung in ladder(card.role, card, settings, machine())]


def rank_of(plan, service):
    """0 is the largest profile of the service."""
    ids = [profile.id for profile, _ in candidates(CARDS[service], Settings())]
    return ids.index(plan[service].profile_id)


def smallest_budget() -> int:
    with pytest.raises(DoesNotFit) as refused:
        plan_stack(SERVICES, CARDS, Settings(memory=1), machine())
    return refused.value.needed_bytes


@given(st.integers(1, 8 * GIB))
def test_a_plan_fits_its_budget_or_is_refused_with_a_budget_that_works(memory):
    try:
        plan = plan_stack(SERVICES, CARDS, Settings(memory=memory), machine())
    except DoesNotFit as error:
        assert error.needed_bytes > memory
        again = plan_stack(SERVICES, CARDS, Settings(memory=error.needed_bytes), machine())
        assert again.total_bytes <= error.needed_bytes
    else:
        assert plan.total_bytes <= memory


@given(st.integers(0, 4 * GIB), st.integers(0, GIB))
def test_a_larger_budget_never_gives_a_worse_profile(extra, more):
    least = smallest_budget()
    small = plan_stack(SERVICES, CARDS, Settings(memory=least + extra), machine())
    large = plan_stack(SERVICES, CARDS, Settings(memory=least + extra + more), machine())
    assert all(rank_of(large, service) <= rank_of(small, service) for service in CARDS)


def test_the_reranker_gives_way_last():
    least = smallest_budget()
    plan = plan_stack(SERVICES, CARDS, Settings(memory=least + 4 * MIB), machine())
    assert rank_of(plan, "llm") == len(candidates(CARDS["llm"], Settings())) - 1
    assert plan["llm"].rejected
    assert "over the budget" in plan["llm"].rejected[0][1]


def test_a_refusal_names_every_part_the_sum_the_budget_and_the_way_out():
    with pytest.raises(DoesNotFit) as refused:
        plan_stack(SERVICES, CARDS, Settings(memory=300 * MIB), machine())
    message = refused.value.message
    assert all(service in message for service in SERVICES)
    assert "the budget is 300 MiB (memory)" in message
    named = int(message.rsplit(" ", 1)[1].removesuffix("MiB"))
    assert plan_stack(SERVICES, CARDS, Settings(memory=named * MIB), machine()).total_bytes <= named * MIB


def test_without_a_stated_budget_free_memory_less_the_headroom_counts():
    host = budget(Settings(headroom=512 * MIB), machine(free=2 * GIB)).host
    assert host.size == 2 * GIB - 512 * MIB
    assert "2,048 MiB free less 512 MiB headroom" in host.source
    assert budget(Settings(), machine(free=2 * GIB)).host.size == 2 * GIB - 16 * GIB // 20


def test_more_than_is_free_cannot_be_given_whatever_was_stated():
    host = budget(Settings(memory=3 * GIB, headroom=0), machine(free=2 * GIB)).host
    assert host.size == 2 * GIB
    assert host.source == "memory states 3,072 MiB, but there are 2,048 MiB free less 0 MiB headroom"


def test_a_service_keeps_to_its_own_budget():
    largest = candidates(CARDS["ranking"], Settings())[0][1].total
    plan = plan_service("ranking", CARDS["ranking"], Settings(ranking_memory=largest - 1), machine())
    assert plan["ranking"].ledger.total < largest
    assert "is over ranking_memory" in plan["ranking"].rejected[0][1]


def test_limits_make_the_profile_and_contradictions_are_refused():
    plan = plan_service("ranking", CARDS["ranking"], Settings(max_sequence=128, max_batch_tokens=256), machine())
    assert plan["ranking"].profile_id == "cpu-int8-t256-s128"
    with pytest.raises(SettingsError, match="holds no row of 512"):
        candidates(CARDS["ranking"], Settings(max_batch_tokens=256))
    with pytest.raises(SettingsError, match="512 at most"):
        candidates(CARDS["ranking"], Settings(max_sequence=513))
    with pytest.raises(SettingsError, match="8192 at most"):
        candidates(CARDS["llm"], Settings(llm_context=8193))
    [(profile, _)] = candidates(CARDS["llm"], Settings(llm_context=1024, max_sequence=128))
    assert profile.id == "cpu-q4_1-t1024-s1024"
