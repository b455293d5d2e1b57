"""Choose a profile for each service so that the sum fits every memory, or refuse with the sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ullage.devices import Gpu, Machine
from ullage.errors import DoesNotFit
from ullage.models.card import Card
from ullage.plan.budget import Budget, Limit, budget
from ullage.plan.footprint import plain_ledger
from ullage.plan.ladder import NO_PACKED, Rung, ladder, place_of
from ullage.plan.profile import Ledger, Profile, mebibytes, room, sum_text
from ullage.settings import Service, Settings

MIB = 1 << 20

GIVES_WAY: tuple[Service, ...] = ("vision", "llm", "embedding", "ranking")
"""Who steps down first when the stack does not fit: the reranker last."""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """The chosen profile of one service; `rejected` are (profile id, reason) of the larger ones.

    `ledger` is host memory. A profile on GPUs also has `gpu_ledger`, the bytes it takes on each of `gpus`. `fallbacks`
    are the profiles to step down to, largest first, should the chosen one not load after all.
    """

    service: Service
    ledger: Ledger
    card: Card | None = None
    profile: Profile | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    gpus: tuple[Gpu, ...] = ()
    gpu_ledger: Ledger | None = None
    fallbacks: tuple[ServicePlan, ...] = ()

    @property
    def profile_id(self) -> str:
        return self.profile.id if self.profile else "cpu"

    @property
    def where(self) -> str:
        """`cpu`, `cuda:INDEX`, or several of these with commas between."""
        return place_of(self.gpus)


@dataclass(frozen=True, slots=True)
class Plan:
    """`budget_bytes` is what may be used of host memory; `budget_source` says where the figure came from."""

    services: tuple[ServicePlan, ...]
    budget_bytes: int
    budget_source: str
    machine: Machine
    budget: Budget
    notes: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Host memory of all services."""
        return sum(service.ledger.total for service in self.services)

    def gpu_bytes(self, index: int) -> int:
        """What all services take of one GPU."""
        return sum(s.gpu_ledger.total for s in self.services for gpu in s.gpus if s.gpu_ledger and gpu.index == index)

    def __getitem__(self, service: Service) -> ServicePlan:
        for planned in self.services:
            if planned.service == service:
                return planned
        raise KeyError(service)


def plan_service(service: Service, card: Card | None, settings: Settings, machine: Machine) -> Plan:
    """The best profile of one service that fits. Raises DoesNotFit with the sum."""
    cards = {service: card} if card else {}
    return _choose([service], cards, settings, machine, budget(settings, machine, service))


def plan_stack(
    services: Sequence[Service], cards: Mapping[Service, Card], settings: Settings, machine: Machine
) -> Plan:
    """The best profiles whose sum fits, each within its own budget too. Raises DoesNotFit with the sum."""
    return _choose(services, cards, settings, machine, budget(settings, machine))


def _choose(
    services: Sequence[Service], cards: Mapping[Service, Card], settings: Settings, machine: Machine, limits: Budget
) -> Plan:
    rungs = {service: _rungs(service, cards.get(service), settings, machine) for service in services}
    allowed = {service: _within_own_budget(service, found, settings) for service, found in rungs.items()}
    if any(step.gpus for found in allowed.values() for step in found):
        chosen = next(_combinations(_by_importance(services), allowed, limits), None)
    else:
        chosen = _step_down(allowed, limits)
    if chosen is None:
        raise _refusal(allowed, limits)
    planned = tuple(_planned(service, cards.get(service), rungs[service], allowed, chosen, settings, limits)
                    for service in services)
    return Plan(planned, limits.host.size, limits.host.source, machine, limits, _notes(cards, machine))


def _notes(cards: Mapping[Service, Card], machine: Machine) -> tuple[str, ...]:
    """What was found on the machine and is not used."""
    unused = [f"cuda:{gpu.index} {gpu.name} is not used: {NO_PACKED}" for gpu in machine.gpus
              if cards and "packed" not in machine.runtimes]
    return (*machine.notes, *unused)


