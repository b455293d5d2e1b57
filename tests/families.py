"""Small random checkpoints of the families that tests/checkpoints.py has not: ModernBERT and the bidirectional Llama.

The Llama comes as its publisher lays it out: its own model type, names of code in `auto_map` that nobody runs, bf16
weights, in one file or in shards, and a byte-level BPE tokenizer that puts BOS before a text and nothing after it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from checkpoints import make_tokenizer, torch, transformers

LLAMA3_ROPE = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192}
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"


def make_modernbert(folder: Path, *, labels: int | None = None, seed: int = 0, **config: Any) -> Path:
    """config.json, model.safetensors and a tokenizer with BERT's layout. `labels` None makes a bare encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer("bert").save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    build_modernbert(labels=labels, seed=seed, **config).save_pretrained(folder)
    return folder


def build_modernbert(*, labels: int | None, seed: int = 0, **config: Any) -> Any:
    """Five layers of which two see everything, and a window of 9 tokens, so that both kinds of layer matter."""
    vocab = make_tokenizer("bert").get_vocab_size()
    settings = {
        "vocab_size": vocab, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 5,
        "num_attention_heads": 4, "max_position_embeddings": 96, "local_attention": 8, "num_labels": labels or 2,
        "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3,
        "attn_implementation": "eager", "dtype": "float32",
    } | config
    made = transformers.ModernBertConfig(**settings)
    kind = transformers.ModernBertForSequenceClassification if labels else transformers.ModernBertModel
    return randomised(kind(made).eval(), seed)


def make_llama(
    folder: Path, *, labels: int | None = None, seed: int = 0, shards: int = 1, temperature: float = 1.0, **config: Any
) -> Path:
    """A checkpoint of the bidirectional Llama family: under a head the trunk is named `model.`, alone it is bare."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_bpe()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "vocab_size": tokenizer.get_vocab_size(), "rope_theta": 500000.0, "rope_scaling": LLAMA3_ROPE,
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
    } | config
    trunk = randomised(transformers.LlamaModel(transformers.LlamaConfig(**settings)).eval(), seed)
    prefix = "model." if labels else ""
    tensors = {prefix + name: tensor.to(torch.bfloat16).contiguous() for name, tensor in trunk.state_dict().items()}
    architecture = "LlamaBidirectionalModel"
    if labels:
        architecture = "LlamaBidirectionalForSequenceClassification"
        tensors["score.weight"] = torch.randn(labels, settings["hidden_size"]).to(torch.bfloat16)
    whole = settings | {
        "model_type": "llama_bidirec", "architectures": [architecture], "pooling": "avg", "temperature": temperature,
        "auto_map": {"AutoConfig": "llama_bidirectional_model.LlamaBidirectionalConfig"}, "torch_dtype": "bfloat16",
    }
    if labels:
        whole["id2label"] = {str(index): f"LABEL_{index}" for index in range(labels)}
    (folder / "config.json").write_text(json.dumps(whole))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names = sorted(tensors)
    index = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        save_file({name: tensors[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def make_bpe() -> tokenizers.Tokenizer:
    """A byte-level BPE with Llama 3's way of splitting, trained on a few sentences: merges cross spaces and colons."""
    made = tokenizers.Tokenizer(models.BPE())
    split = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(split), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=[BOS, EOS], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    lines = ["question:the pump and the valve \n \n passage:The ferry leaves", "passage:Why does the pump stop?",
             "query: the ferry \n passage: of the valve", "question:What is :the: time \n \n passage:noon, or later"]
    made.train_from_iterator(lines * 4, trainer)
    made.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B",
                                      special_tokens=[(BOS, made.token_to_id(BOS))]),
    ])
    return made


def randomised(model: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(around + 0.25 * torch.randn_like(parameter))
    return model
