"""Which services run here, with which models, in how many bytes."""

from __future__ import annotations

from collections.abc import Sequence

from ullage.devices import Machine, detect
from ullage.models.card import Card
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.plan import Plan, plan_stack
from ullage.settings import SERVICES, Service, Settings


def elsewhere(settings: Settings) -> dict[Service, str]:
    """Services that the settings say run somewhere else, and where; these are not started here."""
    given: dict[Service, str] = {
        "vectors": settings.vectors_uri,
        "ranking": settings.ranking_url,
        "embedding": settings.embedding_url,
        "llm": settings.llm_url,
    }
    return {service: url for service, url in given.items() if url}


def place(settings: Settings, only: Sequence[Service] | None = None, machine: Machine | None = None) -> Plan:
    """Plan of `only`, or of every service that runs here. Raises DoesNotFit, SettingsError or ModelError."""
    away = elsewhere(settings)
    chosen = [s for s in SERVICES if (s in only if only is not None else s not in away)]
    return plan_stack(chosen, cards(settings, chosen), settings, machine or detect())


def cards(settings: Settings, services: Sequence[Service]) -> dict[Service, Card]:
    """The card of every service that has a model."""
    found: dict[Service, Card] = {}
    for service in services:
        if service in ("ranking", "embedding", "llm"):
            found[service] = resolve(settings.model(service) or "", service)
    return found


def require_files(settings: Settings, plan: Plan) -> None:
    """Raises ModelNotFound or ModelCorrupt before any process is started."""
    for planned in plan.services:
        if planned.card is not None:
            locate(planned.card, settings.cache_dir)
