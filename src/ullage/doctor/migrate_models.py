"""Which models run in place of the vendor's, and the plan of all of them on a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ullage.devices import Machine
from ullage.doctor.migrate_env import Line, Mapped
from ullage.doctor.settings_files import Service as VendorService
from ullage.doctor.text import Text
from ullage.errors import DoesNotFit, ModelError
from ullage.models.card import Card, Role, plain_name
from ullage.models.resolve import resolve
from ullage.models.vision import card_for
from ullage.plan import Plan, plan_stack
from ullage.settings import ALL_SERVICES, Service, Settings

GIVES_WAY: tuple[Role, ...] = ("llm", "embedding", "ranking")


@dataclass(slots=True)
class Chosen:
    """`models` are settings that name a model other than the default; `served` what its clients call it."""

    plan: Plan
    settings: Settings
    models: dict[str, str] = field(default_factory=dict)
    served: dict[str, str] = field(default_factory=dict)
    notes: list[Line] = field(default_factory=list)


def choose(taken: Mapping[Service, Sequence[VendorService]], mapped: Mapped, machine: Machine) -> Chosen:
    """The vendor's own models where they can be served and fit, else the default with the reason.

    Raises DoesNotFit where not even the defaults fit.
    """
    values = mapped.values()
    models: dict[str, str] = {}
    served: dict[str, str] = {}
    notes: list[Line] = []
    for role in reversed(GIVES_WAY):
        if role not in taken:
            continue
        wanted = values.pop(f"{role}_model", "") or _of_images(taken[role])
        if not wanted:
            continue
        served[role] = plain_name(wanted)
        if reason := _unservable(wanted, role, machine):
            notes.append(Line(f"{role}: {plain_name(wanted)}", reason))
        else:
            models[f"{role}_model"] = plain_name(wanted)
    for gives in (*GIVES_WAY, None):
        settings = Settings.model_validate({**_bare(values), **models})
        try:
            return Chosen(_plan(taken, settings, machine), settings, models, served, notes)
        except (DoesNotFit, ModelError) as error:
            if gives is None:
                raise
            if models.pop(f"{gives}_model", None):
                said = error.message
                notes.append(Line(f"{gives}: {served[gives]}", Text(f"the default takes its place: {said}",
                                                                  f"die Vorgabe tritt an seine Stelle: {said}")))
    raise AssertionError("the last turn returns or raises")


def _bare(values: Mapping[str, str]) -> dict[str, str]:
    """Without models that are named for services elsewhere."""
    return {name: value for name, value in values.items() if not name.endswith("_model")}


def _of_images(vendors: Sequence[VendorService]) -> str:
    return next((vendor.image for vendor in vendors if vendor.image.startswith("nvcr.io/nim/")), "")


def _unservable(name: str, role: Role, machine: Machine) -> Text | None:
    try:
        card = resolve(name, role)
    except ModelError as error:
        return Text(f"the default takes its place: {error.message}",
                    f"die Vorgabe tritt an seine Stelle: {error.message}")
    if card.not_servable:
        return Text(f"the default takes its place: {card.not_servable}",
                    f"die Vorgabe tritt an seine Stelle: {card.not_servable}")
    if card.backends == ("packed",) and not machine.gpus:
        return Text("the default takes its place: that model wants a GPU, and this machine has none",
                    "die Vorgabe tritt an seine Stelle: das Modell verlangt eine GPU, und diese Maschine hat keine")
    return None


def _plan(taken: Mapping[Service, Sequence[VendorService]], settings: Settings, machine: Machine) -> Plan:
    services = [service for service in ALL_SERVICES if service in taken]
    cards: dict[Service, Card] = {}
    for service in services:
        if service == "vision":
            cards[service] = card_for(resolve(settings.vision_model, "vision"), settings.tasks)
        elif service in ("ranking", "embedding", "llm"):
            cards[service] = resolve(settings.model(service) or "", service)
    return plan_stack(services, cards, settings, machine)