def _rungs(service: Service, card: Card | None, settings: Settings, machine: Machine) -> list[_Step]:
    if card is None:
        return [_Step(plain_ledger(service))]
    return [_Step(rung.ledger, rung) for rung in ladder(service, card, settings, machine)]


@dataclass(frozen=True, slots=True)
class _Step:
    """A rung, or the one ledger of a service without a model."""

    ledger: Ledger
    rung: Rung | None = None

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        return self.rung.gpus if self.rung else ()

    @property
    def gpu_bytes(self) -> int:
        return self.rung.gpu_bytes if self.rung else 0

    @property
    def profile_id(self) -> str:
        return self.rung.profile.id if self.rung else "cpu"


_Ladders = Mapping[Service, list[_Step]]
_Chosen = dict[Service, _Step]


def _within_own_budget(service: Service, steps: list[_Step], settings: Settings) -> list[_Step]:
    """The ladder of one service without what its own budgets forbid. Raises DoesNotFit when nothing is left."""
    own, own_gpu = settings.service_memory(service), settings.service_gpu_memory(service)
    fitting = [step for step in steps if (own is None or step.ledger.total <= own)
               and (own_gpu is None or step.gpu_bytes <= own_gpu)]
    if fitting:
        return fitting
    least = min(steps, key=lambda step: step.ledger.total)
    if own is not None and least.ledger.total > own:
        raise _too_small(service, _alone(least, least.ledger), Limit(own, f"{service}_memory"))
    in_host = [step for step in steps if own is None or step.ledger.total <= own]
    least = min(in_host, key=lambda step: step.gpu_bytes)
    raise _too_small(service, _alone(least, _gpu_ledger(least)), Limit(own_gpu or 0, f"{service}_gpu_memory"))


def _by_importance(services: Sequence[Service]) -> list[Service]:
    """Who is served first: services without a choice, then the reverse of who gives way."""
    rank = {service: place for place, service in enumerate(reversed(GIVES_WAY), 1)}
    return sorted(services, key=lambda service: rank.get(service, 0))


def _step_down(ladders: _Ladders, limits: Budget) -> _Chosen | None:
    """Where only host memory counts: all at their best, then down in one fixed order.

    One chain of states, so a larger budget never gives any service a worse profile.
    """
    at = dict.fromkeys(ladders, 0)
    while True:
        chosen = {service: ladders[service][place] for service, place in at.items()}
        if sum(step.ledger.total for step in chosen.values()) <= limits.host.size:
            return chosen
        for service in GIVES_WAY:
            if service in at and at[service] + 1 < len(ladders[service]):
                at[service] += 1
                break
        else:
            return None


def _combinations(order: Sequence[Service], ladders: _Ladders, limits: Budget) -> Iterator[_Chosen]:
    """Every combination that fits all memories; the most important service's best profile first.

    With several memories there is no single chain. A larger budget never gives a worse plan in this order.
    """
    least = {service: min(step.ledger.total for step in ladders[service]) for service in order}

    def extend(place: int, host: int, gpus: Mapping[int, int], chosen: _Chosen) -> Iterator[_Chosen]:
        if place == len(order):
            yield dict(chosen)
            return
        service = order[place]
        reserve = sum(least[later] for later in order[place + 1:])
        for step in ladders[service]:
            if step.ledger.total + reserve > host:
                continue
            if any(step.gpu_bytes > gpus[gpu.index] for gpu in step.gpus):
                continue
            left = {**gpus, **{gpu.index: gpus[gpu.index] - step.gpu_bytes for gpu in step.gpus}}
            yield from extend(place + 1, host - step.ledger.total, left, {**chosen, service: step})

    return extend(0, limits.host.size, {index: limit.size for index, limit in limits.gpus.items()}, {})


