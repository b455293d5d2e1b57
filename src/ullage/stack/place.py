"""Which services run here, with which models, in how many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ullage.devices import Machine, detect
from ullage.errors import DoesNotFit, SettingsError
from ullage.models.card import Card
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.models.vision import card_for
from ullage.plan import Plan, ladder, listed, plan_service, plan_stack, profile_hash
from ullage.settings import ALL_SERVICES, Service, Settings


def elsewhere(settings: Settings) -> dict[Service, str]:
    """Services that the settings say run somewhere else, and where; these are not started here."""
    given: dict[Service, str] = {
        "vectors": settings.vectors_uri,
        "ranking": settings.ranking_url,
        "embedding": settings.embedding_url,
        "llm": settings.llm_url,
        "vision": settings.vision_url,
        "rag": settings.rag_url,
        "ingest": settings.ingest_url,
    }
    return {service: url for service, url in given.items() if url}


def place(settings: Settings, only: Sequence[Service] | None = None, machine: Machine | None = None) -> Plan:
    """Plan of `only`, or of every service that runs here. Raises DoesNotFit, SettingsError or ModelError."""
    away = elsewhere(settings)
    wanted = {"vision": settings.enable_vision, "web": settings.enable_web}
    absent = {*away, *(service for service, asked in wanted.items() if not asked)}
    chosen = [s for s in ALL_SERVICES if (s in only if only is not None else s not in absent)]
    return plan_stack(chosen, cards(settings, chosen), settings, machine or detect())


def place_one(settings: Settings, service: Service, machine: Machine | None = None) -> Plan:
    """Plan of one service started alone. Raises DoesNotFit, SettingsError or ModelError."""
    return plan_service(service, cards(settings, [service]).get(service), settings, machine or detect())


def cards(settings: Settings, services: Sequence[Service]) -> dict[Service, Card]:
    """The card of every service that has a model."""
    found: dict[Service, Card] = {}
    for service in services:
        if service in ("ranking", "embedding", "llm"):
            found[service] = resolve(settings.model(service) or "", service)
        elif service == "vision":
            found[service] = card_for(resolve(settings.vision_model, "vision"), settings.tasks)
    return found


def require_files(settings: Settings, plan: Plan) -> None:
    """Raises ModelNotFound or ModelCorrupt before any process is started."""
    for planned in plan.services:
        if planned.card is not None:
            locate(planned.card, settings.cache_dir)


@dataclass(frozen=True, slots=True)
class ListedProfile:
    """One line of `list-model-profiles`. `state` is `fits` or `low memory`, `reason` says why it does not fit."""

    number: int
    hash: str
    id: str
    description: str
    state: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def profiles_of(settings: Settings, service: Service, machine: Machine | None = None) -> list[ListedProfile]:
    """Every profile of a service's model on a machine. Raises SettingsError for a service without a model."""
    card = cards(settings, [service]).get(service)
    if card is None:
        raise SettingsError(f"{service} has no model: name ranking, embedding, llm or vision")
    machine = machine or detect()
    free = settings.model_copy(update={f"{service}_profile": None})
    return [
        ListedProfile(number, profile_hash(card, profile), profile.id,
                      f"type={'GPU' if profile.device == 'cuda' else 'CPU'},precision={profile.precision.upper()},"
                      f"tokens={profile.max_tokens},sequence={profile.max_sequence},id={profile.id}",
                      *_state(settings.model_copy(update={f"{service}_profile": profile.id}), service, card, machine))
        for number, profile in enumerate(listed(ladder(service, card, free, machine)))
    ]


def _state(settings: Settings, service: Service, card: Card, machine: Machine) -> tuple[str, str]:
    try:
        plan_service(service, card, settings, machine)
    except DoesNotFit as error:
        return "low memory", error.message
    return "fits", ""
