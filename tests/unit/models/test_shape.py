"""Counts of weights against transformers' own classes, built without memory (device "meta") at their real sizes."""

from __future__ import annotations

from typing import Any

import pytest

from checkpoints import torch, transformers
from ullage.models.card import Card, find_card, known_cards
from ullage.models.shape import BITS, Family, Shape, parameters, stored_bytes


def shape_of(config: Any, **more: Any) -> Shape:
    heads = config.num_attention_heads
    return Shape(**{
        "hidden": config.hidden_size, "layers": config.num_hidden_layers, "heads": heads,
        "kv_heads": getattr(config, "num_key_value_heads", None) or heads,
        "head_dim": getattr(config, "head_dim", None) or config.hidden_size // heads,
        "ffn": getattr(config, "intermediate_size", None) or config.hidden_dim,
        "vocab": config.vocab_size, "positions": config.max_position_embeddings,
    } | more)


def built(kind: Any, config: Any, **options: Any) -> int:
    with torch.device("meta"):
        model = kind(config, **options)
    return sum(parameter.numel() for parameter in model.parameters())


BERT_BASE = transformers.BertConfig(num_labels=1)
XLMR_LARGE = transformers.XLMRobertaConfig(
    vocab_size=250002, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
    max_position_embeddings=514, type_vocab_size=1, num_labels=1,
)
DISTIL = transformers.DistilBertConfig(num_labels=1)
MODERN = transformers.ModernBertConfig(num_labels=1)
LLAMA_1B = transformers.LlamaConfig(
    vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
    num_key_value_heads=8, head_dim=64, max_position_embeddings=131072, tie_word_embeddings=True, num_labels=1,
)
LLAMA_8B = transformers.LlamaConfig(
    vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=8, head_dim=128, max_position_embeddings=131072, tie_word_embeddings=False,
)
QWEN = transformers.Qwen3Config(
    vocab_size=151669, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
    num_key_value_heads=8, head_dim=128, max_position_embeddings=40960, tie_word_embeddings=True,
)


@pytest.mark.parametrize(("family", "config", "kind", "classifier", "options", "more"), [
    ("bert", BERT_BASE, transformers.BertForSequenceClassification, True, {}, {}),
    ("bert", BERT_BASE, transformers.BertModel, False, {"add_pooling_layer": False}, {}),
    ("roberta", XLMR_LARGE, transformers.XLMRobertaForSequenceClassification, True, {}, {}),
    ("roberta", XLMR_LARGE, transformers.XLMRobertaModel, False, {"add_pooling_layer": False}, {}),
    ("distilbert", DISTIL, transformers.DistilBertForSequenceClassification, True, {}, {}),
    ("distilbert", DISTIL, transformers.DistilBertModel, False, {}, {}),
    ("modernbert", MODERN, transformers.ModernBertForSequenceClassification, True, {}, {}),
    ("modernbert", MODERN, transformers.ModernBertModel, False, {}, {}),
    ("llama-bidirectional", LLAMA_1B, transformers.LlamaForSequenceClassification, True, {}, {}),
    ("llama-bidirectional", LLAMA_1B, transformers.LlamaModel, False, {}, {}),
    ("decoder", LLAMA_1B, transformers.LlamaForCausalLM, True, {}, {}),
    ("decoder", LLAMA_8B, transformers.LlamaForCausalLM, True, {}, {"tied_head": False}),
    ("qwen3", QWEN, transformers.Qwen3ForCausalLM, True, {}, {}),
])
def test_every_weight_is_counted(
    family: Family, config: Any, kind: Any, classifier: bool, options: dict[str, Any], more: dict[str, Any]
) -> None:
    counted = parameters(family, shape_of(config, **more), classifier=classifier)
    assert counted.total == built(kind, config, **options)
    assert min(counted.tables, counted.layers) > 0


@pytest.mark.parametrize(("name", "role", "wanted"), [
    ("cross-encoder/ms-marco-MiniLM-L6-v2", "ranking", 22_713_601),
    ("BAAI/bge-reranker-base", "ranking", 278_044_417),
    ("BAAI/bge-reranker-large", "ranking", 559_891_457),
    ("BAAI/bge-reranker-v2-m3", "ranking", 567_755_777),
    ("Alibaba-NLP/gte-reranker-modernbert-base", "ranking", 149_605_633),
    ("Qwen/Qwen3-Reranker-0.6B", "ranking", 595_776_512),
    ("nvidia/llama-nemotron-rerank-1b-v2", "ranking", 1_235_816_448),
    ("nvidia/llama-nemotron-embed-1b-v2", "embedding", 1_235_814_400),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "llm", 134_515_008),
    ("meta/llama-3.1-8b-instruct", "llm", 8_030_261_248),
    ("meta/llama-3.3-70b-instruct", "llm", 70_553_706_496),
])
def test_the_cards_have_their_models_sizes(name: str, role: Any, wanted: int) -> None:
    """To three digits these are the sizes the hub shows beside the models."""
    assert find_card(name, role).parameters.total == wanted


def test_bytes_are_those_of_the_files_else_of_the_shape() -> None:
    card = find_card("HuggingFaceTB/SmolLM2-135M-Instruct", "llm")
    assert card.weights_bytes == card.file("weights").size
    assert find_card("nvidia/llama-nemotron-rerank-1b-v2", "ranking").weights_bytes == 2 * 1_235_816_448
    eight = find_card("meta/llama-3.1-8b-instruct", "llm")
    assert eight.weights_bytes == stored_bytes(8_030_261_248, "q4_k_m")
    # The file of this quantisation that llama.cpp's own table lists has 4.58 GiB.
    assert eight.weights_bytes / (1 << 30) == pytest.approx(4.58, rel=0.01)


def test_a_stated_count_goes_before_the_formula() -> None:
    card = find_card("nvidia/llama-nemotron-rerank-vl-1b-v2", "ranking")
    assert card.parameters.total == card.stated_parameters == 1_700_000_000
    assert card.parameters.tables == 128256 * 2048


TEXT_CARDS = [card for card in known_cards() if card.role != "vision"]  # a page's models have no table of words


@pytest.mark.parametrize("card", TEXT_CARDS, ids=lambda card: card.name)
def test_every_card_adds_up(card: Card) -> None:
    assert min(card.parameters.tables, card.parameters.layers) > 0
    assert card.parameters.head >= 0
    assert card.weights_bytes > card.parameters.total // 4


def test_bits_of_a_weight() -> None:
    assert stored_bytes(1000, "bf16") == 2000
    assert stored_bytes(1, "q4_0") == 1
    assert BITS["fp32"] == 2 * BITS["fp16"] == 4 * BITS["int8"]
    with pytest.raises(ValueError, match="no fixed bits"):
        stored_bytes(1, "other")
