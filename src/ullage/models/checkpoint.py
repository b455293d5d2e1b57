"""A checkpoint folder as published: config.json and model.safetensors, checked as they are read. Nothing is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from ullage.errors import ModelCorrupt, ModelNotFound, ModelUnsupported

WEIGHTS = "model.safetensors"
_open: Any = safe_open  # its methods carry no types
DTYPES = ("F32", "F16", "BF16")


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
        if self._values.get("auto_map"):
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

    def one_of(self, name: str, allowed: tuple[Any, ...], default: Any) -> Any:
        """Raises ModelUnsupported, by name, for a value whose numbers we would get wrong."""
        value = self._values.get(name)
        value = default if value is None else value
        if value not in allowed:
            known = ", ".join(str(each) for each in allowed)
            raise ModelUnsupported(f"{self.path} has {name}={value!r}: served is {known}")
        return value


class Weights:
    """Tensors of a safetensors file as fp32; which were asked for is remembered. Use as a context."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = _open(str(path), framework="numpy")
            stored: list[str] = list(self._file.keys())
        except FileNotFoundError:
            raise ModelNotFound(f"{path.parent} has no {path.name}") from None
        except (SafetensorError, OSError) as error:
            raise ModelCorrupt(f"{path} is not a whole safetensors file: {error}") from None
        # Names of the first BERT checkpoints, which TensorFlow gave.
        self._stored = {name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"):
                        name for name in stored}
        self.unread = set(self._stored)

    def __enter__(self) -> Weights:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def read(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        """Raises ModelCorrupt for a missing tensor or another shape, ModelUnsupported for another type."""
        if name not in self._stored:
            raise ModelCorrupt(f"{self.path} holds no tensor {name}")
        view = self._file.get_slice(self._stored[name])
        if tuple(view.get_shape()) != shape:
            raise ModelCorrupt(f"{self.path} has {name} of shape {view.get_shape()}, the config says {list(shape)}")
        if view.get_dtype() not in DTYPES:
            raise ModelUnsupported(f"{self.path} has {name} in {view.get_dtype()}: served is {', '.join(DTYPES)}")
        self.unread.discard(name)
        return np.ascontiguousarray(self._file.get_tensor(self._stored[name]), np.float32)