def _planned(
    service: Service, card: Card | None, steps: list[_Step], ladders: _Ladders, chosen: _Chosen,
    settings: Settings, limits: Budget,
) -> ServicePlan:
    step = chosen[service]
    if step.rung is None or card is None:
        return ServicePlan(service, step.ledger)
    others = {name: other for name, other in chosen.items() if name != service}
    rejected = tuple((above.profile_id, _reason(service, above, ladders, others, settings, limits))
                     for above in steps[:steps.index(step)])
    allowed = ladders[service]
    below = [_service_plan(service, card, later.rung) for later in allowed[allowed.index(step) + 1:]
             if later.rung and not _over(later, others, limits)]
    return replace(_service_plan(service, card, step.rung), rejected=rejected, fallbacks=tuple(below))


def _service_plan(service: Service, card: Card, rung: Rung) -> ServicePlan:
    return ServicePlan(service, rung.ledger, card, rung.profile, gpus=rung.gpus, gpu_ledger=rung.gpu_ledger)


def _over(step: _Step, others: _Chosen, limits: Budget) -> str:
    """Why a step does not fit beside the others: the sum and the budget; empty when it does."""
    host = step.ledger.total + sum(other.ledger.total for other in others.values())
    if host > limits.host.size:
        return (f"would bring the sum to {mebibytes(host)}, over the budget of {room(limits.host.size)} "
                f"({limits.host.source})")
    for index in (gpu.index for gpu in step.gpus):
        beside = sum(other.gpu_bytes for other in others.values() if index in (gpu.index for gpu in other.gpus))
        limit = limits.gpus[index]
        if step.gpu_bytes + beside > limit.size:
            sum_said = f", {mebibytes(step.gpu_bytes + beside)} with other services" if beside else ""
            return (f"needs {mebibytes(step.gpu_bytes)} on cuda:{index}{sum_said}, over the budget of "
                    f"{room(limit.size)} ({limit.source})")
    return ""


def _reason(
    service: Service, step: _Step, ladders: _Ladders, others: _Chosen, settings: Settings, limits: Budget
) -> str:
    own, own_gpu = settings.service_memory(service), settings.service_gpu_memory(service)
    if own is not None and step.ledger.total > own:
        return f"{mebibytes(step.ledger.total)} is over {service}_memory of {room(own)}"
    if own_gpu is not None and step.gpu_bytes > own_gpu:
        return f"{mebibytes(step.gpu_bytes)} is over {service}_gpu_memory of {room(own_gpu)}"
    if over := _over(step, others, limits):
        return over
    # It fits beside what was chosen, because somebody more important gave way after it: it was tried before that.
    before, moved = _beside_when_tried(service, ladders, others)
    return f"{_over(step, before, limits)}, before {moved} gave way"


def _beside_when_tried(service: Service, ladders: _Ladders, others: _Chosen) -> tuple[_Chosen, str]:
    """(the others at that time, who gave way later): in `_step_down` one service after the other goes all its way."""
    later = GIVES_WAY[GIVES_WAY.index(service) + 1:]
    before = {name: ladders[name][0] if name in later else step for name, step in others.items()}
    return before, " and ".join(str(name) for name in others if others[name] is not before[name])


def _refusal(ladders: _Ladders, limits: Budget) -> DoesNotFit:
    """The smallest sum and the budget. Where a GPU could have served, also what is missing there."""
    smallest = _smallest_of(ladders)
    least = smallest.total
    who = "the stack" if len(ladders) > 1 else str(next(iter(ladders)))
    said = "; ".join(f"{service} {short}" for service, steps in ladders.items()
                     if (short := _gpu_shortage(steps, limits)))
    if not said:
        return _too_small(who, smallest, limits.host)
    if least <= limits.host.size:
        needed = _smallest(lambda size: _fits(ladders, limits, gpu_bytes=size))
        return DoesNotFit(f"{who} does not fit: {said}; gpu_memory that works is {-(-needed // MIB)}MiB",
                          needed_bytes=needed, budget_bytes=min(limit.size for limit in limits.gpus.values()))
    if not _fits(ladders, limits, host_bytes=_ENDLESS):
        return DoesNotFit(f"{who} does not fit: {said}; and of host memory {smallest.said}, the budget is "
                          f"{room(limits.host.size)} ({limits.host.source})",
                          needed_bytes=least, budget_bytes=limits.host.size)
    needed = _smallest(lambda size: _fits(ladders, limits, host_bytes=size))
    return _too_small(who, smallest, limits.host, needed=needed, also=said)


