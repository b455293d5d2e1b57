"""Small checkpoints of every family the packed engine runs, each with its card and what transformers makes of a row.

Llama's reference is right only where its causal mask is lifted: `everything_seen` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import make_checkpoint, torch, transformers
from families import make_llama, make_modernbert
from ullage.engines.base import Float32, Row
from ullage.engines.cuda_packed.checkpoint import Checkpoint
from ullage.models.card import Card
from ullage.models.folder import card_from_folder

LONGEST = 640
FAMILIES = ("llama", "bert", "roberta", "xlm-roberta", "distilbert", "modernbert")


@dataclass(frozen=True)
class Made:
    """A checkpoint, its card, and what transformers makes of one row alone."""

    folder: Path
    card: Card
    reference: Callable[[Row], Float32]
    model: Any

    def rows(self, lengths: Sequence[int], seed: int = 0) -> list[Row]:
        """Random rows of these lengths, without ids that a family treats as padding; BERT's have a second part."""
        random = np.random.default_rng(seed)
        made = []
        for length in lengths:
            ids = random.integers(4, self.card.shape.vocab, length).astype(np.int32)
            types = (np.arange(length) >= length // 2).astype(np.int32)
            made.append(Row(ids, types))
        return made


def make(folder: Path, family: str, *, ranks: bool, **config: Any) -> Made:
    labels = 1 if ranks else None
    role = "ranking" if ranks else "embedding"
    if family == "llama":
        make_llama(folder, labels=labels, max_position_embeddings=1024, **config)
    elif family == "modernbert":
        make_modernbert(folder, labels=labels, max_position_embeddings=1024, **config)
    else:
        make_checkpoint(folder, family, labels=labels, max_position_embeddings=1024, **config)  # type: ignore[arg-type]
    (folder / "tokenizer_config.json").unlink(missing_ok=True)
    card = card_from_folder(folder, role)  # type: ignore[arg-type]
    if family == "llama":
        model = llama_reference(folder, card)
        return Made(folder, card, lambda row: llama_row(model, card, row), model)
    kind = transformers.AutoModelForSequenceClassification if ranks else transformers.AutoModel
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return Made(folder, card, lambda row: row_of(model, card, row), model)


def row_of(model: Any, card: Card, row: Row) -> Float32:
    """Logits or pooled vector of transformers, for one row alone."""
    fed = {"input_ids": torch.from_numpy(row.input_ids).long()[None]}
    if card.family == "bert" and row.token_types is not None:
        fed["token_type_ids"] = torch.from_numpy(row.token_types).long()[None]
    with torch.no_grad():
        found = model(**fed)
    if card.kind == "cross-encoder":
        return np.asarray(found.logits[0])
    states = found.last_hidden_state[0]
    return np.asarray(states[0] if card.pooling == "cls" else states.mean(dim=0))


def llama_reference(folder: Path, card: Card) -> Any:
    """transformers' Llama in fp32 over the published weights. The caller must lift its causal mask."""
    config = transformers.LlamaConfig.from_json_file(folder / "config.json")
    config._attn_implementation = "eager"
    model = transformers.LlamaModel(config).float().eval()
    tensors = {}
    from safetensors.torch import load_file

    for stored in Checkpoint(folder).tensors.values():
        tensors |= load_file(stored.path)
    trunk = {name.removeprefix("model."): tensor.float() for name, tensor in tensors.items() if "score" not in name}
    model.load_state_dict(trunk)
    model.head = tensors["score.weight"].float() if card.kind == "cross-encoder" else None
    return model


def llama_row(model: Any, card: Card, row: Row) -> Float32:
    with torch.no_grad():
        states = model(input_ids=torch.from_numpy(row.input_ids).long()[None]).last_hidden_state[0]
    pooled = states.mean(dim=0)
    if model.head is None:
        return np.asarray(pooled)
    return np.asarray(model.head @ pooled / card.temperature)


def everything_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the causal mask of transformers' Llama: no mask at all is what its eager attention takes for every key."""
    monkeypatch.setattr(transformers.models.llama.modeling_llama, "create_causal_mask", lambda **_: None)
