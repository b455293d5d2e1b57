"""Which files of the vision card each task runs on."""

from __future__ import annotations

from collections.abc import Sequence

from ullage.models.card import Card, FileRole
from ullage.settings import VisionTask

NEEDS: dict[VisionTask, tuple[FileRole, ...]] = {
    "page-elements": ("layout", "detection"),
    "graphic-elements": ("detection", "recognition"),
    "table-structure": ("table", "detection"),
    "ocr": ("detection", "recognition"),
}


def needed_roles(tasks: Sequence[VisionTask]) -> set[FileRole]:
    """The models that are loaded for some tasks; each once, whoever needs it."""
    return {role for task in tasks for role in NEEDS[task]}


def card_for(card: Card, tasks: Sequence[VisionTask]) -> Card:
    """The card with no other files than these tasks need."""
    roles = needed_roles(tasks)
    return card.model_copy(update={"files": tuple(file for file in card.files if file.role in roles)})
