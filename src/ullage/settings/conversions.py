"""What values of the replaced stack read as here: units, addresses, switches, profiles.

A conversion gives the value as the setting takes it, nothing ("") where nothing is to be set, or raises ValueError with
what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")

VENDOR_ONNX = (
    "f7391ddbcb95b2406853526b8e489fedf20083a2420563ca3e65358ff417b10f",
    "e28f17c9c13a99055d065f88d725bf93c23b3aab14acd68f16323de1353fc528",
)
"""The vendor's ONNX profiles of the rerankers and of the embedder, the known way around TensorRT."""

_PROFILE = re.compile(r"[0-9a-f]{64}|(cpu|cuda)-[a-z0-9_]+(-hostembed)?-t[0-9]+-s[0-9]+(-i[0-9]+)?")
_LEVELS = {
    "trace": "DEBUG", "debug": "DEBUG", "info": "INFO", "warn": "WARNING", "warning": "WARNING", "error": "ERROR",
    "critical": "CRITICAL", "off": "CRITICAL",
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """`reads` says in words what `call` understands; it ends the refusal of anything else."""

    reads: str
    call: Callable[[str], str]

    def __call__(self, value: str) -> str:
        try:
            return self.call(value)
        except ValueError as error:
            raise ValueError(str(error) if isinstance(error, Refused) else f"write {self.reads}") from None


class Refused(ValueError):
    """A refusal that says itself what would be right."""


def reads(text: str) -> Callable[[Callable[[str], str]], Conversion]:
    return lambda call: Conversion(text, call)


def _one_of(value: str, known: dict[str, str]) -> str:
    if value.lower() not in known:
        raise ValueError
    return known[value.lower()]


same = Conversion("", lambda value: value)
"""The setting's own type and bounds decide."""


@reads("true or false")
def flag(value: str) -> str:
    return _one_of(value, dict.fromkeys(TRUE, "true") | dict.fromkeys(FALSE, "false"))


@reads("a number, or none")
def number_or_none(value: str) -> str:
    if value.lower() in ("", "none", "null"):
        return ""
    return f"{float(value):g}"


@reads("true or false")
def cpu_if_true(value: str) -> str:
    return "cpu" if flag(value) == "true" else ""


def _split_address(value: str) -> tuple[str, str]:
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not re.fullmatch(r"[\w.-]*|\[[\w:.%]+\]", host):
        raise ValueError
    return host.strip("[]"), port


@reads("HOST:PORT such as 0.0.0.0:8000")
def host_of(value: str) -> str:
    return _split_address(value)[0]


@reads("HOST:PORT such as 0.0.0.0:8000")
def port_of(value: str) -> str:
    return _split_address(value)[1]


@reads("HOST:PORT or an http URL")
def base_url(value: str) -> str:
    """`host:port`, with or without scheme and `/v1`, as the blueprint writes it."""
    url = value if "://" in value else f"http://{value}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url):
        raise ValueError
    _ = parts.port  # raises for what is no port
    return url.rstrip("/").removesuffix("/v1")


@reads("HOST:PORT, a URL, or a path that ends in .db")
def milvus_uri(value: str) -> str:
    if value.endswith(".db"):
        return value
    url = value if "://" in value else f"http://{value}"
    parts = urlsplit(url)
    if not parts.hostname or re.search(r"\s", url):
        raise ValueError
    _ = parts.port  # raises for what is no port
    return url


@reads("true or false")
def jsonl(value: str) -> str:
    return "json" if flag(value) == "true" else "pretty"


@reads("json, pretty or compact")
def log_format(value: str) -> str:
    return {"json": "json", "pretty": "pretty", "compact": "pretty"}.get(value.lower(), "")


@reads("DEBUG, INFO, WARNING, ERROR or CRITICAL")
def level(value: str) -> str:
    return _one_of(value, {**_LEVELS, "fatal": "CRITICAL"})


@reads("a level")
def shared_level(value: str) -> str:
    """A variable that other programs read too may hold what is no level of ours."""
    return _LEVELS.get(value.lower(), "")


@reads("a level, or a filter that holds one")
def rust_level(value: str) -> str:
    """The level for everything; filters by module have no counterpart."""
    return next((_LEVELS[part] for part in value.lower().replace(" ", "").split(",") if part in _LEVELS), "")


@reads("a number of threads, 1 or more")
def first_number(value: str) -> str:
    """OpenMP takes a list with a number for each nesting level; the first counts."""
    first = int(value.split(",")[0])
    if first < 1:
        raise ValueError
    return str(first)


@reads("whole microseconds")
def microseconds(value: str) -> str:
    return f"{int(value) / 1000:g}"


@reads("auto, fp32, bf16, fp16, fp8 or int8")
def precision(value: str) -> str:
    return _one_of(value, {name: name for name in ("auto", "fp32", "bf16", "fp16", "fp8", "int8")})


@reads("an id of `ullage list-model-profiles`, `auto`, or one of the vendor's ONNX ids")
def profile_id(value: str) -> str:
    """A profile by its id. `auto` and the vendor's ONNX ids ask for nothing that is not so here."""
    text = value.lower()
    if text in (*VENDOR_ONNX, "auto"):
        return ""
    if _PROFILE.fullmatch(text):
        return text
    if number := re.fullmatch(r"(?:profile_)?([0-9]{1,3})", text):
        raise Refused("this is no profile id: `ullage list-model-profiles` lists them, and NIM_PROFILE_INDEX="
                      f"{number[1]} or ULLAGE_RANKING_PROFILE={number[1]} picks by number")
    raise Refused("this is no profile id (a folder of an engine cache is none): leave it out, or take an id from "
                  "`ullage list-model-profiles`")


@reads("a number of `ullage list-model-profiles`")
def profile_number(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,3}", value):
        raise ValueError
    return str(int(value))
