"""What is usual: transformers' Llama over padded batches, sorted by length, as a cross-encoder library runs it.

Its causal mask is lifted by hand, since the published architecture is bidirectional: padded keys are masked, and a
batch without padding runs with no mask at all, which is the faster kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ullage.bench.gpu_checkpoint import config_of
from ullage.engines.base import Float32, Row
from ullage.engines.cuda_packed.checkpoint import Checkpoint
from ullage.engines.cuda_packed.tensors import Slot, Vector
from ullage.models.card import Card


class Padded:
    """The checkpoint in `folder` on the GPU. `precision` is bf16 or fp32."""

    def __init__(self, folder: Path, card: Card, precision: str = "bf16") -> None:
        import transformers
        from transformers.models.llama import modeling_llama

        modeling_llama.create_causal_mask = _padding_mask
        dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        values = {name: value for name, value in config_of(card).items() if name not in ("architectures", "model_type")}
        config = transformers.LlamaConfig(**values)
        config._attn_implementation = "sdpa"
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device("cuda"):
                self._model: Any = transformers.LlamaModel(config).eval()
        finally:
            torch.set_default_dtype(before)
        for layer in self._model.layers:
            layer.self_attn.is_causal = False
        self._head = torch.empty(1, card.shape.hidden, device="cuda")
        self._temperature = card.temperature
        self._load(Checkpoint(folder))

    def _load(self, checkpoint: Checkpoint) -> None:
        named = {f"model.{name}": tensor.data for name, tensor in self._model.named_parameters()}
        named["score.weight"] = self._head
        slots = [Slot(name, tuple(tensor.shape), Vector(tensor)) for name, tensor in named.items()]
        checkpoint.check(slots, ())
        checkpoint.load(slots, "cuda", lambda _: None)
        torch.cuda.synchronize()

    def run(self, rows: Sequence[Row], batch_size: int, *, masked: bool = False) -> Float32:
        """Logits [rows], in the rows' order. `masked` makes a mask also where nothing is padded."""
        order = sorted(range(len(rows)), key=lambda index: -rows[index].tokens)
        scores = np.zeros(len(rows), np.float32)
        with torch.inference_mode():
            found = [self._batch([rows[index] for index in order[first : first + batch_size]], masked)
                     for first in range(0, len(order), batch_size)]
            scores[order] = torch.cat(found).float().cpu().numpy()
        return scores

    def _batch(self, rows: Sequence[Row], masked: bool) -> Any:
        lengths = [row.tokens for row in rows]
        ids = np.zeros((len(rows), max(lengths)), np.int64)
        for place, row in enumerate(rows):
            ids[place, : row.tokens] = row.input_ids
        there = torch.from_numpy(ids).cuda()
        mask = (torch.arange(max(lengths), device="cuda")[None] < torch.tensor(lengths, device="cuda")[:, None])
        masked = masked or min(lengths) < max(lengths)
        states = self._model(input_ids=there, attention_mask=mask if masked else None).last_hidden_state
        weights = mask[..., None].float() / mask.sum(1)[:, None, None]
        return ((states.float() * weights).sum(1) @ self._head.t()).squeeze(1) / self._temperature


def _padding_mask(*_: object, **given: Any) -> Any:
    """[rows, 1, n, n] of what a token sees, or None where it sees everything."""
    mask = given.get("attention_mask")
    return None if mask is None else mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
