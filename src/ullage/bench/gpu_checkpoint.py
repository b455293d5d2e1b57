"""A checkpoint of the true 1B shape in the true file format with random values: what speed and memory depend on.

Weights cannot always be downloaded where a GPU is to be measured, and neither figure depends on their values.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ullage.models.card import Card, find_card

RERANKER = "nvidia/llama-nemotron-rerank-1b-v2"
EMBEDDER = "nvidia/llama-nemotron-embed-1b-v2"
WEIGHT_SPREAD = 0.02
"""Standard deviation of the weights, as they were initialised before training."""


def one_billion(role: str = "ranking") -> Card:
    """The card of the model whose shape is made."""
    return find_card(RERANKER, "ranking") if role == "ranking" else find_card(EMBEDDER, "embedding")


def write_checkpoint(folder: Path, card: Card, *, shards: int = 1, seed: int = 0) -> Path:
    """config.json and safetensors, in one file or in shards with an index, under the vendor's names."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_of(card), indent=1), encoding="utf-8")
    shapes = tensor_shapes(card)
    names = list(shapes)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random = torch.Generator(device).manual_seed(seed)
    per_file = math.ceil(len(names) / shards)
    placed: dict[str, str] = {}
    for number in range(shards):
        part = names[number * per_file : (number + 1) * per_file]
        name = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        _write_file(folder / name, {each: shapes[each] for each in part}, random, device)
        placed |= dict.fromkeys(part, name)
    if shards > 1:
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": placed}), encoding="utf-8")
    return folder


def config_of(card: Card) -> dict[str, Any]:
    """config.json as the vendor writes it."""
    shape, rope = card.shape, card.rope
    assert rope is not None
    kind = "ForSequenceClassification" if card.kind == "cross-encoder" else "Model"
    found: dict[str, Any] = {
        "architectures": [f"LlamaBidirectional{kind}"],
        "model_type": "llama_bidirec",
        "attention_bias": False, "mlp_bias": False, "hidden_act": "silu", "pooling": "avg",
        "hidden_size": shape.hidden, "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "vocab_size": shape.vocab, "max_position_embeddings": shape.positions, "rms_norm_eps": card.norm_epsilon,
        "rope_theta": rope.theta, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "rope_scaling": {
            "rope_type": "llama3", "factor": rope.factor, "low_freq_factor": rope.low, "high_freq_factor": rope.high,
            "original_max_position_embeddings": rope.original,
        },
    }  # fmt: skip
    if card.kind == "cross-encoder":
        found |= {"id2label": {"0": "LABEL_0"}, "temperature": card.temperature}
    return found


def tensor_shapes(card: Card) -> dict[str, tuple[int, ...]]:
    """Published name -> shape. The vendor's embedder keeps its trunk without the prefix `model.`."""
    shape = card.shape
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    trunk = "model." if card.kind == "cross-encoder" else ""
    found: dict[str, tuple[int, ...]] = {f"{trunk}embed_tokens.weight": (shape.vocab, shape.hidden)}
    for index in range(shape.layers):
        at = f"{trunk}layers.{index}."
        found |= {
            f"{at}input_layernorm.weight": (shape.hidden,),
            f"{at}self_attn.q_proj.weight": (queries, shape.hidden),
            f"{at}self_attn.k_proj.weight": (keys, shape.hidden),
            f"{at}self_attn.v_proj.weight": (keys, shape.hidden),
            f"{at}self_attn.o_proj.weight": (shape.hidden, queries),
            f"{at}post_attention_layernorm.weight": (shape.hidden,),
            f"{at}mlp.gate_proj.weight": (shape.ffn, shape.hidden),
            f"{at}mlp.up_proj.weight": (shape.ffn, shape.hidden),
            f"{at}mlp.down_proj.weight": (shape.hidden, shape.ffn),
        }
    found[f"{trunk}norm.weight"] = (shape.hidden,)
    if card.kind == "cross-encoder":
        found["score.weight"] = (1, shape.hidden)
    return found


def _write_file(path: Path, shapes: dict[str, tuple[int, ...]], random: Any, device: str) -> None:
    """Header first, then one tensor at a time, so that a machine of any size can make it."""
    import torch

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            if len(shape) == 1:
                tensor = torch.ones(shape, dtype=torch.bfloat16)
            else:
                spread = 1 / math.sqrt(shape[1]) if name == "score.weight" else WEIGHT_SPREAD
                tensor = torch.randn(shape, generator=random, device=device).mul_(spread).to(torch.bfloat16).cpu()
            stream.write(tensor.view(torch.uint8).numpy().data)
