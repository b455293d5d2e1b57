"""Judge the names and values of settings: unknown, misspelt, of another product or generation, without effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ullage.doctor.catalog import Entry
from ullage.doctor.finding import Evidence, Finding, Severity, evidence
from ullage.doctor.settings_files import Setting
from ullage.doctor.text import Text
from ullage.doctor.vendor import (
    EMBEDDER_ONNX,
    PROFILE_ID,
    RERANKER_ONNX,
    RETRIEVERS,
    Image,
    Never,
    belongs_to,
    generation_names,
    names,
    nearest,
    real_names,
)
from ullage.settings.foreign import shown

PREFIXES = ("NIM_", "APP_")
_PLACEHOLDERS = ("changeme", "your", "<", "xxx", "todo", "replace", "nvidiaapikey", "ngcapikey", "nvapi-...")

Checks = dict[str, Entry]


def line_of(setting: Setting, meant: str = "") -> Evidence:
    """A setting as evidence. `meant` is the name it was to be: where that one is a secret, so is this."""
    value = shown(meant or setting.name, shown(setting.name, setting.value))
    return evidence(setting.source, setting.line, f"{setting.name}={value}")


def name_findings(
    settings: Iterable[Setting], checks: Checks, image: Image | None = None, service: str = "",
) -> Iterator[Finding]:
    """Findings about each setting's name. `image` is the container that gets it, as far as one is known."""
    for setting in settings:
        yield from _name(setting, checks, image, service)


def _name(setting: Setting, checks: Checks, image: Image | None, service: str) -> Iterator[Finding]:
    name = setting.name
    family = image.family if image else ""
    known = names()
    if (never := known.never.get(name)) and not (family and family in never.families):
        yield _never(checks["unknown-name"], setting, never, image)
    elif read := known.never_read.get(name):
        harmless = setting.value.strip("\"' ").lower() in read.harmless
        yield checks["name-never-read"].finding([line_of(setting)], subject=name, name=name, real=read.real,
                                                severity="info" if harmless else None)
    elif name.startswith(PREFIXES) and name not in real_names():
        if name not in known.never:
            yield _misspelt(setting, checks, family)
    elif name.startswith("NIM_") and image is not None and family in RETRIEVERS:
        yield from _belongs(setting, checks, image, service)


def _never(entry: Entry, setting: Setting, never: Never, image: Image | None) -> Finding:
    who = image.plain if image and image.family in RETRIEVERS else ""
    values: dict[str, Any] = {"subject": setting.name, "name": setting.name, "real": never.real,
                              "version": never.version}
    where = [line_of(setting)]
    return both(entry.finding(where, **values, who=who or "the retriever NIMs", why=never.en),
                entry.finding(where, **values, who=who or "den Retriever-NIMs", why=never.de))


def both(english: Finding, german: Finding) -> Finding:
    """One finding out of one filled with English values and one with German ones."""
    return replace(english, title=Text(english.title.en, german.title.de),
                   cause=Text(english.cause.en, german.cause.de), remedy=Text(english.remedy.en, german.remedy.de))


def _misspelt(setting: Setting, checks: Checks, family: str) -> Finding:
    """The nearest real name. Of the LLM NIMs not every name is listed: there one that is not is no more than a note."""
    near = nearest(setting.name)
    severity: Severity | None = None if not family or family in (*RETRIEVERS, "rag", "ingest") else "info"
    if near is None:
        return checks["name-nowhere"].finding([line_of(setting)], subject=setting.name, name=setting.name,
                                              severity=severity)
    whose = belongs_to(near)
    values: dict[str, Any] = {"subject": setting.name, "name": setting.name, "real": near,
                              "severity": severity}
    where = [line_of(setting, near)]
    return both(checks["misspelt-name"].finding(where, **values, version=whose.en),
                checks["misspelt-name"].finding(where, **values, version=whose.de))


def _belongs(setting: Setting, checks: Checks, image: Image, service: str) -> Iterator[Finding]:
    name, known = setting.name, names()
    first, second = generation_names()
    if name in known.llm:
        yield _foreign(setting, checks, image, service, Text("the LLM NIMs", "den LLM-NIMs"), "")
    elif image.generation == "2.x" and name in first and name != "NIM_MODEL_PROFILE":
        if name not in known.tolerated:
            yield _foreign(setting, checks, image, service, Text("generation 1.x", "Generation 1.x"),
                           known.counterparts.get(name, ""))
    elif image.generation == "1.x" and name in second:
        back = next((old for old, new in known.counterparts.items() if new == name), "")
        yield _foreign(setting, checks, image, service, Text("generation 2.x", "Generation 2.x"), back)
    elif (since := known.since.get(name)) and image.family == "rerank" and image.version \
            and image.version < tuple(int(part) for part in since.split(".")):
        yield checks["name-too-new"].finding([line_of(setting)], subject=name, name=name, since=since,
                                             version=image.plain)


def _foreign(setting: Setting, checks: Checks, image: Image, service: str, whose: Text, counterpart: str) -> Finding:
    entry = checks["foreign-name"]
    values: dict[str, Any] = {"subject": setting.name, "name": setting.name, "who": image.plain, "image": image.plain,
              "service": service}
    here = {"en": f" Here it is {counterpart}." if counterpart else "",
            "de": f" Hier heißt er {counterpart}." if counterpart else ""}
    return both(entry.finding([line_of(setting)], **values, whose=whose.en, instead=here["en"]),
                entry.finding([line_of(setting)], **values, whose=whose.de, instead=here["de"]))


def value_findings(
    settings: Iterable[Setting], checks: Checks, image: Image | None = None,
) -> Iterator[Finding]:
    """Values that are none: profile ids, keys that were never filled in."""
    for setting in settings:
        value = setting.value.strip("\"' ")
        if setting.name == "NIM_MODEL_PROFILE" and value:
            yield from _profile(setting, value, checks, image)
        if setting.name in ("NGC_API_KEY", "NVIDIA_API_KEY") and value \
                and value.lower().startswith(_PLACEHOLDERS) and image is None:
            yield checks["key-placeholder"].finding([line_of(setting)], subject=setting.name, name=setting.name)


def _profile(setting: Setting, value: str, checks: Checks, image: Image | None) -> Iterator[Finding]:
    family = image.family if image else ""
    if image is not None and image.generation == "2.x":
        yield checks["profile-without-effect"].finding([line_of(setting)])
        return
    # The other NIMs take a profile's description too.
    if (family and family not in RETRIEVERS) or PROFILE_ID.fullmatch(value):
        return
    if not family and value.startswith(("vllm-", "tensorrt_llm-", "sglang-", "default", "auto")):
        return
    folder = value.count("-") >= 2 and ("trt" in value or "onnx" in value)
    what = Text(
        "This is the name of a folder in the engine cache." if folder else "This is none.",
        "Das ist der Name eines Ordners im Engine-Cache." if folder else "Das ist keine.",
    )
    onnx = EMBEDDER_ONNX if family == "embed" else RERANKER_ONNX
    values: dict[str, Any] = {"subject": value, "value": value, "onnx": onnx,
              "image": f"{image.name}:{image.tag}" if image else "IMAGE"}
    entry = checks["profile-no-id"]
    yield both(entry.finding([line_of(setting)], **values, what=what.en),
               entry.finding([line_of(setting)], **values, what=what.de))
