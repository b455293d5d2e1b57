"""From a planned card to a tokenizer and an engine that fits the plan."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ullage.devices import Gpu
from ullage.engines.base import Engine, Row
from ullage.engines.padded import Pooling
from ullage.errors import ModelUnsupported, SettingsError
from ullage.models.card import Card
from ullage.models.export_onnx import export
from ullage.models.files import locate, locate_folder
from ullage.models.tokenize import Tokenizer, Tokens
from ullage.plan.cpu_backend import CpuBackend
from ullage.plan.footprint import run_bytes, run_tokens
from ullage.plan.profile import Ledger, Profile

if TYPE_CHECKING:
    from ullage.models.onnx_writer import Form

Progress = Callable[[float], None]


def open_encoder(
    card: Card,
    profile: Profile,
    ledger: Ledger,
    *,
    cache_dir: Path,
    threads: int,
    cap: bool,
    backend: CpuBackend = "onnxruntime",
    gpu: Gpu | None = None,
    gpu_ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> tuple[Tokenizer, Engine]:
    """Verify the files and build the engine of the profile's device; nothing is loaded yet.

    A profile on a GPU runs packed on `gpu`, one on the CPU as a graph on `backend` where the card has one, else packed
    there too.
    `cap` holds the engine to the ledger (on a GPU to `gpu_ledger`), which is of one engine: a service of its own asks
    for it. `progress` is told the share of the weights that is loaded.
    Raises ModelNotFound, ModelCorrupt, ModelUnsupported or SettingsError.
    """
    tell = progress or (lambda _: None)
    if profile.device == "cpu" and "onnx" in card.backends:
        return _open_graph(card, profile, cache_dir, threads, ledger.activations if cap else None, tell, backend)
    if "packed" not in card.backends:
        raise ModelUnsupported(f"{card.name} runs on the CPU only, as {' or '.join(card.backends)}: {profile.id} is "
                               "not for it")
    if profile.device == "cuda" and gpu is None:
        raise SettingsError(f"{profile.id} was planned for {card.name}, but on no GPU")
    limit = gpu_ledger.total - gpu_ledger.fixed if cap and gpu_ledger is not None else None
    return _open_packed(card, profile, cache_dir, threads, gpu, limit, tell)


def _open_graph(
    card: Card, profile: Profile, cache_dir: Path, threads: int, limit_bytes: int | None, progress: Progress,
    backend: CpuBackend,
) -> tuple[Tokenizer, Engine]:
    paths = locate(card, cache_dir)
    weights = paths["weights"]
    progress(0.5)  # found and verified; the libraries do not tell how far they have read
    model = weights if weights.suffix == ".onnx" else export(weights.parent, cache_dir, _form(profile, backend))
    tokenizer = Tokenizer.of(card, paths["tokenizer"])
    if backend == "openvino":
        return tokenizer, _openvino(card, profile, model, threads, limit_bytes, cache_dir)
    return tokenizer, _onnxruntime(card, profile, model, threads, limit_bytes)


def _form(profile: Profile, backend: CpuBackend) -> Form:
    if profile.precision != "int8":
        return "fp32"
    return "int8-weights" if backend == "openvino" else "int8-dynamic"


def _pooling(card: Card) -> Pooling:
    return "none" if card.kind == "cross-encoder" else card.pooling


# Each library is imported where it is used: the other would take time and memory for nothing.


def _onnxruntime(card: Card, profile: Profile, model: Path, threads: int, limit_bytes: int | None) -> Engine:
    from ullage.engines.onnx_cpu import OnnxCpuEngine

    return OnnxCpuEngine(
        model,
        pooling=_pooling(card),
        normalize=card.normalize,
        token_vectors=card.kind == "fusion",
        precision=profile.precision,
        max_sequence=profile.max_sequence,
        max_batch_tokens=profile.max_tokens,
        threads=threads,
        arena_bytes=limit_bytes,
        packed_bytes=4 * card.parameters.layers,
    )


def _openvino(
    card: Card, profile: Profile, model: Path, threads: int, limit_bytes: int | None, cache_dir: Path
) -> Engine:
    if importlib.util.find_spec("openvino") is None:
        raise SettingsError(f"{profile.id} needs OpenVINO: pip install openvino, or set cpu_backend=onnxruntime")
    from ullage.engines.openvino_cpu import OpenVinoEngine

    return OpenVinoEngine(
        model,
        pooling=_pooling(card),
        normalize=card.normalize,
        token_vectors=card.kind == "fusion",
        precision=profile.precision,
        max_sequence=profile.max_sequence,
        max_batch_tokens=run_tokens(card, profile),
        threads=threads,
        group=math.gcd(card.shape.hidden, card.shape.ffn),
        instances=profile.instances,
        cost_bytes=lambda rows, length: run_bytes(card, rows, length),
        limit_bytes=limit_bytes,
        cache_dir=cache_dir,
    )


def _open_packed(
    card: Card,
    profile: Profile,
    cache_dir: Path,
    threads: int,
    gpu: Gpu | None,
    limit_bytes: int | None,
    progress: Progress,
) -> tuple[Tokenizer, Engine]:
    if importlib.util.find_spec("torch") is None:
        raise SettingsError(f"{profile.id} needs the gpu extra: pip install 'ullage[gpu]'")
    from ullage.engines.cuda_packed.engine import PackedEngine

    folder = locate_folder(card, cache_dir)
    engine = PackedEngine(
        card,
        profile,
        folder,
        cache_dir=cache_dir,
        index=None if profile.device == "cpu" or gpu is None else gpu.index,
        uuid=gpu.uuid if gpu is not None else "",
        limit_bytes=limit_bytes,
        threads=threads,
        progress=progress,
    )
    return Tokenizer.of(card, folder / "tokenizer.json"), engine


def row_of(tokens: Tokens) -> Row:
    return Row(tokens.ids, tokens.types)
