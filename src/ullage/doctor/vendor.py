"""What is known of the vendor's images and names, from data files and from our own table of foreign names."""

from __future__ import annotations

import difflib
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ullage.doctor.text import Text
from ullage.settings.conversions import VENDOR_ONNX
from ullage.settings.names import NAMES
from ullage.settings.names_blueprint import BLUEPRINT_NAMES
from ullage.settings.names_nim import NIM_1X, NIM_2X

RERANKER_ONNX, EMBEDDER_ONNX = VENDOR_ONNX
PROFILE_ID = re.compile(r"[0-9a-f]{64}")
RETRIEVERS = ("rerank", "embed", "vision")

Generation = Literal["1.x", "2.x", ""]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Never(_Frozen):
    """A name that no retriever NIM has ever read, and the real one. `families` do read it."""

    real: str
    version: str
    en: str
    de: str
    near: tuple[str, ...] = ()
    families: tuple[str, ...] = ()


class NeverRead(_Frozen):
    real: str
    harmless: tuple[str, ...]


class Names(_Frozen):
    never: Mapping[str, Never]
    counterparts: Mapping[str, str]
    tolerated: tuple[str, ...]
    since: Mapping[str, str]
    llm: tuple[str, ...]
    other_nims: tuple[str, ...]
    blueprint: tuple[str, ...]
    never_read: Mapping[str, NeverRead]


class KnownFault(_Frozen):
    id: str
    since: str
    until: str


class Fault(_Frozen):
    severity: Literal["error", "warning", "info"]
    en: str
    de: str
    remedy: str
    source: str
    kinds: tuple[str, ...] = ()


class KnownImage(_Frozen):
    """`gpu_share` is the part of a device that it takes whatever there is."""

    match: tuple[str, ...]
    family: str
    gpu_gib: float | None = None
    gpu_share: float | None = None
    onnx_gib: float | None = None
    gpu_only_tag: str = ""
    source: str = ""
    start_s: float = Field(0.0, ge=0)
    faults: tuple[KnownFault, ...] = ()


class Images(_Frozen):
    images: tuple[KnownImage, ...]
    faults: Mapping[str, Fault]


@dataclass(frozen=True, slots=True)
class Image:
    """An image as a file names it. `version` is that of its tag, empty for `latest` and for none."""

    name: str
    tag: str
    known: KnownImage | None

    @property
    def family(self) -> str:
        return self.known.family if self.known else ""

    @property
    def version(self) -> tuple[int, ...]:
        found = re.match(r"v?(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?", self.tag)
        return tuple(int(part) for part in found.groups() if part) if found else ()

    @property
    def generation(self) -> Generation:
        """Of a retriever NIM; those of a tag without a number are not known."""
        if self.family not in RETRIEVERS or not self.version:
            return ""
        return "2.x" if self.version[0] >= 2 else "1.x"

    @property
    def plain(self) -> str:
        return self.name.rsplit("/", 1)[-1] + (f":{self.tag}" if self.tag else "")


@cache
def names() -> Names:
    return Names.model_validate(_data("names.yaml"))


@cache
def images() -> Images:
    return Images.model_validate(_data("images.yaml"))


def _data(name: str) -> Any:
    return yaml.safe_load((importlib.resources.files("ullage.doctor") / "data" / name).read_text(encoding="utf-8"))


def image(text: str) -> Image:
    """`registry/path/name:tag@digest` taken apart; the port of a registry is no tag."""
    plain = text.strip().partition("@")[0]
    name, colon, tag = plain.rpartition(":")
    if not colon or "/" in tag:
        name, tag = plain, ""
    last = name.rsplit("/", 1)[-1].lower()
    known = next((one for one in images().images if any(part in last for part in one.match)), None)
    return Image(name, tag, known)


@cache
def generation_names() -> tuple[frozenset[str], frozenset[str]]:
    """Names of 1.x alone and of 2.x alone."""
    first, second = {name.name for name in NIM_1X}, {name.name for name in NIM_2X}
    return frozenset(first - second), frozenset(second - first)


def belongs_to(name: str) -> Text:
    """Whose name it is, and of which version."""
    known, first, second = names(), *generation_names()
    if name in known.since:
        return Text(f"retriever NIM 1.x, since {known.since[name]}", f"Retriever-NIM 1.x, seit {known.since[name]}")
    if name in known.llm:
        return Text("LLM NIM", "LLM-NIM")
    if name in first:
        return Text("retriever NIM 1.x", "Retriever-NIM 1.x")
    if name in second:
        return Text("retriever NIM 2.x", "Retriever-NIM 2.x")
    if name in _blueprint_names():
        return Text("RAG Blueprint 2.x", "RAG Blueprint 2.x")
    return Text("NIM", "NIM")


@cache
def _blueprint_names() -> frozenset[str]:
    return frozenset((*(name.name for name in BLUEPRINT_NAMES), *names().blueprint))


@cache
def real_names() -> frozenset[str]:
    """Every name that some part of the vendor's stack reads."""
    known = names()
    return (frozenset(NAMES) | frozenset((*known.llm, *known.other_nims, *known.blueprint))) \
        - frozenset(known.never) - {"NIM_TRITION_MAX_QUEUE_SIZE"} - {"RERANKER_TOPK", "RETRIEVER_USE_RERANKER"}


def nearest(name: str) -> str | None:
    """The real name that is most like this one, of the same prefix where there is one."""
    prefix = name.split("_", 1)[0] + "_"
    same = sorted(real for real in real_names() if real.startswith(prefix)) or sorted(real_names())
    found = difflib.get_close_matches(name, same, n=1, cutoff=0.6)
    return found[0] if found else None
