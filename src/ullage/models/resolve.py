"""From what the operator wrote to a card: a bundled name, a folder with a checkpoint, a GGUF file, or an LLM's size."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ullage.errors import ModelNotFound, ModelUnsupported
from ullage.models.card import IMAGE_REGISTRY, Card, HubRepository, Role, find_card
from ullage.models.folder import card_from_folder
from ullage.models.gguf import card_from_gguf
from ullage.models.sizes import card_by_size, quantised_card


def resolve(name: str, role: Role) -> Card:
    """The card of `name`: a path, a bundled model's name (also as a container image, or `NAME@REVISION` of its hub
    repository), or for an LLM its size.

    Raises ModelNotFound, ModelCorrupt or ModelUnsupported, one line each.
    """
    path = Path(name).expanduser()
    if role == "vision" and path.exists():
        raise ModelUnsupported(f"{path}: page models from a folder, as NVIDIA's nemotron ones, cannot be loaded yet: "
                               "leave vision_model at ullage/page-vision")
    if path.exists() or name.startswith(("/", "./", "../", "~")):
        return card_from_gguf(path) if role == "llm" and not path.is_dir() else card_from_folder(path, role)
    if role == "llm":
        sized = card_by_size(name) or quantised_card(name)
        if sized is not None:
            return sized
    return card_at_revision(name, role)


def card_at_revision(name: str, role: Role) -> Card:
    """A bundled card; `NAME@REVISION` means another commit, branch or tag of its hub repository."""
    plain, _, revision = name.partition("@")
    card = find_card(name if name.startswith(IMAGE_REGISTRY) else plain, role)
    if not revision or name.startswith(IMAGE_REGISTRY):
        return card
    if card.hub is None:
        raise ModelNotFound(f"{card.name} comes from no hub repository: it has no revision {revision!r}")
    try:
        hub = HubRepository(repo=card.hub.repo, revision=revision)
    except ValidationError:
        raise ModelNotFound(f"{revision!r} is no revision of {card.name}: a commit, branch or tag is wanted") from None
    return card.model_copy(update={"hub": hub})
