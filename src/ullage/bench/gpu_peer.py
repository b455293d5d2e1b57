"""sentence-transformers' CrossEncoder beside our Reranker, both in this process and both from texts to scores: what
somebody sees who changes one for the other.

Its Llama keeps the causal mask that the published model lifts: that is the faster of the two, and what its library
runs without code from a hub. It gets no template, so a few tokens fewer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ullage.bench.gpu import BASELINE_BATCHES, LONG_TOKENS, Line, Say, Work, apart, line, tell, wall_seconds, works
from ullage.bench.gpu_checkpoint import config_of
from ullage.bench.gpu_service import BOS, tokenizer_in, words_of
from ullage.models.card import Card
from ullage.models.tokenize import Tokenizer, Tokens

PEER = "sentence_transformers"
QUERY_WORDS = 12


@dataclass(frozen=True, slots=True)
class Call:
    """A query with its passages, of as many tokens together as the rows of a work have."""

    work: Work
    query: str
    passages: tuple[str, ...]


def measure_peer(folder: Path, cache_dir: Path, card: Card, precisions: Sequence[str], say: Say) -> list[Line]:
    """Lines of both; none, and a word why, where the other library is not installed."""
    if find_spec(PEER) is None:
        say("not compared with sentence-transformers, which is not installed: pip install sentence-transformers")
        return []
    found = apart(_measure_cross_encoder, folder, card)
    best = {each.work: each.seconds for each in found}
    for precision in precisions:
        found += apart(_measure_own, folder, cache_dir, card, precision, best)
    return found


def calls_of(folder: Path, card: Card) -> list[Call]:
    """The works as texts of random words, the same in every run, without those of rows as long as this library is not
    used for."""
    words = words_of(tokenizer_in(folder))
    counter = Tokenizer.of(card, folder / "tokenizer.json")
    chosen = [work for work in works() if max(work.lengths) <= LONG_TOKENS]
    return [_call(work, counter, words, seed) for seed, work in enumerate(chosen)]


def _call(work: Work, counter: Tokenizer, words: Sequence[str], seed: int) -> Call:
    random = np.random.default_rng(seed)
    query = " ".join(random.choice(words, QUERY_WORDS))
    texts = [" ".join(random.choice(words, length)) for length in work.lengths]
    encoded = counter.encode_pairs(query, texts, offsets=True)
    return Call(work, query, tuple(map(_cut, texts, encoded, work.lengths)))


def _cut(text: str, tokens: Tokens, length: int) -> str:
    """As much of a passage as makes a row of that length with the query and the template; a word at least."""
    places = tokens.offsets[tokens.segment == tokens.last]  # in the whole text, template and query included
    around = len(tokens) - len(places)
    return text[: places[max(0, length - around - 1), 1] - places[0, 0]]


def _measure_cross_encoder(folder: Path, card: Card) -> list[Line]:
    import torch
    from sentence_transformers import CrossEncoder

    model: Any = CrossEncoder(str(_as_llama(folder, card)), device="cuda", model_kwargs={"dtype": torch.bfloat16},
                              max_length=card.max_sequence, local_files_only=True)
    found = []
    for call in calls_of(folder, card):
        pairs = [(call.query, passage) for passage in call.passages]
        timed = {size: wall_seconds(partial(model.predict, pairs, batch_size=size, show_progress_bar=False),
                                    budget_s=1.0, least=3)
                 for size in BASELINE_BATCHES if size <= max(BASELINE_BATCHES[0], 2 * len(pairs))}
        best = min(timed, key=lambda size: timed[size])
        found.append(line(call.work, card, f"CrossEncoder bf16, batch {best}, from texts", timed[best]))
        tell(f"{call.work.name}: {found[-1].how}: {timed[best] * 1e3:.2f} ms")
    return found


def _measure_own(
    folder: Path, cache_dir: Path, card: Card, precision: str, best: dict[str, float]
) -> list[Line]:
    from ullage import Reranker

    os.environ.setdefault("ULLAGE_CACHE_DIR", str(cache_dir))
    found = []
    with Reranker(str(folder), precision=precision) as reranker:
        for call in calls_of(folder, card):
            seconds = wall_seconds(partial(reranker.rank, call.query, list(call.passages)), budget_s=1.0)
            found.append(line(call.work, card, f"Reranker {precision}, from texts", seconds, best[call.work.name]))
            tell(f"{call.work.name}: {found[-1].how}: {seconds * 1e3:.2f} ms, {found[-1].ratio:.2f} x")
    return found


def _as_llama(folder: Path, card: Card) -> Path:
    """The checkpoint under the architecture's public name, which needs no code from a hub."""
    made = folder / "as-llama"
    made.mkdir(exist_ok=True)
    config = config_of(card) | {"architectures": ["LlamaForSequenceClassification"], "model_type": "llama",
                                "pad_token_id": 0, "num_labels": 1}
    (made / "config.json").write_text(json.dumps(config), encoding="utf-8")
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "pad_token": BOS}
    (made / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    for name in ("model.safetensors", "tokenizer.json"):
        if not (made / name).exists():
            (made / name).symlink_to((folder / name).resolve())
    return made
