"""Find out what a file is from what stands in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ullage.doctor import reading
from ullage.doctor.yaml_tree import LARGEST_BYTES, YamlRefused, read_tree

Kind = Literal["compose", "env", "helm", "report", "log", "empty", "binary"]

_ASSIGNED = re.compile(r"(export\s{1,9})?[A-Za-z_][A-Za-z0-9_.]{0,100}[ \t]{0,9}=")
_YAML_KEY = re.compile(
    r"(services|image|apiVersion|kind|env|envVars|nim[\w-]{0,60}|volumes|networks|replicaCount)\s{0,9}:(\s|$)")
_LOOKS_LIKE_LOG = re.compile(
    r"\[?\d{4}[-/]\d\d[-/]\d\d[ T]|\d\d:\d\d:\d\d|(?:INFO|WARN|WARNING|ERROR|DEBUG)\b|[IWEF]\d{4} \d\d:")
_SAMPLE_LINES = 400


@dataclass(frozen=True, slots=True)
class Read:
    """What was found out. `trees` are the documents of a YAML file, `text` is an env file; `fault` says why a file that
    looks like YAML is none, and `line` where."""

    path: Path
    kind: Kind
    trees: tuple[Any, ...] = ()
    text: str = ""
    fault: str = ""
    line: int = 0
    notes: tuple[str, ...] = field(default=())


def read(path: Path) -> Read:
    """Raises InvalidRequest for a file that cannot be read at all."""
    head = reading.head(path)
    if not head.strip("\0 \t\r\n\ufeff"):
        return Read(path, "empty" if "\0" not in head else "binary")
    if sum(c < " " and c not in "\t\n\r\f\b\x1b" for c in head) > len(head) // 20 + 1:
        return Read(path, "binary")
    lines = [line for line in head.lstrip("\ufeff").splitlines()[:_SAMPLE_LINES]
             if line.strip() and not line.lstrip().startswith("#")]
    if lines and _share(lines, _ASSIGNED) > 0.7:
        text = reading.whole(path, LARGEST_BYTES)
        return Read(path, "log") if text is None else Read(path, "env", text=text.lstrip("\ufeff"))
    if _is_yaml(path, lines):
        return _yaml(path, head)
    if path.suffix.lower() in (".md", ".markdown") or head.lstrip("\ufeff \r\n").startswith(("# ", "## ")):
        return Read(path, "report")
    return Read(path, "log")


def _share(lines: list[str], pattern: re.Pattern[str]) -> float:
    return sum(bool(pattern.match(line.lstrip())) for line in lines) / len(lines)


def _is_yaml(path: Path, lines: list[str]) -> bool:
    named = path.suffix.lower() in (".yaml", ".yml")
    if not named and lines and _share(lines, _LOOKS_LIKE_LOG) > 0.3:
        return False
    return named or any(_YAML_KEY.match(line) for line in lines)


def _yaml(path: Path, head: str) -> Read:
    kind: Kind = "compose" if re.search(r"(?m)^services\s*:", head) else "helm"
    text = reading.whole(path, LARGEST_BYTES)
    if text is None:
        return Read(path, "log", fault=f"more than {LARGEST_BYTES} bytes of YAML")
    try:
        trees = read_tree(text.lstrip("\ufeff"))
    except YamlRefused as error:
        return Read(path, kind, fault=str(error), line=error.line)
    mappings = tuple(tree for tree in trees if isinstance(tree, dict))
    if not mappings:
        return Read(path, "log")
    compose = any(isinstance(tree.get("services"), dict) for tree in mappings)
    return Read(path, "compose" if compose else "helm", trees=mappings)
