"""Tensors of one or several safetensors files: found and checked by their headers, then streamed to where they go.

Nothing is mapped and no tensor is ever whole in host memory: a file is read through one small buffer (on a GPU pinned,
and copied while the next part is read), so loading takes the same few MiB of host memory for any model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ullage.engines.cuda_packed.tensors import Slot, Tensor
from ullage.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from ullage.models.checkpoint import read_json

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES: dict[str, Any] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
BUFFER_BYTES = 8 << 20
LARGEST_HEADER = 100_000_000
"""As the reference implementation of the format allows."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in a file: `begin` is its first byte there."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * int(DTYPES[self.dtype].itemsize)


class Checkpoint:
    """The tensors that a folder holds, by name. Opening reads headers only.

    Raises ModelNotFound or ModelCorrupt, one line each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tensors: dict[str, Stored] = {}
        whole, index = folder / WHOLE, folder / INDEX
        if whole.is_file():
            self.tensors = read_header(whole)
        elif index.is_file():
            self._read_shards(index)
        else:
            raise ModelNotFound(f"{folder} has no {WHOLE} and no {INDEX}")
        # Names of the first BERT checkpoints, which TensorFlow gave.
        self.tensors = {name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"):
                        stored for name, stored in self.tensors.items()}

    def _read_shards(self, index: Path) -> None:
        found = read_json(index)
        placed = found.get("weight_map") if isinstance(found, dict) else None
        if not isinstance(placed, dict) or not placed:
            raise ModelCorrupt(f"{index} has no weight_map")
        for name in sorted(set(map(str, placed.values()))):
            if Path(name).name != name:
                raise ModelCorrupt(f"{index} names {name}, which is not a file beside it")
            if not (self.folder / name).is_file():
                raise ModelCorrupt(f"{self.folder} has no {name}, which {INDEX} names")
            held = read_header(self.folder / name)
            strange = sorted(held.keys() - {tensor for tensor, file in placed.items() if file == name})
            if strange:
                raise ModelCorrupt(f"{self.folder / name} holds {some(strange)}, which {INDEX} does not place there")
            self.tensors |= held
        missing = sorted(placed.keys() - self.tensors.keys())
        if missing:
            raise ModelCorrupt(f"{self.folder / str(placed[missing[0]])} lacks {some(missing)}, which {INDEX} places "
                               "there")

    def check(self, slots: Sequence[Slot], ignored: Iterable[str]) -> None:
        """Every slot has its tensor in the right shape and type, and no tensor is left over but those whose names match
        a pattern of `ignored`. Raises ModelCorrupt or ModelUnsupported."""
        wanted = {slot.name: slot for slot in slots}
        missing = sorted(wanted.keys() - self.tensors.keys())
        if missing:
            raise ModelCorrupt(f"{self.folder} lacks the tensor {some(missing)}")
        for name, slot in wanted.items():
            stored = self.tensors[name]
            if stored.shape != slot.shape:
                raise ModelCorrupt(f"{stored.path} has {name} of shape {list(stored.shape)}, the config says "
                                   f"{list(slot.shape)}")
            if stored.dtype not in DTYPES:
                raise ModelUnsupported(f"{stored.path} has {name} in {stored.dtype}: served is {', '.join(DTYPES)}")
        patterns = [re.compile(pattern) for pattern in ignored]
        strange = sorted(name for name in self.tensors.keys() - wanted.keys()
                         if not any(pattern.fullmatch(name) for pattern in patterns))
        if strange:
            raise ModelUnsupported(f"{self.folder} holds {some(strange)}, for which this model has no place")

    def load(self, slots: Sequence[Slot], device: str, progress: Callable[[float], None]) -> None:
        """Stream every slot's tensor to its target, in the order of the files. `progress` hears the share done."""
        ordered = sorted(slots, key=lambda slot: (self.tensors[slot.name].path, self.tensors[slot.name].begin))
        total = sum(self.tensors[slot.name].size for slot in ordered)
        done = 0
        with Buffers(device) as buffers:
            for slot in ordered:
                stored = self.tensors[slot.name]
                for first, block in buffers.read(stored):
                    slot.target.put(first, block)
                    done += block.numel() * DTYPES[stored.dtype].itemsize
                    progress(done / total)


