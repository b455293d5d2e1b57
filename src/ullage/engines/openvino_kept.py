"""Compiled OpenVINO models kept on disk, so that a service that starts again reads what it had made.

A file is the SHA-256 of what follows it, then what OpenVINO exports: the graph as it runs, with its weights, and no
code. Its name is the hash of everything that went into it, so another release of OpenVINO, another CPU or another
setting finds none. One that is not whole is made anew.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import structlog

from ullage.engines.padded import one_line
from ullage.models.export_onnx import EXPORTS
from ullage.models.files import FETCHED, sha256_once

log = structlog.get_logger("ullage.engines")

FOLDER = "compiled"
SUFFIX = ".blob"
LARGEST_BYTES = 256 << 20
"""Models over this are compiled at every start: a file as large again gains a smaller part of a start that is long."""

FILES = 16
"""Compiled models that stay: those read or written last. Releases of OpenVINO and settings leave theirs behind."""

EXTERNAL = b"location"
"""The key under which ONNX names another file of weights."""

HASH_BYTES = hashlib.sha256().digest_size


def kept_file(cache_dir: Path, model: Path, core: Any, options: Mapping[str, object]) -> Path | None:
    """Where `model`, compiled with `options` on this CPU, is kept; None for one that is empty or too large, or
    with weights in files beside it that nothing vouches for: folders of the cache are called by a hash of theirs."""
    named = model.parent.parent in (cache_dir / FETCHED, cache_dir / EXPORTS)
    size = sum(file.stat().st_size for file in model.parent.iterdir()) if named else model.stat().st_size
    if not 0 < size <= LARGEST_BYTES or (not named and _refers_to_files(model)):
        return None
    identity = model.parent.name if named else sha256_once(model)
    made_by = [openvino.get_version(), core.get_property("CPU", "FULL_DEVICE_NAME"),
               sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))]
    whole = json.dumps([made_by, sorted(options.items()), identity])
    return cache_dir / FOLDER / f"{hashlib.sha256(whole.encode()).hexdigest()}{SUFFIX}"


def _refers_to_files(model: Path) -> bool:
    with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        return whole.find(EXTERNAL) >= 0


def read_kept(core: Any, file: Path, options: Mapping[str, object]) -> Any | None:
    """The compiled model of `file`, or None if it is not there or not whole."""
    try:
        whole = np.memmap(file, np.uint8, "r")
    except (OSError, ValueError):  # none, or an empty one
        return None
    digest, blob = whole[:HASH_BYTES].tobytes(), whole[HASH_BYTES:]
    if digest != hashlib.sha256(blob.data).digest():
        log.warning("a compiled model is not whole: it is made anew", file=str(file))
        return None
    try:
        compiled = core.import_model(openvino.Tensor(blob), "CPU", dict(options))
    except RuntimeError as error:
        log.warning("a compiled model is refused: it is made anew", file=str(file), reason=one_line(error))
        return None
    with suppress(OSError):  # a folder that is not ours to write: it stays as old as it was
        os.utime(file)
    return compiled


def keep(compiled: Any, file: Path) -> None:
    """Write it for the next start. A disk that is full or not ours to write is logged, and costs that start's time."""
    blob = compiled.export_model().getbuffer()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix="compiled-") as scratch:
            made = Path(scratch) / file.name
            with made.open("wb") as stream:
                stream.write(hashlib.sha256(blob).digest())
                stream.write(blob)
            made.replace(file)
        found = sorted(file.parent.glob(f"*{SUFFIX}"), key=lambda kept: kept.stat().st_mtime, reverse=True)
        for old in found[FILES:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a compiled model is not kept", file=str(file), reason=str(error))
