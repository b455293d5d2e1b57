"""One packed encoder on one device, held to its bytes: all memory is taken in `load`, before the first request."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch

from ullage.engines.base import Batch, Float32, Output, Usage
from ullage.engines.cuda_packed import bert, layout, llama, modernbert, plain
from ullage.engines.cuda_packed.checkpoint import Checkpoint
from ullage.engines.cuda_packed.config import read_config
from ullage.engines.cuda_packed.graphs import Graphs
from ullage.engines.cuda_packed.memory import Footprint, cap, shrink_context, shrink_library
from ullage.engines.cuda_packed.slots import Slot, Slots
from ullage.engines.cuda_packed.tensors import Arena, Packed, Tensor
from ullage.engines.cuda_packed.workspace import PRECISIONS, Kinds, Model, Ops, Workspace
from ullage.errors import EngineFailed, ModelUnsupported, OutOfMemory, SettingsError
from ullage.models.card import Card
from ullage.plan.packed import (
    MAX_ROWS,
    ONE_BYTE,
    STEP_TOKENS,
    chunk_tokens,
    graph_buckets,
    most_rows,
    pooled_bytes,
    rounded,
    workspace,
)
from ullage.plan.profile import Profile

log = structlog.get_logger("ullage.engines")

FP8_FROM = (8, 9)
LOADING = 0.9
"""Share of the progress that is reading weights; the rest is running every shape once."""

IGNORED = {"llama-bidirectional": llama.IGNORED, "modernbert": modernbert.IGNORED}


class PackedEngine:
    """The checkpoint in `folder`, on `cuda:INDEX` or, without an index, on the CPU.

    `limit_bytes` is what the allocator may hold on the GPU: the ledger without what is not the allocator's. None sets
    no limit. `threads` is for the CPU; `progress` hears a share from 0 to 1 while it loads.
    """

    def __init__(
        self,
        card: Card,
        profile: Profile,
        folder: Path,
        *,
        cache_dir: Path,
        index: int | None = None,
        uuid: str = "",
        limit_bytes: int | None = None,
        threads: int | None = None,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._card = card
        self._profile = profile
        self._folder = folder
        self._cache_dir = cache_dir
        self._index = index
        self._uuid = uuid
        self._limit_bytes = limit_bytes
        self._threads = threads
        self._progress = progress
        self._device = "cpu" if index is None else f"cuda:{index}"
        self._model: Model | None = None
        self._work: Workspace | None = None
        self._footprint: Footprint | None = None
        self._graphs: Graphs | None = None
        self._stream: Any = None
        self._numbers: Tensor = None
        self._slots: Slots | None = None
        self._queueing = threading.Lock()
        self._ready_kernels = 0
        self.loaded_bytes = 0

    def load(self) -> None:
        """Check the files, take all memory, read the weights, run every shape once.

        Raises OutOfMemory, ModelUnsupported, ModelCorrupt, ModelNotFound or SettingsError.
        """
        try:
            with self._whatever_fails("the weights and the largest batch"):
                self._load()
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        self._check_device()
        make = self._maker()
        checkpoint = Checkpoint(self._folder)
        counted = Arena("meta")
        model = make(counted)
        model.check(checkpoint.tensors)
        checkpoint.check(model.slots(checkpoint.tensors), IGNORED.get(self._card.family, bert.IGNORED))
        self._open_device()
        with self._on_device():
            arena = Arena(self._device, counted)
            model = make(arena)
            slots = model.slots(checkpoint.tensors)
            checkpoint.load(slots, self._device, lambda share: self._progress(LOADING * share))
            if self._index is not None:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
                shrink_context()  # what reading weights needed of it, serving may not
            self._model = model
            self._take_workspace()
            self._warm_up()
        self._progress(1.0)

    def run(self, batch: Batch) -> Output:
        """Logits [rows, labels] or pooled rows [rows, hidden]. The memory is there already: a batch of any number of
        rows runs in as many forwards as it takes.

        Raises OutOfMemory for a row that is longer than the largest batch, or EngineFailed; the engine stays usable.
        """
        if self._model is None:
            raise EngineFailed("the engine is not loaded")
        lengths = np.diff(batch.cumulative_lengths)
        if int(lengths.max()) > self._profile.max_tokens:
            raise OutOfMemory(f"a row of {int(lengths.max())} tokens does not fit in {self._profile.id}")
        with self._whatever_fails(f"{batch.rows} rows of {batch.tokens} tokens"), self._on_device():
            parts = self._forwards(layout.take_rows(batch, rows)
                                   for rows in layout.forwards(lengths, self._profile.max_tokens))
        found = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not np.isfinite(found).all():
            raise EngineFailed(f"{self._card.name} gave a number that is not finite for a row of this batch")
        if self._card.normalize and self._card.kind == "embedder":
            found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return Output(rows=found)

    def release(self) -> None:
        """Nothing is cached: what `load` took is kept, so that nobody else can take it while requests wait."""

    def usage(self) -> Usage | None:
        """Device-wide for this process, context included; None on the CPU."""
        if self._footprint is None or self._index is None:
            return None
        limit = None if self._limit_bytes is None else self._limit_bytes + self._footprint.beside_bytes
        return Usage(self._device, self._footprint.used(), self._footprint.peak(), limit)

    @property
    def at_once(self) -> int:
        """Batches it may be given at once: on a GPU the next one is described and queued while one runs."""
        return 1 if self._index is None else 2

    @property
    def recompilations(self) -> int:
        """Kernels compiled since the engine was ready. Any at all is a fault of ours."""
        if self._index is None or self._model is None:
            return 0
        from ullage.engines.cuda_packed import triton_ops

        return triton_ops.compiled_kernels() - self._ready_kernels

    @property
    def beside_bytes(self) -> int:
        """Of the memory on the GPU, what is not the allocator's: context, kernels, graphs."""
        return 0 if self._footprint is None else self._footprint.beside_bytes

    def seconds_on_device(self, batch: Batch, runs: int = 30) -> float:
        """Median seconds that the graph of one small batch takes on the GPU alone, for measurements."""
        assert self._graphs is not None
        with self._on_device():
            self._forward(batch)
            bucket = min(tokens for tokens in self._graphs.buckets if tokens >= batch.tokens)
            times = []
            for _ in range(runs):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                self._graphs.replay(bucket)
                end.record()
                end.synchronize()
                times.append(begin.elapsed_time(end) / 1e3)
        return float(np.median(times))

    def close(self) -> None:
        self._model = self._work = self._graphs = None
        self._slots = self._numbers = None
        gc.collect()
        if self._index is not None and torch.cuda.is_initialized():
            with contextlib.suppress(RuntimeError):  # a device that failed cannot be emptied either
                torch.cuda.synchronize(self._index)
                torch.cuda.empty_cache()
                cap(self._index, self, None)
        self._stream = self._footprint = None

    def _check_device(self) -> None:
        if self._profile.precision not in PRECISIONS:
            raise ModelUnsupported(f"{self._profile.id}: the packed engine runs in {', '.join(PRECISIONS)}")
        if self._index is None:
            if self._profile.precision == "fp8" or self._profile.host_embedding:
                raise SettingsError(f"{self._profile.id} needs a GPU")
            return
        if not torch.cuda.is_available():
            raise SettingsError(f"{self._device} was planned, but PyTorch {torch.__version__} finds no GPU: install "
                                "its build for CUDA, or set the device to cpu")
        if self._index >= torch.cuda.device_count():
            raise SettingsError(f"{self._device} was planned, but PyTorch sees {torch.cuda.device_count()} GPUs")
        shape = self._card.shape
        if self._profile.precision in ONE_BYTE and any(n % 16 for n in (shape.hidden, shape.ffn)):
            raise ModelUnsupported(f"{self._card.name} has matrices that are no multiple of 16: "
                                   f"{self._profile.precision} needs that")

    def _maker(self) -> Callable[[Arena], Model]:
        """The model's class with its config read and checked."""
        card, profile = self._card, self._profile
        kinds = Kinds(profile.precision, profile.host_embedding)
        config = read_config(self._folder, card)
        if profile.max_sequence > config.max_sequence:
            raise ModelUnsupported(f"{self._folder} has {config.max_sequence} positions: {profile.id} wants rows of "
                                   f"{profile.max_sequence} tokens")
        if config.family == "llama-bidirectional":
            return lambda arena: llama.Llama(llama.LlamaConfig.of(config), kinds, arena)
        made = modernbert.ModernBert if config.family == "modernbert" else bert.Bert
        return lambda arena: made(config, card.pooling, kinds, arena)

    def _open_device(self) -> None:
        if self._index is None:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            self._ops: Ops = plain
            return
        os.environ.setdefault("TRITON_CACHE_DIR", str(self._cache_dir / "triton"))
        try:
            from ullage.engines.cuda_packed import triton_ops
        except ImportError:
            raise SettingsError("the packed engine on a GPU needs Triton, which PyTorch's build for CUDA brings: "
                                "pip install 'ullage[gpu]'") from None
        self._ops = triton_ops
        if self._profile.precision in ONE_BYTE:
            shrink_library()
        self._footprint = Footprint(self._index, self._uuid)
        torch.cuda.set_device(self._index)
        torch.cuda.init()
        self._stream = torch.cuda.Stream(self._index)
        shrink_context()
        capability = torch.cuda.get_device_capability(self._index)
        if self._profile.precision == "fp8" and capability < FP8_FROM:
            raise SettingsError(f"{self._profile.id} needs compute capability {FP8_FROM[0]}.{FP8_FROM[1]}, "
                                f"{self._device} has {capability[0]}.{capability[1]}")
        cap(self._index, self, self._limit_bytes)

    def _take_workspace(self) -> None:
        """One piece of memory for all a forward writes, and pinned host memory for what goes in and out."""
        assert self._model is not None
        profile, device = self._profile, self._device
        sparing = profile.host_embedding
        sizes = workspace(self._card.shape, self._card.family, profile.precision, profile.max_tokens,
                          profile.max_sequence, sparing=sparing)
        tables = self._model.turns(profile.max_sequence)
        sizes["turns"] = sum(table.numel() * 4 for table in tables)
        counted = Arena("meta")
        for size in sizes.values():
            counted.take(size, dtype=torch.uint8)
        arena = Arena(device, counted)
        parts = {name: arena.take(size, dtype=torch.uint8) for name, size in sizes.items()}
        pooled = pooled_bytes(self._card.shape, self._card.family, most_rows(profile.max_tokens))
        self._work = Workspace(parts, PRECISIONS[profile.precision], profile.precision == "fp8",
                               chunk_tokens(profile.max_tokens, sparing=sparing), pooled)
        begin = 0
        for table in tables:
            there = parts["turns"][begin : begin + table.numel() * 4].view(torch.float32).view(table.shape)
            there.copy_(table)
            self._work.turns.append(there)
            begin += table.numel() * 4
        self._numbers = parts["numbers"].view(torch.int32)
        width = self._card.shape.hidden if self._card.kind == "embedder" else 1
        self._slots = Slots(len(self._numbers), most_rows(profile.max_tokens) * width, pinned=self._index is not None)

    def _warm_up(self) -> None:
        """Run what may ever run: the largest batch; on a GPU also every number of tokens of a chunk, and the graphs."""
        assert self._work is not None
        assert self._model is not None
        limit = self._profile.max_tokens
        self._forward(_rows(limit, self._profile.max_sequence))
        if self._index is None:
            return
        from ullage.engines.cuda_packed import triton_ops

        for tokens in range(STEP_TOKENS, min(limit, self._work.chunk) + 1, STEP_TOKENS):
            self._forward(_rows(tokens, self._profile.max_sequence))
        for tokens in range(self._work.chunk, rounded(limit) + 1, STEP_TOKENS):
            self._model.rehearse(self._ops, tokens, self._work)
        rows = layout.LEAST_ROWS
        while rows <= min(MAX_ROWS, limit):
            self._forward(_rows(rows, 1))
            rows *= 2
        self._graphs = Graphs(self._model, self._ops, self._work, self._numbers, self._stream)
        self._graphs.capture(graph_buckets(limit, sparing=self._profile.host_embedding))
        self._graphs.upload()
        for bucket in (self._graphs.buckets[0], self._graphs.buckets[-1]):
            self._forward(_rows(min(bucket, limit), self._profile.max_sequence))
        assert self._footprint is not None
        self.loaded_bytes = self._footprint.measure()
        torch.cuda.reset_peak_memory_stats(self._index)
        self._ready_kernels = triton_ops.compiled_kernels()
        log.info("packed engine loaded", profile=self._profile.id, device=self._device, bytes=self.loaded_bytes,
                 beside_bytes=self._footprint.beside_bytes)

    def _forward(self, batch: Batch) -> Float32:
        """One forward of a batch that fits: [rows, width] fp32 on the host."""
        return self._forwards([batch])[0]

    def _forwards(self, batches: Iterable[Batch]) -> list[Float32]:
        """A forward each. Two threads may be here at once."""
        assert self._slots is not None
        return self._slots.run(batches, self._begin)

    def _begin(self, batch: Batch, slot: Slot) -> None:
        """Describe a batch and queue its forward. All forwards use the same memory on the device, in their order."""
        assert self._model is not None
        assert self._work is not None
        lengths = np.diff(batch.cumulative_lengths)
        graphs = self._graphs.buckets if self._graphs is not None else ()
        room, captured = layout.spaces_for(lengths, graphs, step=1 if self._index is None else STEP_TOKENS)
        layout.write(batch, room, slot.numbers.numpy())
        with self._queueing:
            self._numbers[: room.numbers].copy_(slot.numbers[: room.numbers], non_blocking=True)
            if captured and self._graphs is not None:
                found = self._graphs.replay(room.tokens)
            else:
                packed = Packed.view(self._numbers, room, lengths)
                found = self._model.forward(self._ops, packed, self._work)
            slot.keep(found[: batch.rows], self._stream)

    @contextlib.contextmanager
    def _on_device(self) -> Iterator[None]:
        """Our device and stream, in whatever thread this is."""
        with torch.inference_mode():
            if self._index is None:
                yield
                return
            with torch.cuda.device(self._index), torch.cuda.stream(self._stream):
                yield

    @contextlib.contextmanager
    def _whatever_fails(self, what: str) -> Iterator[None]:
        """PyTorch's errors as ours."""
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise OutOfMemory(f"{what} do not fit in {self._bound}") from None
        except MemoryError:
            raise OutOfMemory(f"{what} do not fit in host memory") from None
        except RuntimeError as error:
            said = " ".join(str(error).split())[:300]
            if "out of memory" in said or "ALLOC_FAILED" in said or "can't allocate memory" in said:
                raise OutOfMemory(f"{what} do not fit in {self._bound}: {said}") from None
            raise EngineFailed(f"{self._card.name} failed on {what}: {said}") from None

    @property
    def _bound(self) -> str:
        if self._index is None:
            return "host memory"
        if self._limit_bytes is None:
            return f"the free memory of {self._device}"
        return f"the {self._limit_bytes >> 20} MiB that {self._profile.id} may hold on {self._device}"


def _rows(tokens: int, longest: int) -> Batch:
    """`tokens` tokens in rows of `longest`, all of the id 0, which every vocabulary has."""
    lengths = np.array([longest] * (tokens // longest) + ([tokens % longest] if tokens % longest else []), np.int32)
    lengths = lengths[: MAX_ROWS]
    total = int(lengths.sum())
    ids = np.zeros(total, np.int32)
    positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    return Batch(ids, positions, ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
