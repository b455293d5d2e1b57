"""From what the operator wrote to a card: a catalogue name, or a folder with a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ullage.models.card import Card, Role, find_card
from ullage.models.folder import card_from_folder


def resolve(name: str, role: Role) -> Card:
    """Raises ModelNotFound or ModelUnsupported, one line each."""
    path = Path(name).expanduser()
    if path.exists() or name.startswith(("/", "./", "../", "~")):
        return card_from_folder(path, role)
    return find_card(name, role)