_ENDLESS = 1 << 60


def _fits(ladders: _Ladders, limits: Budget, *, host_bytes: int | None = None, gpu_bytes: int | None = None) -> bool:
    """Whether any combination would fit with another budget of the host, or of every GPU."""
    host = limits.host if host_bytes is None else Limit(host_bytes, "")
    gpus = limits.gpus if gpu_bytes is None else {index: Limit(gpu_bytes, "") for index in limits.gpus}
    return next(_combinations(_by_importance(list(ladders)), ladders, Budget(host, gpus)), None) is not None


def _smallest(works: Callable[[int], bool]) -> int:
    """The smallest size that works, when every larger one does and an endless one too."""
    low, high = 0, 1
    while not works(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def _gpu_shortage(steps: list[_Step], limits: Budget) -> str:
    """What the smallest profile of a model needs of each GPU, and what there is; empty for a model of the CPU alone."""
    best: dict[int, _Step] = {}
    for step in steps:
        for index in (gpu.index for gpu in step.gpus):
            if index not in best or step.gpu_bytes < best[index].gpu_bytes:
                best[index] = step
    said = [f"{step.profile_id} needs {_parts(_gpu_ledger(step))} on cuda:{index}, where the budget is "
            f"{room(limits.gpus[index].size)} ({limits.gpus[index].source})" for index, step in best.items()]
    on_cpu = [step for step in steps if not step.gpus]
    if said and on_cpu:
        least = min(on_cpu, key=lambda step: step.ledger.total)
        said.append(f"{least.profile_id} needs {mebibytes(least.ledger.total)} of host memory")
    return ", ".join(said)


def _gpu_ledger(step: _Step) -> Ledger:
    return step.rung.gpu_ledger if step.rung and step.rung.gpu_ledger else Ledger(0)


def _parts(ledger: Ledger) -> str:
    return f"{sum_text((name, size) for name, size in ledger.as_dict().items() if size)} = {mebibytes(ledger.total)}"


@dataclass(frozen=True, slots=True)
class _Least:
    """The least that can be done with, and how it adds up in words."""

    total: int
    said: str


def _smallest_of(ladders: _Ladders) -> _Least:
    least = {service: min(steps, key=lambda step: step.ledger.total) for service, steps in ladders.items()}
    if len(least) == 1:
        [step] = least.values()
        return _alone(step, step.ledger)
    total = sum(step.ledger.total for step in least.values())
    parts = sum_text((str(service), step.ledger.total) for service, step in least.items())
    return _Least(total, f"the smallest profiles need {parts} = {mebibytes(total)}")


def _alone(step: _Step, ledger: Ledger) -> _Least:
    return _Least(ledger.total, f"the smallest profile, {step.profile_id}, needs {_parts(ledger)}")


def _too_small(
    who: str, smallest: _Least, limit: Limit, needed: int | None = None, also: str = ""
) -> DoesNotFit:
    needed = needed or smallest.total
    return DoesNotFit(
        f"{who} does not fit: {also}{'; ' if also else ''}{smallest.said}, the budget is {room(limit.size)} "
        f"({limit.source}); the smallest budget that works is {-(-needed // MIB)}MiB{_way_there(needed, limit)}",
        needed_bytes=needed,
        budget_bytes=limit.size,
    )


def _way_there(needed: int, limit: Limit) -> str:
    """What to do where no budget that is stated would help: less headroom, or more free memory."""
    if limit.free_bytes is None:
        return ""
    if needed > limit.free_bytes:
        return f", and {room(limit.free_bytes)} are free: free some, or take smaller models"
    return f": set headroom to {(limit.free_bytes - needed) // MIB}MiB or less"
