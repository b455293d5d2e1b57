"""A checkpoint folder as published: config.json and safetensors, whole or in shards, checked as they are read.

Nothing that comes with weights is run.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from ullage.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from ullage.models.shape import Precision

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_open: Any = safe_open  # its methods carry no types
DTYPES: dict[str, Precision] = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}

OWN_CODE = ("llama_bidirec",)
"""Model types whose published code we replace by our own. Any other that wants its code run is refused."""


def read_json(path: Path) -> Any:
    """Raises ModelNotFound or ModelCorrupt."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFound(f"{path.parent} has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise ModelCorrupt(f"{path} is not readable JSON: {error}") from None


class Config:
    """config.json, whose every value that decides numbers is asked for by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = read_json(path)
        if not isinstance(found, dict):
            raise ModelCorrupt(f"{path} holds no object")
        self._values: dict[str, Any] = found
        if self._values.get("auto_map") and self.model_type not in OWN_CODE:
            raise ModelUnsupported(f"{path} names code to run with the weights (auto_map): such models are not served")

    @property
    def model_type(self) -> str:
        return str(self._values.get("model_type", ""))

    @property
    def architecture(self) -> str:
        names = self._values.get("architectures") or [""]
        return str(names[0])

    @property
    def labels(self) -> int:
        """Outputs of a classifier; two when nothing is written, as in the reference."""
        named = self._values.get("id2label")
        return len(named) if named else int(self._values.get("num_labels") or 2)

    def integer(self, *names: str, at_least: int = 1) -> int:
        """The value under the first of `names` that is there. Raises ModelCorrupt."""
        for name in names:
            value = self._values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= at_least:
                return value
        wanted = " or ".join(names)
        raise ModelCorrupt(f"{self.path} has {wanted}={self._values.get(names[0])!r}: a whole number "
                           f"of at least {at_least} is wanted")

    def number(self, name: str, default: float) -> float:
        value = self._values.get(name, default)
        if not isinstance(value, int | float):
            raise ModelCorrupt(f"{self.path} has {name}={value!r}: a number is wanted")
        return float(value)

    def is_absent(self, name: str) -> bool:
        return self._values.get(name) is None

    def text(self, name: str) -> str:
        """A word of the config; empty where there is none."""
        value = self._values.get(name)
        return value if isinstance(value, str) else ""

    def section(self, name: str) -> dict[str, Any]:
        """An object inside the config; empty where there is none."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            raise ModelCorrupt(f"{self.path} has {name}={value!r}: an object is wanted")
        return dict(value or {})

    def names(self, name: str) -> tuple[str, ...] | None:
        """A list of words, or None."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, list):
            raise ModelCorrupt(f"{self.path} has {name}={value!r}: a list is wanted")
        return None if value is None else tuple(map(str, value))

    def one_of(self, name: str, allowed: tuple[Any, ...], default: Any) -> Any:
        """Raises ModelUnsupported, by name, for a value whose numbers we would get wrong."""
        value = self._values.get(name)
        value = default if value is None else value
        if value not in allowed:
            known = ", ".join(str(each) for each in allowed)
            raise ModelUnsupported(f"{self.path} has {name}={value!r}: served is {known}")
        return value


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors of a folder: one, or the shards of its index, in order; none when there are neither.

    Raises ModelNotFound for a missing shard and ModelCorrupt for an index that is none.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if not (folder / INDEX).is_file():
        return ()
    names = shard_names(read_json(folder / INDEX), folder / INDEX)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelNotFound(f"{folder} lacks {len(missing)} of the weight files its index names, first {missing[0]}")
    return tuple(folder / name for name in names)


def shard_names(index: object, place: Path | str) -> tuple[str, ...]:
    """File names of an index, in order. Raises ModelCorrupt, also for a name that leaves the folder."""
    parts = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(parts, dict) or not parts:
        raise ModelCorrupt(f"{place} has no weight_map")
    names = sorted(set(map(str, parts.values())))
    for name in names:
        if not SHARD.fullmatch(name):
            raise ModelCorrupt(f"{place} names a weight file {name!r}: model-00001-of-00002.safetensors is the form")
    return tuple(names)


class Weights:
    """Tensors of one or more safetensors files as fp32; which were asked for is remembered. Use as a context."""

    def __init__(self, *paths: Path) -> None:
        self.path = paths[0]
        self._held = contextlib.ExitStack()
        self._files: dict[str, tuple[Any, str]] = {}
        for path in paths:
            try:
                file = _open(str(path), framework="numpy")
                stored: list[str] = list(file.keys())
            except FileNotFoundError:
                raise ModelNotFound(f"{path.parent} has no {path.name}") from None
            except (SafetensorError, OSError) as error:
                raise ModelCorrupt(f"{path} is not a whole safetensors file: {error}") from None
            self._held.push(file.__exit__)
            for name in stored:
                # Names of the first BERT checkpoints, which TensorFlow gave.
                new = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
                self._files[new] = (file, name)
        self.unread = set(self._files)

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    @property
    def precision(self) -> Precision:
        """How most tensors are stored; fp32 for none."""
        kinds = Counter(file.get_slice(stored).get_dtype() for file, stored in self._files.values())
        return DTYPES.get(kinds.most_common(1)[0][0], "fp32") if kinds else "fp32"

    def read(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        """Raises ModelCorrupt for a missing tensor or another shape, ModelUnsupported for another type."""
        if name not in self._files:
            raise ModelCorrupt(f"{self.path} holds no tensor {name}")
        file, stored = self._files[name]
        view = file.get_slice(stored)
        if tuple(view.get_shape()) != shape:
            raise ModelCorrupt(f"{self.path} has {name} of shape {view.get_shape()}, the config says {list(shape)}")
        if view.get_dtype() not in DTYPES:
            raise ModelUnsupported(f"{self.path} has {name} in {view.get_dtype()}: served is {', '.join(DTYPES)}")
        self.unread.discard(name)
        return np.ascontiguousarray(file.get_tensor(stored), np.float32)