class Buffers:
    """Two host buffers that a file is read through; one is copied to the device while the other fills."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._cuda = device.startswith("cuda")
        self._buffers: list[Tensor] = []
        self._copied: list[Any] = []
        self._turn = 0
        self._path: Path | None = None
        self._file: Any = None

    def __enter__(self) -> Buffers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
        for event in self._copied:
            if event is not None:
                event.synchronize()
        self._buffers = []

    def read(self, stored: Stored) -> Iterator[tuple[int, Tensor]]:
        """(first row, some rows) on the device, in the file's type, until the tensor is through.

        A block is valid until the next one is asked for. Raises ModelCorrupt when the file ends early.
        """
        dtype = DTYPES[stored.dtype]
        rows, *rest = stored.shape or (1,)
        row_bytes = math.prod(rest) * dtype.itemsize
        most = max(1, BUFFER_BYTES // row_bytes)
        self._open(stored.path)
        self._file.seek(stored.begin)
        for first in range(0, rows, most):
            count = min(most, rows - first)
            block = self._fill(count * row_bytes, stored.path).view(dtype).view(count, *rest)
            if not self._cuda:
                yield first, block
                continue
            there = block.to(self._device, non_blocking=True)
            self._copied[self._turn] = torch.cuda.Event()
            self._copied[self._turn].record()
            self._turn = 1 - self._turn
            yield first, there

    def _open(self, path: Path) -> None:
        if path == self._path:
            return
        if self._file is not None:
            self._file.close()
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise ModelNotFound(f"{path} cannot be read: {error.strerror}") from None
        self._path = path

    def _fill(self, size: int, path: Path) -> Tensor:
        if not self._buffers or len(self._buffers[0]) < size:
            room = max(BUFFER_BYTES, size)
            self._buffers = [torch.empty(room, dtype=torch.uint8, pin_memory=self._cuda) for _ in range(2)]
            self._copied = [None, None]
        if self._copied[self._turn] is not None:
            self._copied[self._turn].synchronize()
        part = self._buffers[self._turn][:size]
        view = memoryview(part.numpy())
        filled = 0
        while filled < size:
            got = self._file.readinto(view[filled:])
            if not got:
                raise ModelCorrupt(f"{path} ends early: it changed while it was read")
            filled += got
        return part


def read_header(path: Path) -> dict[str, Stored]:
    """Raises ModelCorrupt unless the file is whole: as long as its header says, and not a byte longer."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER):
            raise ModelCorrupt(f"{path} is not a whole safetensors file: its {size} bytes do not hold its header")
        try:
            entries = json.loads(stream.read(length))
            found = {name: _stored(path, 8 + length, name, entry) for name, entry in entries.items()
                     if name != "__metadata__"}
            end = 8 + length + max((entry["data_offsets"][1] for name, entry in entries.items()
                                    if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise ModelCorrupt(f"{path} is not a safetensors file: its header cannot be read") from None
    if size != end:
        raise ModelCorrupt(f"{path} has {size} bytes, its header says {end}: fetch it again")
    return found


def _stored(path: Path, data: int, name: str, entry: dict[str, Any]) -> Stored:
    begin, end = entry["data_offsets"]
    stored = Stored(path, str(entry["dtype"]), tuple(int(n) for n in entry["shape"]), data + int(begin))
    if stored.dtype in DTYPES and stored.size != end - begin:
        raise ModelCorrupt(f"{path} gives {name} {end - begin} bytes, its shape needs {stored.size}")
    return stored


def some(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
