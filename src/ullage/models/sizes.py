"""An LLM known by size alone, `8b-q4_k_m`, so that memory can be planned before a file is chosen. An estimate.

The shape lies between those of published Llama models (hidden size and layers on a logarithmic scale of their weights),
and its feed-forward width is set so that the weights come out as asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise

from ullage.errors import ModelNotFound
from ullage.models.card import Card, find_card
from ullage.models.shape import BITS, Precision, Shape, parameters

SIZE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)([bm])-([a-z0-9_]+)", re.IGNORECASE)
QUANTISED = re.compile(r"(.+)-([a-z0-9_]+)", re.IGNORECASE)

LLAMAS = (
    (134_515_008, Shape(hidden=576, layers=30, heads=9, kv_heads=3, head_dim=64, ffn=1536, vocab=49152,
                        positions=8192)),
    (1_235_814_400, Shape(hidden=2048, layers=16, heads=32, kv_heads=8, head_dim=64, ffn=8192, vocab=128256,
                          positions=131072)),
    (3_212_749_824, Shape(hidden=3072, layers=28, heads=24, kv_heads=8, head_dim=128, ffn=8192, vocab=128256,
                          positions=131072)),
    (8_030_261_248, Shape(hidden=4096, layers=32, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256,
                          positions=131072, tied_head=False)),
    (70_553_706_496, Shape(hidden=8192, layers=80, heads=64, kv_heads=8, head_dim=128, ffn=28672, vocab=128256,
                           positions=131072, tied_head=False)),
    (405_853_388_800, Shape(hidden=16384, layers=126, heads=128, kv_heads=8, head_dim=128, ffn=53248, vocab=128256,
                            positions=131072, tied_head=False)),
)
"""(weights, shape) of SmolLM2 135M, Llama 3.2 1B and 3B, Llama 3.1 8B, 70B and 405B."""


def card_by_size(text: str) -> Card | None:
    """The planning card of `8b-q4_k_m`; None when the text is no size. Raises ModelNotFound for a size out of range or
    a quantisation that is none."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, unit, stored = match.groups()
    count = round(float(number) * (1e9 if unit in "bB" else 1e6))
    if not LLAMAS[0][0] <= count <= LLAMAS[-1][0]:
        raise ModelNotFound(f"{text} is no size we can plan for: from 135m to 405b")
    shape = estimated_shape(count)
    return Card(
        name=text.strip().lower(),
        role="llm",
        kind="llm",
        family="decoder",
        backends=("llama.cpp",),
        precision=_precision(stored, text),
        description="An LLM of this many weights, its shape estimated from the Llama family.",
        licence="none: this is a size, not a model",
        shape=shape,
        stated_parameters=count,
        max_sequence=shape.positions,
        attention="causal",
        pooling="none",
        not_servable="it is a size to plan with: set llm_model to the path of a GGUF file to run one",
    )


def quantised_card(text: str) -> Card | None:
    """A bundled planning card in another quantisation, `meta/llama-3.1-8b-instruct-q8_0`; None when it is none."""
    match = QUANTISED.fullmatch(text.strip())
    if match is None or match.group(2).lower() not in BITS:
        return None
    try:
        card = find_card(match.group(1), "llm")
    except ModelNotFound:
        return None
    if card.files:
        return None
    return card.model_copy(update={"precision": _precision(match.group(2), text),
                                   "name": f"{card.name}-{match.group(2).lower()}", "aliases": ()})


def estimated_shape(count: int) -> Shape:
    """The shape of a Llama of `count` weights, within one per cent of them."""
    (low, small), (high, large) = next((a, b) for a, b in pairwise(LLAMAS) if a[0] <= count <= b[0])
    along = math.log(count / low) / math.log(high / low)
    nearest = small if along < 0.5 else large

    def between(of: Callable[[Shape], int], step: int) -> int:
        value = math.exp(math.log(of(small)) * (1 - along) + math.log(of(large)) * along)
        return max(step, round(value / step) * step)

    shape = Shape(
        hidden=between(lambda s: s.hidden, 64),
        layers=between(lambda s: s.layers, 1),
        heads=between(lambda s: s.heads, 1),
        kv_heads=between(lambda s: s.kv_heads, 1),
        head_dim=nearest.head_dim,
        ffn=1,
        vocab=nearest.vocab,
        positions=nearest.positions,
        tied_head=nearest.tied_head,
    )
    without = parameters("decoder", shape, classifier=True).total - 3 * shape.layers * shape.hidden
    ffn = max(64, round((count - without) / (3 * shape.layers * shape.hidden)))
    return shape.model_copy(update={"ffn": ffn})


def _precision(stored: str, text: str) -> Precision:
    for known in BITS:
        if known == stored.lower():
            return known  # type: ignore[return-value]
    raise ModelNotFound(f"{text} names no quantisation we know: known are {', '.join(BITS)}")
