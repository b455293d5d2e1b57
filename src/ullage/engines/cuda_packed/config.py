"""What config.json and the model's card say of one checkpoint, which must be the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ullage.errors import ModelUnsupported
from ullage.models.card import Card, Rope
from ullage.models.checkpoint import Config
from ullage.models.encoder_config import Encoder, read_encoder

FAMILIES = ("llama-bidirectional", "modernbert", "bert", "roberta", "distilbert")


def read_config(folder: Path, card: Card) -> Encoder:
    """Every value the numbers depend on: asserted by family, then held against the card, which the plan was made from.

    Raises ModelUnsupported or ModelCorrupt, by the value's name.
    """
    config = Config(folder / "config.json")
    found = read_encoder(config)
    if found.family not in FAMILIES:
        raise ModelUnsupported(f"{card.name} is of the family {found.family}: the packed engine runs "
                               f"{', '.join(FAMILIES)}")
    ranks = card.kind == "cross-encoder"
    if ranks and found.labels != 1:
        stated = "no head" if found.labels is None else f"num_labels={found.labels}"
        raise ModelUnsupported(f"{config.path} has {stated}: a ranking model has one label")
    if not ranks and found.labels is not None:
        raise ModelUnsupported(f"{config.path} is {config.architecture}: an embedding model has no head")
    for name, value, stated in _pairs(found, card):
        if stated is not None and value != stated:
            raise ModelUnsupported(f"{config.path} has {name}={value!r}: the card of {card.name} says {stated!r}")
    return found


def _pairs(found: Encoder, card: Card) -> list[tuple[str, Any, Any]]:
    """(name, the file's value, the card's or None where it leaves it open)."""
    shape, stated = found.shape, card.shape
    pairs: list[tuple[str, Any, Any]] = [("family", found.family, card.family)]
    pairs += [(name, getattr(shape, name), getattr(stated, name))
              for name in ("hidden", "layers", "heads", "kv_heads", "head_dim", "ffn", "vocab", "positions")]
    pairs.append(("norm epsilon", found.norm_epsilon, card.norm_epsilon))
    if card.kind == "cross-encoder":
        pairs.append(("temperature", found.temperature, card.temperature))
        pairs.append(("pooling", found.pooling, None if card.pooling == "none" else card.pooling))
    if card.rope is not None:
        rope = found.rope or Rope(theta=0)
        pairs += [(f"rope {name}", getattr(rope, name), getattr(card.rope, name)) for name in Rope.model_fields]
    return pairs
