"""Which library runs an encoder's graph on the CPU, and in which precisions.

OpenVINO is the faster one, most of all below fp32 (docs/benchmarks.md), and is taken where it is installed. A graph
that somebody else exported stays with ONNX Runtime, for which such files are made.
"""

from __future__ import annotations

from typing import Literal

from ullage.devices import Machine
from ullage.errors import SettingsError
from ullage.models.card import Card, LocalFile
from ullage.settings import Settings

CpuBackend = Literal["openvino", "onnxruntime"]

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
VNNI_FLAGS = {"avx512_vnni", "avx_vnni", "asimddp"}
"""Without them ONNX Runtime's int8 sums overflow their 16 bits, and scores are wrong."""


def cpu_backend(card: Card, settings: Settings, machine: Machine) -> CpuBackend:
    """Raises SettingsError when the library that was asked for is not installed."""
    installed = "openvino" in machine.runtimes
    if settings.cpu_backend == "openvino" and not installed:
        raise SettingsError("cpu_backend=openvino, but OpenVINO is not installed: pip install openvino, or set it to "
                            "auto")
    if settings.cpu_backend != "auto":
        return settings.cpu_backend
    return "openvino" if installed and not _ready_graph(card) else "onnxruntime"


def graph_precisions(card: Card, settings: Settings, machine: Machine) -> list[str]:
    """What the CPU can compute this card's graph in, the default first.

    bf16 and int8 change a logit by some thousandths of its spread: they are for those who ask, or allow a lower one.
    """
    backend = cpu_backend(card, settings, machine)
    if card.precision == "int8" or _ready_graph(card):
        return ["int8" if card.precision == "int8" else "fp32"]
    offered = ["fp32"]
    if backend == "openvino" and _has(machine, BF16_FLAGS):
        offered.append("bf16")
    if backend == "openvino" or _has(machine, VNNI_FLAGS):
        offered.append("int8")
    return offered


def _ready_graph(card: Card) -> bool:
    """Whether the weights are an ONNX file of the operator's own."""
    return any(file.role == "weights" and isinstance(file.source, LocalFile) and file.source.path.endswith(".onnx")
               for file in card.files)


def _has(machine: Machine, flags: set[str]) -> bool:
    """A machine of a file may tell none of its flags: it is taken to have them."""
    return not machine.cpu_flags or bool(flags & set(machine.cpu_flags))
