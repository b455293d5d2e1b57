"""What must hold of every plan, over device files, budgets and card sets."""

from __future__ import annotations

import itertools
import re

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


def planned(services, cards, values, machine):
    """The plan, or the refusal. Settings that contradict a card or machine are another test's matter."""
    try:
        return plan_stack(services, cards, Settings(**values), machine)
    except DoesNotFit as refused:
        return refused
    except SettingsError:
        assume(False)


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
        found = [(rung.ledger.total, rung.gpu.index if rung.gpu else None, rung.gpu_bytes)
                 for rung in ladder(service, cards[service], Settings(**values), machine)]
    own, own_gpu = values.get(f"{service}_memory"), values.get(f"{service}_gpu_memory")
    return [way for way in found if (own is None or way[0] <= own) and (own_gpu is None or way[2] <= own_gpu)]


def some_way_fits(services, cards, values, machine, room):
    """Brute force over all combinations. Ways that cost the same are tried once."""
    host, by_gpu = room
    choices = [sorted(set(ways(service, cards, values, machine)), key=lambda way: way[0]) for service in services]
    for combination in itertools.product(*choices):
        if sum(way[0] for way in combination) > host:
            continue
        if all(sum(way[2] for way in combination if way[1] == index) <= size for index, size in by_gpu.items()):
            return True
    return False


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


@given(card_sets(), settings(), machines)
def test_a_stack_never_exceeds_budget_less_headroom_on_any_memory(chosen, values, machine):
    services, cards = chosen
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        return
    assert [one.service for one in found.services] == services
    assert_within(found, rooms(values, machine))
    for one in found.services:
        assert (one.gpu is None) == (one.gpu_ledger is None)
        own, own_gpu = values.get(f"{one.service}_memory"), values.get(f"{one.service}_gpu_memory")
        assert own is None or one.ledger.total <= own
        assert one.gpu_ledger is None or own_gpu is None or one.gpu_ledger.total <= own_gpu


@given(card_sets(), settings(), machines)
def test_every_fallback_fits_beside_the_others_and_is_worse(chosen, values, machine):
    services, cards = chosen
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        return
    host, by_gpu = rooms(values, machine)
    for one in found.services:
        for lower in one.fallbacks:
            assert found.total_bytes - one.ledger.total + lower.ledger.total <= host
            if lower.gpu is not None:
                index = lower.gpu.index
                own_part = one.gpu_ledger.total if one.gpu is not None and one.gpu.index == index else 0
                assert found.gpu_bytes(index) - own_part + lower.gpu_ledger.total <= by_gpu[index]


@given(st.sampled_from(MODELS).flatmap(lambda role: st.tuples(st.just(role), st.sampled_from(CARDS[role]))),
       settings(), machines)
def test_a_service_alone_never_exceeds_its_budget_and_is_refused_only_when_no_way_fits(chosen, values, machine):
    role, card = chosen
    found = planned_alone(role, card, values, machine)
    room = rooms(values, machine, alone=role)
    if isinstance(found, DoesNotFit):
        assert not some_way_fits([role], {role: card}, values, machine, room)
    else:
        assert_within(found, room)


@given(card_sets(), settings(), st.sampled_from(EXAMPLES) | made_up(most_gpus=2))
def test_a_stack_is_refused_only_when_no_combination_fits(chosen, values, machine):
    services, cards = chosen
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        assert not some_way_fits(services, cards, values, machine, rooms(values, machine))


@given(card_sets(), settings(), machines)
def test_the_same_input_gives_the_same_plan(chosen, values, machine):
    services, cards = chosen
    first, second = (planned(services, dict(cards), dict(values), machine) for _ in range(2))
    if isinstance(first, DoesNotFit):
        assert first.message == second.message
    else:
        assert first == second


def larger(draw, values):
    """The same settings with a budget that is larger or equal: of the host, of the GPUs, or of both."""
    more = {name: None if values[name] is None else values[name] + draw(SIZES) for name in ("memory", "gpu_memory")}
    return values | more


@given(st.data(), st.sampled_from(MODELS), settings(), machines)
def test_a_larger_budget_never_gives_a_service_alone_a_worse_profile(data, role, values, machine):
    card = data.draw(st.sampled_from(CARDS[role]))
    more = larger(data.draw, values)
    small, large = (planned_alone(role, card, budget, machine) for budget in (values, more))
    if isinstance(small, DoesNotFit):
        return
    assert not isinstance(large, DoesNotFit)
    cards = {role: card}
    assert place(large, role, cards, more, machine) <= place(small, role, cards, values, machine)


@given(st.data(), card_sets(), settings(), without_gpu)
def test_without_a_gpu_a_larger_budget_never_gives_any_service_a_worse_profile(data, chosen, values, machine):
    services, cards = chosen
    more = larger(data.draw, values)
    small, large = (planned(services, cards, budget, machine) for budget in (values, more))
    if isinstance(small, DoesNotFit):
        return
    assert not isinstance(large, DoesNotFit)
    for role in cards:
        assert place(large, role, cards, more, machine) <= place(small, role, cards, values, machine)


@given(st.data(), card_sets(), settings(), machines)
def test_with_gpus_a_larger_budget_never_gives_a_worse_plan_the_reranker_first(data, chosen, values, machine):
    services, cards = chosen
    more = larger(data.draw, values)
    small, large = (planned(services, cards, budget, machine) for budget in (values, more))
    if isinstance(small, DoesNotFit):
        return
    assert not isinstance(large, DoesNotFit)
    before, after = ([place(found, role, cards, budget, machine) for role in IMPORTANCE if role in cards]
                     for found, budget in ((small, values), (large, more)))
    assert after <= before


@given(card_sets(), settings(), machines, SIZES)
def test_a_machine_with_more_free_memory_never_gives_a_worse_plan(chosen, values, machine, extra):
    services, cards = chosen
    free = min(machine.total_bytes, machine.free_bytes + extra)
    roomier = Machine(machine.cores, machine.total_bytes, free, machine.limit, machine.gpus)
    small, large = (planned(services, cards, values, on) for on in (machine, roomier))
    if isinstance(small, DoesNotFit):
        return
    assert not isinstance(large, DoesNotFit)
    before, after = ([place(found, role, cards, values, on) for role in IMPORTANCE if role in cards]
                     for found, on in ((small, machine), (large, roomier)))
    assert after <= before


@given(card_sets(), settings(), machines)
def test_a_refusal_asks_for_more_than_there_was_in_one_line(chosen, values, machine):
    services, cards = chosen
    found = planned(services, cards, values, machine)
    if isinstance(found, DoesNotFit):
        assert found.needed_bytes > found.budget_bytes >= 0
        assert "\n" not in found.message


@given(card_sets(), settings(own=False), machines)
def test_the_budget_that_a_refusal_names_works_where_there_is_room(chosen, values, machine):
    services, cards = chosen
    found = planned(services, cards, values, machine)
    named = isinstance(found, DoesNotFit) and re.search(r"the smallest budget that works is (\d+)MiB", found.message)
    if not named:
        return
    roomy = Machine(machine.cores, 1 << 50, 1 << 50, machine.limit, machine.gpus)
    again = planned(services, cards, values | {"memory": int(named[1]) * MIB, "headroom": 0}, roomy)
    assert not isinstance(again, DoesNotFit), again.message
