"""A model card: everything that must be known about a model before it is loaded.

An architecture name alone is not enough: pooling, template and length decide the numbers, so they stand here,
beside the shape the memory plan computes from and the SHA-256 of every file.
"""

from __future__ import annotations

import importlib.resources
from functools import cache
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ullage.errors import ModelNotFound

Role = Literal["ranking", "embedding", "llm"]
Kind = Literal["fusion", "cross-encoder", "embedder", "llm"]
Family = Literal["bert", "roberta", "distilbert", "modernbert", "llama-bidirectional", "qwen3", "decoder"]
"""What the layers are, hence how many weights a shape has. `roberta` includes XLM-R; `decoder` is any GGUF LLM."""
Precision = Literal["fp32", "fp16", "bf16", "int8", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_1", "q4_0"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackageFile(_Frozen):
    """A data file inside a wheel of a package registry. Only the file is taken; the package is never imported."""

    package: str
    version: str
    path: str


class HubFile(_Frozen):
    """A file of a model hub repository at a pinned revision."""

    repo: str
    revision: str
    path: str


class HubRepository(_Frozen):
    """A checkpoint on a model hub, in the layout of transformers. `revision` is a commit, or a branch that the first
    download pins: its hashes are then kept beside the files."""

    repo: str
    revision: str = "main"


class LocalFile(_Frozen):
    """A file on this machine that the operator named; never copied. `path` is absolute."""

    path: str


class ModelFile(_Frozen):
    """`role` is what the file is to the engine: `weights` or `tokenizer`. `size` is in bytes."""

    role: Literal["weights", "tokenizer"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0)
    source: PackageFile | HubFile | LocalFile


class Shape(_Frozen):
    """What a footprint is computed from. `ffn` and `kv_heads` matter only where the formula asks for them."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    positions: int


class Card(_Frozen):
    """One model in one role."""

    name: str
    aliases: tuple[str, ...] = ()
    role: Role
    kind: Kind
    family: Family
    backends: tuple[Literal["onnx", "packed", "llama.cpp"], ...]
    precision: Precision = Field(description="as the weights are stored")
    description: str
    licence: str
    shape: Shape
    max_sequence: int = Field(gt=0, description="tokens of one row, template included")
    pooling: Literal["mean", "cls", "none"] = "mean"
    normalize: bool = False
    query_prefix: str = Field("", description="put before a query by an embedder")
    passage_prefix: str = Field("", description="put before a passage by an embedder")
    template: str = Field("{passage}", description="how a pair or text becomes one sequence, for single-text models")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it")
    hub: HubRepository | None = None
    files: tuple[ModelFile, ...] = ()
    not_servable: str = Field("", description="why this model cannot be served yet; empty: it can")

    @property
    def revision(self) -> str:
        """Identifies the exact weights: the head of the weight file's SHA-256."""
        return self.file("weights").sha256[:12]

    def file(self, role: str) -> ModelFile:
        for file in self.files:
            if file.role == role:
                return file
        raise ModelNotFound(f"card {self.name} lists no {role} file")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


@cache
def catalog() -> tuple[Card, ...]:
    """The bundled cards, sorted by role and name."""
    folder = importlib.resources.files("ullage.models") / "cards"
    cards = [
        Card.model_validate(yaml.safe_load(entry.read_text(encoding="utf-8")))
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    ]
    return tuple(sorted(cards, key=lambda card: (card.role, card.name)))


def find_card(name: str, role: Role) -> Card:
    """The bundled card called `name`. Raises ModelNotFound naming the ones that exist."""
    for card in catalog():
        if card.role == role and name in card.names:
            return card
    known = ", ".join(card.name for card in catalog() if card.role == role)
    raise ModelNotFound(f"no {role} model is called {name!r} and no folder has that path: known are {known}")
