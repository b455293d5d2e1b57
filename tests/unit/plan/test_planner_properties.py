"""What must hold of every plan, over device files, budgets and card sets."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import hypothesis
from hypothesis import assume, given
from hypothesis import strategies as st

from ullage.devices import Gpu, Machine, examples, find_machine
from ullage.errors import DoesNotFit, SettingsError
from ullage.models.card import known_cards
from ullage.plan import ladder, plan_service, plan_stack
from ullage.plan.footprint import plain_ledger
from ullage.settings import SERVICES, Settings

MIB = 1 << 20
GIB = 1 << 30
MANY = hypothesis.settings(max_examples=300, deadline=None)
MODELS = ("ranking", "embedding", "llm")
IMPORTANCE = ("ranking", "embedding", "llm")
CARDS = {role: [card for card in known_cards() if card.role == role and not card.not_servable] for role in MODELS}
EXAMPLES = [find_machine(name) for name in examples()]
COMPUTE = (None, (7, 5), (8, 0), (8, 6), (8, 9), (9, 0))
SIZES = st.integers(0, 8 * 1024).map(lambda size: size * MIB) | st.integers(0, 96 * 1024).map(lambda size: size * MIB)
SELDOM = st.one_of(st.none(), st.none(), st.none(), SIZES)


@st.composite
def gpus(draw, index):
    total = draw(st.integers(2 * 1024, 80 * 1024)) * MIB
    return Gpu(index, f"GPU {index}", total, draw(st.integers(0, total)), compute=draw(st.sampled_from(COMPUTE)))


@st.composite
def made_up(draw, most_gpus=3):
    total = draw(st.integers(1024, 256 * 1024)) * MIB
    found = tuple(draw(gpus(index)) for index in range(draw(st.integers(0, most_gpus))))
    return Machine(draw(st.integers(1, 64)), total, draw(st.integers(0, total)), "host", found)


machines = st.sampled_from(EXAMPLES) | made_up()
without_gpu = made_up(most_gpus=0)


OWN = ("ranking_memory", "embedding_memory", "llm_memory", "ranking_gpu_memory", "embedding_gpu_memory")


@st.composite
def settings(draw, own=True):
    """Settings that bound memory, and that open and close ways to run. A service's own budget is within the stack's."""
    drawn = {
        "memory": st.none() | SIZES, "gpu_memory": st.none() | SIZES,
        "headroom": SELDOM | st.just(0), "gpu_headroom": SELDOM | st.just(0), "allow_lower_precision": st.booleans(),
        "allow_host_embedding": st.booleans(), "allow_cpu": st.booleans(),
        "instances": st.sampled_from([1, 1, 2]), "max_batch_tokens": st.sampled_from([None, None, None, 8192]),
        "ranking_device": st.sampled_from(["auto"] * 6 + ["cpu", "cuda:0"]),
    }
    values = {name: draw(choices) for name, choices in drawn.items()}
    for name in OWN if own else ():
        whole = values["gpu_memory" if "gpu" in name else "memory"]
        part = draw(SELDOM)
        values[name] = part if part is None or whole is None else min(part, whole)
    return values


@st.composite
def card_sets(draw, least=1):
    """(services, their cards): some models, and sometimes the services without one."""
    models = draw(st.lists(st.sampled_from(MODELS), unique=True, min_size=least))
    services = [s for s in SERVICES if s in models or (s not in MODELS and draw(st.booleans()))]
    return services, {role: draw(st.sampled_from(CARDS[role])) for role in models}


@st.composite
def loose(draw, least=1, on=machines, own=True):
    """Any services on any machine under any budgets: (services, cards, settings, machine)."""
    services, cards = draw(card_sets(least))
    return services, cards, draw(settings(own)), draw(on)


@st.composite
def tight(draw, most_gpus=2, own=True):
    """A case at whose edge one combination of profiles lies: a byte more or less decides whether it fits.

    The edge is what is free on each memory less its headroom, or a stated budget.
    """
    services, cards = draw(card_sets())
    values = draw(settings(own)) | {"memory": None, "gpu_memory": None}
    wide = Machine(8, 4096 * GIB, 4096 * GIB, "host", tuple(
        Gpu(index, f"GPU {index}", 192 * GIB, 192 * GIB, compute=draw(st.sampled_from(COMPUTE)))
        for index in range(draw(st.integers(0, most_gpus)))))
    try:
        wanted = [draw(st.sampled_from(ways(service, cards, values, wide) or [(0, None, 0)])) for service in services]
    except SettingsError:
        assume(False)
    edge = st.sampled_from([-1, 0, 0, 1, -MIB, MIB]) | st.integers(-GIB, GIB)
    host = max(0, sum(way[0] for way in wanted) + draw(edge))
    by_gpu = [max(0, sum(way[2] for way in wanted if way[1] == gpu.index) + draw(edge)) for gpu in wide.gpus]
    if draw(st.booleans()):
        values |= {"memory": max([host, *(values[name] or 0 for name in OWN if "gpu" not in name and own)])}
    else:
        wide = replace(wide, free_bytes=min(wide.total_bytes, host + headroom(values["headroom"], wide.total_bytes)))
    return services, cards, values, replace(wide, gpus=tuple(
        replace(gpu, free_bytes=min(gpu.total_bytes, size + headroom(values["gpu_headroom"], gpu.total_bytes)))
        for gpu, size in zip(wide.gpus, by_gpu, strict=True)))


cases = tight() | loose()


def planned(services, cards, values, machine):
    """The plan, or the refusal. Settings that contradict a card or machine are another test's matter."""
    try:
        return plan_stack(services, cards, Settings(**values), machine)
    except DoesNotFit as refused:
        return refused
    except SettingsError:
        assume(False)


