"""A cross-encoder of MiniLM-L6's shape with random values, in the files a model hub publishes, and texts to score.

Speed and memory do not depend on the values of the weights. They are spread so that signals keep their size from layer
to layer and attention is not flat: logits then differ from passage to passage by more than a lower precision's noise.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from ullage.models.card import find_card
from ullage.models.files import locate

SHAPED_AS = "cross-encoder/ms-marco-MiniLM-L6-v2"
TOKENIZER_OF = "sentence-transformers/all-MiniLM-L6-v2"
SPECIALS = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
            "mask_token": "[MASK]"}
QUERY_TOKENS = 9
SPECIAL_TOKENS = 3
"""[CLS] query [SEP] passage [SEP]."""

MIXED_SPREAD = 0.6
"""Of the logarithm of a mixed row's length."""

GAINS = {".query.": 1.3, ".key.": 1.3, "attention.output.dense": 2.0, "output.dense": 0.5}
"""Beside unit size: attention picks tokens out and carries them far, and what the feed-forward part adds is smaller
than what it gets, as in trained models. At 1 everywhere the noise of any precision grows from layer to layer."""

REPEATED = 0.6
"""Largest share of a passage that is words of its query, as in passages that retrieval found."""


@dataclass(frozen=True, slots=True)
class Work:
    """One request: a query and its passages. `lengths` are tokens of the rows, query and special tokens included."""

    name: str
    query: str
    passages: tuple[str, ...]
    lengths: tuple[int, ...]


def write_checkpoint(folder: Path, cache_dir: Path, *, seed: int = 0) -> Path:
    """config.json, model.safetensors and the files of BERT's tokenizer."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    save_file({name: _drawn(random, name, shape) for name, shape in tensor_shapes().items()},
              folder / "model.safetensors", metadata={"format": "pt"})
    _write(folder / "config.json", config())
    tokenizer = locate(find_card(TOKENIZER_OF, "embedding"), cache_dir)["tokenizer"]
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    vocabulary = _vocabulary(tokenizer)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    _write(folder / "special_tokens_map.json", SPECIALS)
    _write(folder / "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512,
        "strip_accents": None, "tokenize_chinese_chars": True, **SPECIALS,
    })
    return folder


def config() -> dict[str, Any]:
    """config.json as published for a BERT classifier with one label."""
    shape = find_card(SHAPED_AS, "ranking").shape
    return {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_act": "gelu",
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn, "vocab_size": shape.vocab, "max_position_embeddings": shape.positions,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute",
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
        "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "torch_dtype": "float32",
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
    }  # fmt: skip


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Published name -> shape, matrices as [out, in]."""
    shape = find_card(SHAPED_AS, "ranking").shape
    wide, narrow = shape.hidden, shape.ffn
    found: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (shape.vocab, wide),
        "bert.embeddings.position_embeddings.weight": (shape.positions, wide),
        "bert.embeddings.token_type_embeddings.weight": (2, wide),
        "bert.embeddings.LayerNorm.weight": (wide,), "bert.embeddings.LayerNorm.bias": (wide,),
    }  # fmt: skip
    linear = {"attention.self.query": (wide, wide), "attention.self.key": (wide, wide),
              "attention.self.value": (wide, wide), "attention.output.dense": (wide, wide),
              "intermediate.dense": (narrow, wide), "output.dense": (wide, narrow)}
    for index in range(shape.layers):
        at = f"bert.encoder.layer.{index}."
        for name, (out, into) in linear.items():
            found |= {f"{at}{name}.weight": (out, into), f"{at}{name}.bias": (out,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found |= {f"{at}{name}.weight": (wide,), f"{at}{name}.bias": (wide,)}
    return found | {"bert.pooler.dense.weight": (wide, wide), "bert.pooler.dense.bias": (wide,),
                    "classifier.weight": (1, wide), "classifier.bias": (1,)}


def _drawn(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    noise = random.standard_normal(shape, dtype=np.float32)
    if name.endswith("LayerNorm.weight"):
        return 1 + np.float32(0.1) * noise
    if len(shape) == 1:
        return np.float32(0.05) * noise
    if "embeddings" in name:
        return noise if "word" in name else np.float32(0.3) * noise
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return np.float32(gain / math.sqrt(shape[1])) * noise


def works(folder: Path) -> list[Work]:
    """The loads of the table, the same in every run: 40 mixed, 100 short, 5 long."""
    return [
        texts(folder, "40 mixed", mixed(40, seed=1), seed=1),
        texts(folder, "100 short", (64,) * 100, seed=2),
        texts(folder, "5 long", (512,) * 5, seed=3),
    ]


def mixed(count: int, *, seed: int, mean: int = 200, longest: int = 512) -> tuple[int, ...]:
    """Lengths of rows whose mean is `mean` within a token, at most `longest`, in no order."""
    random = np.random.default_rng(seed)
    drawn = np.exp(random.normal(np.log(mean), MIXED_SPREAD, count))
    for _ in range(50):
        lengths = np.clip(drawn, 24, longest)
        drawn *= mean / lengths.mean()
    lengths = np.clip(drawn, 24, longest).astype(int)
    lengths[np.argmax(lengths)] = longest
    return tuple(int(n) for n in lengths)


def texts(folder: Path, name: str, lengths: tuple[int, ...], *, seed: int) -> Work:
    """English-looking words of one token each, rare ones rare, so that every tokenizer counts the same."""
    words = _words(folder / "tokenizer.json")
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(10, 10 + len(words))
    weights /= weights.sum()

    def drawn(tokens: int) -> list[str]:
        return [words[i] for i in random.choice(len(words), tokens, p=weights)]

    query = drawn(QUERY_TOKENS)

    def passage(tokens: int) -> str:
        repeated = random.random(tokens) < REPEATED * random.random()
        return " ".join(str(random.choice(query)) if again else word
                        for again, word in zip(repeated, drawn(tokens), strict=True))

    passages = tuple(passage(length - QUERY_TOKENS - SPECIAL_TOKENS) for length in lengths)
    return Work(name, " ".join(query), passages, lengths)


def _vocabulary(tokenizer: Path) -> list[str]:
    ids = tokenizers.Tokenizer.from_file(str(tokenizer)).get_vocab(with_added_tokens=True)
    return sorted(ids, key=lambda piece: ids[piece])


def _words(tokenizer: Path) -> list[str]:
    return [piece for piece in _vocabulary(tokenizer) if piece.isascii() and piece.isalpha() and len(piece) > 2]


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
