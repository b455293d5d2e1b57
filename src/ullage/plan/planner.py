"""Choose a profile for each service so that the sum fits, or refuse with the sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ullage.devices import Gpu, Machine
from ullage.errors import DoesNotFit, SettingsError
from ullage.models.card import Card
from ullage.plan.footprint import encoder_ledger, plain_ledger
from ullage.plan.llama import llama_ledger
from ullage.plan.profile import Ledger, Profile, mebibytes, sum_text
from ullage.settings import Service, Settings

BATCH_TOKENS = (8192, 4096, 2048, 1024, 512, 256, 128)
CONTEXT_TOKENS = (8192, 4096, 2048, 1024)
MIB = 1 << 20

GIVES_WAY: tuple[Service, ...] = ("llm", "embedding", "ranking")
"""Who steps down first when the stack does not fit: the reranker last."""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """The chosen profile of one service; `rejected` are (profile id, reason) of the larger ones.

    `ledger` is host memory. A profile on a GPU also has `gpu_ledger`, the bytes it takes on `gpu`.
    """

    service: Service
    ledger: Ledger
    card: Card | None = None
    profile: Profile | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    gpu: Gpu | None = None
    gpu_ledger: Ledger | None = None

    @property
    def profile_id(self) -> str:
        return self.profile.id if self.profile else "cpu"


@dataclass(frozen=True, slots=True)
class Plan:
    """`budget_bytes` is what may be used; `budget_source` says where the figure came from."""

    services: tuple[ServicePlan, ...]
    budget_bytes: int
    budget_source: str

    @property
    def total_bytes(self) -> int:
        return sum(service.ledger.total for service in self.services)

    def __getitem__(self, service: Service) -> ServicePlan:
        for planned in self.services:
            if planned.service == service:
                return planned
        raise KeyError(service)


def budget(settings: Settings, machine: Machine, service: Service | None = None) -> tuple[int, str]:
    """(bytes, source): the service's own budget, the stack's, or free memory less the headroom."""
    if service is not None and (own := settings.service_memory(service)) is not None:
        return own, f"{service}_memory"
    if settings.memory is not None:
        return int(settings.memory), "memory"
    headroom = int(settings.headroom) if settings.headroom is not None else max(machine.total_bytes // 20, 512 * MIB)
    free = machine.free_bytes - headroom
    return max(0, free), f"{mebibytes(machine.free_bytes)} free less {mebibytes(headroom)} headroom"


def candidates(card: Card, settings: Settings) -> list[tuple[Profile, Ledger]]:
    """Every profile of a card, largest first. Raises SettingsError when a limit leaves none."""
    if card.role == "llm":
        profiles = [Profile("cpu", card.precision, tokens, tokens) for tokens in _contexts(card, settings)]
        return [(profile, llama_ledger(card, profile)) for profile in profiles]
    sequence = settings.max_sequence or card.max_sequence
    if sequence > card.max_sequence:
        raise SettingsError(f"max_sequence={sequence} is more than {card.name} takes: {card.max_sequence} at most")
    tokens = [t for t in BATCH_TOKENS if t >= sequence] or [sequence]
    if settings.max_batch_tokens is not None:
        if settings.max_batch_tokens < sequence:
            raise SettingsError(f"max_batch_tokens={settings.max_batch_tokens} holds no row of {sequence} tokens: "
                                f"raise it, or set max_sequence to {settings.max_batch_tokens} or less")
        tokens = [settings.max_batch_tokens]
    if tokens[-1] > sequence and settings.max_batch_tokens is None:
        tokens.append(sequence)
    ladder: list[tuple[Profile, Ledger]] = []
    for profile in (Profile("cpu", card.precision, t, sequence) for t in tokens):
        ledger = encoder_ledger(card, profile)
        # Rows that run one at a time cost the same in any batch: a smaller one would save nothing.
        if not ladder or ledger.total < ladder[-1][1].total:
            ladder.append((profile, ledger))
    return ladder


def _contexts(card: Card, settings: Settings) -> list[int]:
    if settings.llm_context is None:
        return list(dict.fromkeys(min(tokens, card.max_sequence) for tokens in CONTEXT_TOKENS))
    if settings.llm_context > card.max_sequence:
        raise SettingsError(f"llm_context={settings.llm_context} is more than {card.name} takes: "
                            f"{card.max_sequence} at most")
    return [settings.llm_context]


def plan_service(service: Service, card: Card | None, settings: Settings, machine: Machine) -> Plan:
    """The largest profile of one service that fits. Raises DoesNotFit with the sum."""
    return _choose([service], {service: card} if card else {}, settings, *budget(settings, machine, service))


def plan_stack(
    services: Sequence[Service], cards: Mapping[Service, Card], settings: Settings, machine: Machine
) -> Plan:
    """The largest profiles whose sum fits, each within its own budget too. Raises DoesNotFit with the sum."""
    return _choose(services, cards, settings, *budget(settings, machine))


def _choose(
    services: Sequence[Service], cards: Mapping[Service, Card], settings: Settings, budget_bytes: int, source: str
) -> Plan:
    ladders: dict[Service, list[ServicePlan]] = {}
    for service in services:
        ladders[service] = _within_own_budget(service, cards.get(service), settings)
    steps = dict.fromkeys(services, 0)
    while (total := sum(ladders[s][steps[s]].ledger.total for s in services)) > budget_bytes:
        lowered = _step_down(ladders, steps)
        if lowered is None:
            raise _refusal(ladders, budget_bytes, source)
        steps[lowered] += 1
        taken = ladders[lowered][steps[lowered]]
        before = ladders[lowered][steps[lowered] - 1]
        reason = (f"would bring the sum to {mebibytes(total)}, over the budget of {mebibytes(budget_bytes)}")
        ladders[lowered][steps[lowered]] = ServicePlan(
            lowered, taken.ledger, taken.card, taken.profile, (*before.rejected, (before.profile_id, reason))
        )
    return Plan(tuple(ladders[s][steps[s]] for s in services), budget_bytes, source)


def _step_down(ladders: Mapping[Service, list[ServicePlan]], steps: Mapping[Service, int]) -> Service | None:
    """The next service to give way; one fixed order, so that a larger budget never gives a worse profile."""
    for service in GIVES_WAY:
        if service in ladders and steps[service] + 1 < len(ladders[service]):
            return service
    return None


def _within_own_budget(service: Service, card: Card | None, settings: Settings) -> list[ServicePlan]:
    """The ladder of one service, largest first, without what its own budget forbids."""
    own = settings.service_memory(service)
    if card is None:
        ladder = [ServicePlan(service, plain_ledger(service))]
    else:
        ladder = [ServicePlan(service, ledger, card, profile) for profile, ledger in candidates(card, settings)]
    if own is None:
        return ladder
    fitting = [step for step in ladder if step.ledger.total <= own]
    if not fitting:
        raise _refusal({service: ladder}, own, f"{service}_memory")
    reason = f"is over {service}_memory of {mebibytes(own)}"
    rejected = tuple((step.profile_id, f"{mebibytes(step.ledger.total)} {reason}")
                     for step in ladder if step.ledger.total > own)
    return [ServicePlan(service, step.ledger, step.card, step.profile, rejected) for step in fitting]


def _refusal(ladders: Mapping[Service, list[ServicePlan]], budget_bytes: int, source: str) -> DoesNotFit:
    smallest = [(str(service), ladder[-1].ledger.total) for service, ladder in ladders.items()]
    needed = sum(size for _, size in smallest)
    who = "the stack" if len(smallest) > 1 else smallest[0][0]
    return DoesNotFit(
        f"{who} does not fit: the smallest profiles need {sum_text(smallest)} = {mebibytes(needed)}, the budget is "
        f"{mebibytes(budget_bytes)} ({source}); the smallest budget that works is {-(-needed // MIB)}MiB",
        needed_bytes=needed,
        budget_bytes=budget_bytes,
    )