def first_model(case):
    """(service, card, settings, machine) of a case, for a service that is started alone."""
    services, cards, values, machine = case
    role = next(service for service in services if service in cards)
    return role, cards[role], values, machine


def planned_alone(role, card, values, machine):
    try:
        return plan_service(role, card, Settings(**values), machine)
    except DoesNotFit as refused:
        return refused
    except SettingsError:
        assume(False)


def headroom(stated, total):
    return max(total // 20, 512 * MIB) if stated is None else stated


def rooms(values, machine, alone=None):
    """(host bytes, bytes by GPU) that may be used, reckoned from the rule in the design and not by the planner."""

    def room(free, kept, *stated):
        return min([max(0, free - kept), *(size for size in stated if size is not None)])

    own, own_gpu = values.get(f"{alone}_memory"), values.get(f"{alone}_gpu_memory")
    host = room(machine.free_bytes, headroom(values["headroom"], machine.total_bytes), values["memory"], own)
    return host, {gpu.index: room(gpu.free_bytes, headroom(values["gpu_headroom"], gpu.total_bytes),
                                  values["gpu_memory"], own_gpu) for gpu in machine.gpus}


def ways(service, cards, values, machine):
    """(host bytes, GPU index or None, GPU bytes) of every listed way to run a service within its own budgets."""
    if service not in cards:
        found = [(plain_ledger(service).total, None, 0)]
    else:
        found = [(rung.ledger.total, rung.gpus[0].index if rung.gpus else None, rung.gpu_bytes)
                 for rung in ladder(service, cards[service], Settings(**values), machine)]
    own, own_gpu = values.get(f"{service}_memory"), values.get(f"{service}_gpu_memory")
    return [way for way in found if (own is None or way[0] <= own) and (own_gpu is None or way[2] <= own_gpu)]


def some_way_fits(services, cards, values, machine, room):
    """Brute force over all combinations. Ways that cost the same are tried once."""
    host, by_gpu = room
    choices = [sorted(set(ways(service, cards, values, machine)), key=lambda way: way[0]) for service in services]
    return any(fits(combination, host, by_gpu) for combination in itertools.product(*choices))


def fits(combination, host, by_gpu):
    return sum(way[0] for way in combination) <= host and all(
        sum(way[2] for way in combination if way[1] == index) <= size for index, size in by_gpu.items())


def place(found, service, cards, values, machine):
    """The place of the chosen way in the order of candidates; 0 is the best."""
    one = found[service]
    rungs = ladder(service, cards[service], Settings(**values), machine)
    [at] = [at for at, rung in enumerate(rungs) if (rung.profile, rung.where) == (one.profile, one.where)]
    return at


def assert_within(found, room):
    host, by_gpu = room
    assert found.total_bytes <= host
    for index, size in by_gpu.items():
        assert found.gpu_bytes(index) <= size


@MANY
@given(cases)
def test_a_stack_never_exceeds_budget_less_headroom_on_any_memory(case):
    services, cards, values, machine = case
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        return
    assert [one.service for one in found.services] == services
    assert_within(found, rooms(values, machine))
    for one in found.services:
        assert bool(one.gpus) == (one.gpu_ledger is not None)
        own, own_gpu = values.get(f"{one.service}_memory"), values.get(f"{one.service}_gpu_memory")
        assert own is None or one.ledger.total <= own
        assert one.gpu_ledger is None or own_gpu is None or one.gpu_ledger.total <= own_gpu


@MANY
@given(cases)
def test_every_rejected_profile_has_its_reason_in_bytes(case):
    services, cards, values, machine = case
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        return
    for one in found.services:
        if one.service not in cards:
            continue
        rungs = ladder(one.service, cards[one.service], Settings(**values), machine)
        above = rungs[:place(found, one.service, cards, values, machine)]
        assert [profile for profile, _ in one.rejected] == [rung.profile.id for rung in above]
        for _, reason in one.rejected:
            said = re.search(r"([\d,]+) MiB\b[^M]* over (?:the budget|\w+_memory) of ([\d,]+) MiB", reason)
            assert said, reason
            needed, limit = (int(size.replace(",", "")) for size in said.groups())
            assert needed > limit, reason


@MANY
@given(cases)
def test_every_fallback_fits_beside_the_others(case):
    services, cards, values, machine = case
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        return
    host, by_gpu = rooms(values, machine)
    for one in found.services:
        for lower in one.fallbacks:
            assert found.total_bytes - one.ledger.total + lower.ledger.total <= host
            if lower.gpus:
                index = lower.gpus[0].index
                own_part = one.gpu_ledger.total if one.gpus and one.gpus[0].index == index else 0
                assert found.gpu_bytes(index) - own_part + lower.gpu_ledger.total <= by_gpu[index]


@MANY
@given(cases)
def test_a_service_alone_never_exceeds_its_budget_and_is_refused_only_when_no_way_fits(case):
    role, card, values, machine = first_model(case)
    found = planned_alone(role, card, values, machine)
    room = rooms(values, machine, alone=role)
    if isinstance(found, DoesNotFit):
        assert not some_way_fits([role], {role: card}, values, machine, room)
    else:
        assert_within(found, room)


@MANY
@given(tight() | loose(on=st.sampled_from(EXAMPLES) | made_up(most_gpus=2)))
def test_a_stack_is_refused_only_when_no_combination_fits(case):
    services, cards, values, machine = case
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        assert not some_way_fits(services, cards, values, machine, rooms(values, machine))


@MANY
@given(cases)
def test_the_same_input_gives_the_same_plan(case):
    services, cards, values, machine = case
    first, second = (planned(services, dict(cards), dict(values), machine) for _ in range(2))
    if isinstance(first, DoesNotFit):
        assert first.message == second.message
    else:
        assert first == second


def larger(draw, values):
    """The same settings with a budget that is larger or equal: of the host, of the GPUs, or of both."""
    more = {name: None if values[name] is None else values[name] + draw(SIZES) for name in ("memory", "gpu_memory")}
    return values | more


@MANY
@given(st.data(), cases)
def test_a_larger_budget_never_gives_a_service_alone_a_worse_profile(data, case):
    role, card, values, machine = first_model(case)
    more = larger(data.draw, values)
    small, large = (planned_alone(role, card, budget, machine) for budget in (values, more))
    if isinstance(small, DoesNotFit):
        return
    assert not isinstance(large, DoesNotFit)
    cards = {role: card}
    assert place(large, role, cards, more, machine) <= place(small, role, cards, values, machine)


@MANY
@given(st.data(), tight(most_gpus=0) | loose(on=without_gpu))
def test_without_a_gpu_a_larger_budget_never_gives_any_service_a_worse_profile(data, case):
    services, cards, values, machine = case
    more = larger(data.draw, values)
    small, large = (planned(services, cards, budget, machine) for budget in (values, more))
    if isinstance(small, DoesNotFit):
        return
    assert not isinstance(large, DoesNotFit)
    for role in cards:
        assert place(large, role, cards, more, machine) <= place(small, role, cards, values, machine)


@MANY
@given(st.data(), cases)
def test_with_gpus_a_larger_budget_never_gives_a_worse_plan_the_reranker_first(data, case):
    services, cards, values, machine = case
    more = larger(data.draw, values)
    small, large = (planned(services, cards, budget, machine) for budget in (values, more))
    if isinstance(small, DoesNotFit):
        return
    assert not isinstance(large, DoesNotFit)
    before, after = ([place(found, role, cards, budget, machine) for role in IMPORTANCE if role in cards]
                     for found, budget in ((small, values), (large, more)))
    assert after <= before


@MANY
@given(cases)
def test_with_gpus_no_combination_better_in_the_order_of_importance_would_fit(case):
    services, cards, values, machine = case
    found = planned(services, cards, values, machine)
    choices = {service: ways(service, cards, values, machine) for service in services}
    if isinstance(found, DoesNotFit) or all(way[1] is None for found in choices.values() for way in found):
        return
    host, by_gpu = rooms(values, machine)
    order = [*(service for service in services if service not in cards), *(s for s in IMPORTANCE if s in cards)]
    best = next(combination for combination in itertools.product(*(choices[service] for service in order))
                if fits(combination, host, by_gpu))
    chosen = [(one.ledger.total, one.gpus[0].index if one.gpus else None, one.gpu_ledger.total if one.gpu_ledger else 0)
              for one in (found[service] for service in order)]
    assert chosen == list(best)


@MANY
@given(cases, SIZES)
def test_a_machine_with_more_free_memory_never_gives_a_worse_plan(case, extra):
    services, cards, values, machine = case
    roomier = replace(machine, free_bytes=min(machine.total_bytes, machine.free_bytes + extra))
    small, large = (planned(services, cards, values, on) for on in (machine, roomier))
    if isinstance(small, DoesNotFit):
        return
    assert not isinstance(large, DoesNotFit)
    before, after = ([place(found, role, cards, values, on) for role in IMPORTANCE if role in cards]
                     for found, on in ((small, machine), (large, roomier)))
    assert after <= before


@MANY
@given(cases)
def test_a_refusal_asks_for_more_than_there_was_in_one_line(case):
    services, cards, values, machine = case
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        assert found.needed_bytes > found.budget_bytes >= 0
        assert "\n" not in found.message


@MANY
@given(tight(own=False) | loose(own=False))
def test_the_budget_that_a_refusal_names_works_where_there_is_room(case):
    services, cards, values, machine = case
    found = planned(services, cards, values, machine)
    named = isinstance(found, DoesNotFit) and re.search(r"the smallest budget that works is (\d+)MiB", found.message)
    if not named:
        return
    roomy = replace(machine, total_bytes=1 << 50, free_bytes=1 << 50)
    again = planned(services, cards, values | {"memory": int(named[1]) * MIB, "headroom": 0}, roomy)
    assert not isinstance(again, DoesNotFit), again.message


@MANY
@given(tight(most_gpus=0, own=False) | loose(on=without_gpu, own=False))
def test_the_headroom_that_a_refusal_names_works(case):
    services, cards, values, machine = case
    found = planned(services, cards, values, machine)
    named = isinstance(found, DoesNotFit) and re.search(r"set headroom to (\d+)MiB or less", found.message)
    if not named:
        return
    again = planned(services, cards, values | {"memory": None, "headroom": int(named[1]) * MIB}, machine)
    assert not isinstance(again, DoesNotFit), again.message
