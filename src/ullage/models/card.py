"""A model card: everything that must be known about a model before it is loaded.

An architecture name alone is not enough: pooling, template and length decide the numbers, so they stand here,
beside the shape the memory plan computes from and the SHA-256 of every file.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
from functools import cache
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ullage.errors import ModelNotFound
from ullage.models.shape import NO_SHAPE, Family, Parameters, Precision, Shape, parameters, stored_bytes

__all__ = [
    "Card", "Family", "HubFile", "HubRepository", "Kind", "LocalFile", "ModelFile", "PackageFile", "Precision", "Role",
    "Rope", "Shape", "catalog", "find_card", "known_cards", "plain_name",
]  # fmt: skip

Role = Literal["ranking", "embedding", "llm", "vision"]
Kind = Literal["fusion", "cross-encoder", "embedder", "llm", "vision"]
FileRole = Literal["weights", "tokenizer", "layout", "table", "detection", "recognition"]

IMAGE_REGISTRY = "nvcr.io/nim/"


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

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field("main", pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")


class LocalFile(_Frozen):
    """A file on this machine that the operator named; never copied. `path` is absolute."""

    path: str


class ModelFile(_Frozen):
    """`role` is what the file is to the engine: `weights` (several when sharded) or `tokenizer`; of the vision card,
    which of its models. `size` is in bytes."""

    role: FileRole
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0)
    source: PackageFile | HubFile | LocalFile


class Rope(_Frozen):
    """Rotary positions. `factor`, `low`, `high` and `original` are those of the llama3 scaling, None without one;
    `local_theta`, `window` and `global_every` are those of a model whose layers mostly attend to a window of tokens."""

    theta: float
    factor: float | None = None
    low: float | None = None
    high: float | None = None
    original: int | None = None
    local_theta: float | None = None
    window: int | None = None
    global_every: int | None = None


class Card(_Frozen):
    """One model in one role."""

    name: str
    aliases: tuple[str, ...] = ()
    role: Role
    kind: Kind
    family: Family
    backends: tuple[Literal["onnx", "packed", "llama.cpp", "vision"], ...]
    precision: Precision = Field(description="as the weights are stored")
    description: str
    licence: str
    shape: Shape = NO_SHAPE
    stated_parameters: int | None = Field(
        None, gt=0, description="as its publisher counts, where the family's formula does not hold"
    )
    max_sequence: int = Field(gt=0, description="tokens of one row, template included")
    attention: Literal["bidirectional", "causal"] = "bidirectional"
    rope: Rope | None = Field(None, description="rotary positions, asserted against config.json at load")
    norm_epsilon: float | None = Field(None, gt=0, description="of every norm, asserted at load; None: as config.json")
    pooling: Literal["mean", "cls", "none"] = "mean"
    normalize: bool = False
    dimensions: tuple[int, ...] = Field((), description="sizes an embedding was trained to be cut to, ascending")
    query_prefix: str = Field("", description="put before a query by an embedder")
    passage_prefix: str = Field("", description="put before a passage by an embedder")
    template: str = Field("{passage}", description="how a pair or text becomes one sequence, for single-text models")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it")
    activation: Literal["identity", "sigmoid"] = Field(
        "identity", description="what the publisher's own library applies to a logit; our logits are raw"
    )
    hub: HubRepository | None = None
    files: tuple[ModelFile, ...] = ()
    not_servable: str = Field("", description="why this model cannot be served yet; empty: it can")

    @property
    def revision(self) -> str:
        """Identifies the weights: the head of their file's SHA-256 (of several models', that of all their hashes), else
        the hub's revision, else `none`."""
        weights = [file for file in self.files if file.role != "tokenizer"]
        if weights and self.role == "vision":
            return hashlib.sha256("".join(file.sha256 for file in weights).encode()).hexdigest()[:12]
        if weights:
            return weights[0].sha256[:12]
        return self.hub.revision[:12] if self.hub else "none"

    def file(self, role: str) -> ModelFile:
        """The file of a role, the first one where there are several. Raises ModelNotFound."""
        for file in self.files:
            if file.role == role:
                return file
        raise ModelNotFound(f"card {self.name} lists no {role} file")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def joins_texts(self) -> bool:
        """Whether query and passage become one text by `template`, before tokens."""
        return self.role == "ranking" and "{query}" in self.template

    @property
    def parameters(self) -> Parameters:
        """Weights by kind; where the publisher's count differs from the formula, the layers carry the difference."""
        counted = parameters(self.family, self.shape, classifier=self.kind in ("cross-encoder", "llm"))
        if self.stated_parameters is None:
            return counted
        return Parameters(counted.tables, self.stated_parameters - counted.tables - counted.head, counted.head)

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights as stored: of the files where they are known, else from shape and precision."""
        sizes = [file.size for file in self.files if file.role != "tokenizer"]
        return sum(sizes) if sizes else stored_bytes(self.parameters.total, self.precision)


@cache
def known_cards() -> tuple[Card, ...]:
    """Every bundled card, sorted by role and name."""
    folder = importlib.resources.files("ullage.models") / "cards"
    cards = [
        Card.model_validate(yaml.safe_load(entry.read_text(encoding="utf-8")))
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    ]
    return tuple(sorted(cards, key=lambda card: (card.role, card.name)))


def catalog() -> tuple[Card, ...]:
    """The bundled models: those whose files come in packages and are listed by hash."""
    return tuple(card for card in known_cards() if card.files)


def plain_name(name: str) -> str:
    """A container image as the model it serves: `nvcr.io/nim/nvidia/x:1.8.0` is `nvidia/x`. Other names stay."""
    shorter = name.removeprefix(IMAGE_REGISTRY)
    if shorter != name:
        shorter = shorter.partition("@")[0]
    return shorter.partition(":")[0]


def find_card(name: str, role: Role) -> Card:
    """The bundled card called `name`: in any case, with or without its publisher, or as a container image.

    Raises ModelNotFound naming the near ones, or the role that the model has.
    """
    wanted = _key(plain_name(name))
    found = {card.role: card for card in known_cards() if any(wanted == _key(known) for known in card.names)}
    if role in found:
        return found[role]
    known = [card for card in known_cards() if card.role == role]
    other = f" ({next(iter(found))} knows one)" if found else ""
    near = difflib.get_close_matches(wanted, [_key(known) for card in known for known in card.names], n=1, cutoff=0.7)
    meant = [card.name for card in known if near and near[0] in map(_key, card.names)]
    hint = f"did you mean {meant[0]}? " if meant else ""
    raise ModelNotFound(f"no {role} model is called {name!r}{other} and nothing has that path: {hint}"
                        f"known are {', '.join(card.name for card in known)}")


def _key(name: str) -> str:
    """Case does not tell models apart, and hosted paths write `_` for `.`."""
    return name.casefold().replace("_", ".")
