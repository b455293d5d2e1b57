"""Small random checkpoints as a model hub publishes them, made with transformers: the reference for our own graphs.

Every parameter is random, biases and norms too, so that a tensor put in the wrong place shows.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors

with warnings.catch_warnings():
    # torch and transformers warn about their own dependencies while they are imported; pytest would make it an error.
    warnings.simplefilter("ignore")
    import torch
    import transformers

torch.set_num_threads(1)  # rows this small only wait for other threads

Family = Literal["bert", "roberta", "xlm-roberta", "distilbert"]
FAMILIES: tuple[Family, ...] = ("bert", "roberta", "xlm-roberta", "distilbert")
POSITIONS = 80
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!-"
SPECIALS = {"bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"), "roberta": ("<s>", "<pad>", "</s>", "<unk>")}


def make_checkpoint(
    folder: Path, family: Family = "bert", *, labels: int | None = None, seed: int = 0, **config: Any
) -> Path:
    """A folder with config.json, model.safetensors and tokenizer.json. `labels` None makes a bare encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(family).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    model = build(family, labels=labels, seed=seed, **config)
    model.save_pretrained(folder)
    return folder


def make_sentence_encoder(
    folder: Path, family: Family = "bert", *, pooling: Literal["mean", "cls"] = "mean", normalize: bool = True,
    **options: Any,
) -> Path:
    """A bare encoder with the files sentence-transformers puts beside it."""
    make_checkpoint(folder, family, **options)
    kinds = ["Transformer", "Pooling"] + (["Normalize"] if normalize else [])
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [{"idx": i, "name": str(i), "path": places[kind], "type": f"sentence_transformers.models.{kind}"}
               for i, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({
        "word_embedding_dimension": 32,
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_cls_token": pooling == "cls",
    }))
    return folder


def build(family: Family, *, labels: int | None, seed: int = 0, **config: Any) -> Any:
    """The torch model itself, in fp32 and evaluation mode, with plain (eager) attention."""
    vocab = make_tokenizer(family).get_vocab_size()
    shared = {"vocab_size": vocab, "attn_implementation": "eager", "dtype": "float32"}
    if family == "distilbert":
        made: Any = transformers.DistilBertConfig(
            **{"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": POSITIONS,
               "num_labels": labels or 2} | shared | config
        )
        kind = transformers.DistilBertForSequenceClassification if labels else transformers.DistilBertModel
    else:
        settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
                    "max_position_embeddings": POSITIONS, "num_labels": labels or 2} | shared | config
        config_class, bare, classifier = {
            "bert": (transformers.BertConfig, transformers.BertModel, transformers.BertForSequenceClassification),
            "roberta": (transformers.RobertaConfig, transformers.RobertaModel,
                        transformers.RobertaForSequenceClassification),
            "xlm-roberta": (transformers.XLMRobertaConfig, transformers.XLMRobertaModel,
                            transformers.XLMRobertaForSequenceClassification),
        }[family]
        if family != "bert":
            settings = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1} | settings
        made = config_class(**settings)
        kind = classifier if labels else bare
    torch.manual_seed(seed)
    model = kind(made).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(around + 0.25 * torch.randn_like(parameter))
    return model


def reference(model: Any, ids: list[int], types: list[int] | None = None) -> dict[str, np.ndarray]:
    """The reference's outputs for one row alone: `logits` [labels], or `last_hidden_state` [n, hidden]."""
    fed = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    if types is not None:
        fed["token_type_ids"] = torch.tensor([types])
    with torch.no_grad():
        found = model(**fed)
    return {name: found[name][0].numpy() for name in ("logits", "last_hidden_state") if name in found}


def make_tokenizer(family: Family) -> tokenizers.Tokenizer:
    """Letters and a few word pieces, with the family's special tokens and pair layout."""
    layout = "roberta" if "roberta" in family else "bert"
    specials = SPECIALS[layout]
    pieces = [*specials, *LETTERS, *(f"##{letter}" for letter in LETTERS), "the", "pump", "valve", "##ing", "##er"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    unknown = "<unk>" if layout == "roberta" else "[UNK]"
    made = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=unknown))
    made.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(),
                                            normalizers.Replace(Regex(r"\p{Mn}"), "")])
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(list(specials))
    first, last = ("<s>", "</s>") if layout == "roberta" else ("[CLS]", "[SEP]")
    pair = f"{first} $A {last} {last} $B {last}" if layout == "roberta" else f"{first} $A {last} $B:1 {last}:1"
    made.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=pair, special_tokens=[(first, vocab[first]), (last, vocab[last])]
    )
    return made
