"""Services and their settings out of compose files, env files and Helm values, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ullage.doctor.yaml_tree import Scalar

LONGEST_VALUE = 4096
DEEPEST_DEFAULT = 5

_ASSIGNMENT = re.compile(r"\s{0,20}(?:export\s{1,20})?([A-Za-z_][A-Za-z0-9_.]{0,100})[ \t]{0,20}=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w{0,100})(?:(:?[-?+])([^{}$]{0,1000}))?\}|\$([A-Za-z_]\w{0,100})")
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s{0,3}(ms|us|h|m|s)?")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001, None: 1.0}


@dataclass(frozen=True, slots=True)
class Setting:
    """`value` is what the program gets, with variables put in; `unset` are variables of it that nobody sets."""

    name: str
    value: str
    source: str
    line: int
    unset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """How long a health check waits before it gives up, and where it says so."""

    window_s: float
    line: int


@dataclass(frozen=True, slots=True)
class Service:
    """`gpus` are the indexes it is given; `gpus_known` is False where none are named although it takes some."""

    name: str
    source: str
    line: int
    image: str = ""
    image_line: int = 0
    settings: tuple[Setting, ...] = ()
    gpus: tuple[str, ...] = ()
    takes_gpu: bool = False
    health: Health | None = None
    needs: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[str, int], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> str | None:
        return next((s.value for s in reversed(self.settings) if s.name == name), None)

    def setting(self, name: str) -> Setting | None:
        return next((s for s in reversed(self.settings) if s.name == name), None)


def env_settings(text: str, source: str) -> list[Setting]:
    """The assignments of an env file; comments and anything else are passed over."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#") and (match := _ASSIGNMENT.match(line[:LONGEST_VALUE])):
            found.append(Setting(match[1], _unquoted(match[2]), source, number))
    return found


def _unquoted(value: str) -> str:
    """As shells and compose read it: quotes hold everything, else a comment ends it."""
    value = value.strip()
    if value[:1] in "\"'" and len(value) > 1:
        end = value.find(value[0], 1)
        return value[1:end] if end > 0 else value[1:]
    return value.split(" #", 1)[0].split("\t#", 1)[0].strip()


@dataclass(slots=True)
class _Variables:
    """Puts `${NAME:-default}` in, from env files that were given too."""

    known: Mapping[str, str]
    unset: list[str] = field(default_factory=list)

    def put_in(self, text: str) -> str:
        text = text[:LONGEST_VALUE].replace("$$", "\0")
        for _ in range(DEEPEST_DEFAULT):
            replaced = _VARIABLE.sub(self._one, text)
            if replaced == text or len(replaced) > 4 * LONGEST_VALUE:
                break
            text = replaced
        return text.replace("\0", "$")

    def _one(self, match: re.Match[str]) -> str:
        name, how, other = match[1] or match[4], match[2] or "", match[3] or ""
        value = self.known.get(name)
        if how.endswith("+"):
            return other if value else ""
        if value or (value is not None and how == "-"):
            return value.replace("$", "\0")
        if how.endswith("-"):
            return other
        self.unset.append(name)
        return ""


def compose_services(tree: Any, source: str, known: Mapping[str, str]) -> list[Service]:
    """The services of a compose file. What has not the form of one is passed over."""
    services = _mapping(tree.get("services") if isinstance(tree, dict) else None)
    return [_compose_service(name, body, source, known)
            for name, body in services.items() if isinstance(body, dict)]


def _compose_service(name: str, body: dict[str, Any], source: str, known: Mapping[str, str]) -> Service:
    image = body.get("image", "")
    settings = tuple(_environment(body.get("environment"), source, known))
    gpus, takes = _gpus(body, settings, known)
    return Service(
        name=str(name), source=source, line=_line(name),
        image=_Variables(known).put_in(image) if isinstance(image, str) else "", image_line=_line(image),
        settings=settings, gpus=gpus, takes_gpu=takes, health=_health(body.get("healthcheck"), known),
        needs=tuple(_needs(body.get("depends_on"))), ports=tuple(_ports(body.get("ports"), known)), raw=body,
    )


def _environment(written: Any, source: str, known: Mapping[str, str]) -> Iterator[Setting]:
    """A mapping, or a list of `NAME=value`; a bare `NAME` comes from outside, where an env file may set it."""
    if isinstance(written, dict):
        pairs = [(name, value if isinstance(value, str) else "", _line(name)) for name, value in written.items()]
    else:
        split = [(item, str(item).partition("=")) for item in _list(written) if isinstance(item, str)]
        pairs = [(name, value if equals else f"${{{name}-}}", _line(item)) for item, (name, equals, value) in split]
    for name, value, line in pairs:
        variables = _Variables(known)
        yield Setting(str(name).strip(), variables.put_in(str(value)), source, line, tuple(variables.unset))


def _gpus(
    body: dict[str, Any], settings: tuple[Setting, ...], known: Mapping[str, str]
) -> tuple[tuple[str, ...], bool]:
    """(indexes, whether it takes any): from the reservation, or from the variables that show GPUs."""
    reserved = _mapping(_mapping(_mapping(body.get("deploy")).get("resources")).get("reservations")).get("devices")
    ids: list[str] = []
    takes = "gpus" in body or body.get("runtime") == "nvidia"
    for device in _list(reserved):
        takes = True
        for one in _list(_mapping(device).get("device_ids")):
            ids += [part.strip() for part in _Variables(known).put_in(str(one)).split(",") if part.strip()]
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        shown = next((s.value for s in settings if s.name == name), "")
        if shown in ("-1", "none", "void") and not reserved:
            return (), False
        if not ids and re.fullmatch(r"\d{1,2}(,\d{1,2})*", shown):
            ids = shown.split(",")
            takes = True
    return tuple(dict.fromkeys(ids)), takes


def _health(check: Any, known: Mapping[str, str]) -> Health | None:
    written = _mapping(check)
    if not written or written.get("disable") == "true" or _list(written.get("test"))[:1] == ["NONE"]:
        return None
    read = {name: _Variables(known).put_in(str(written.get(name, default)))
            for name, default in (("interval", "30s"), ("retries", "3"), ("start_period", "0s"))}
    window = span_s(read["start_period"]) + span_s(read["interval"]) * _whole(read["retries"], 3)
    return Health(window, min((_line(key) for key in written), default=0))


def span_s(text: str) -> float:
    """`1m30s` in seconds; what cannot be read is 0."""
    return sum(float(amount) * _SECONDS[unit or None] for amount, unit in _SPAN.findall(text[:100]))


def _needs(written: Any) -> Iterator[tuple[str, str]]:
    """(service, condition)."""
    if isinstance(written, dict):
        for name, how in written.items():
            yield str(name), str(_mapping(how).get("condition", "service_started"))
    for name in _list(written):
        if isinstance(name, str):
            yield str(name), "service_started"


def _ports(written: Any, known: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """(published port, line)."""
    for item in _list(written):
        if isinstance(item, dict) and isinstance(item.get("published"), str):
            yield _Variables(known).put_in(item["published"]), _line(item["published"])
        elif isinstance(item, str):
            parts = _Variables(known).put_in(item).split("/")[0].rsplit(":", 2)
            if len(parts) > 1:
                yield parts[-2], _line(item)


def helm_services(tree: Any, source: str) -> list[Service]:
    """Every part of Helm values, or of a manifest, that names an image; its name is the way to it."""
    return list(_helm(tree, source, (), 0))


def _helm(node: Any, source: str, way: tuple[str, ...], line: int) -> Iterator[Service]:
    if isinstance(node, list):
        for part in node:
            yield from _helm(part, source, way, line)
    if not isinstance(node, dict):
        return
    image, image_line = _helm_image(node.get("image"))
    if image:
        name = str(node.get("name") or ".".join(way) or "values")
        yield Service(name=name, source=source, line=line, image=image, image_line=image_line,
                      settings=tuple(_helm_environment(node, source)), takes_gpu=_helm_gpu(node),
                      health=_probe(node), raw=node)
    elif any(key in node for key in ("env", "envVars")) and way:
        yield Service(name=".".join(way), source=source, line=line, settings=tuple(_helm_environment(node, source)),
                      takes_gpu=_helm_gpu(node), health=_probe(node), raw=node)
    for key, value in node.items():
        if key not in ("image", "env", "envVars"):
            yield from _helm(value, source, (*way, str(key)), _line(key))


def _helm_image(image: Any) -> tuple[str, int]:
    if isinstance(image, dict):
        repository, tag = image.get("repository", ""), image.get("tag", "")
        if isinstance(repository, str) and repository:
            return f"{repository}:{tag}" if tag and isinstance(tag, str) else str(repository), _line(repository)
        return "", 0
    return (str(image), _line(image)) if isinstance(image, str) and image else ("", 0)


def _helm_environment(node: dict[str, Any], source: str) -> Iterator[Setting]:
    for key in ("env", "envVars"):
        written = node.get(key)
        if isinstance(written, dict):
            for name, value in written.items():
                if isinstance(value, str):
                    yield Setting(str(name), str(value)[:LONGEST_VALUE], source, _line(name))
        for item in _list(written):
            name = _mapping(item).get("name")
            if isinstance(name, str):
                value = _mapping(item).get("value", "")
                yield Setting(str(name), str(value)[:LONGEST_VALUE] if isinstance(value, str) else "", source,
                              _line(name), ("valueFrom",) if "valueFrom" in item else ())


def _helm_gpu(node: dict[str, Any]) -> bool:
    resources = _mapping(node.get("resources"))
    return any("nvidia.com/gpu" in _mapping(resources.get(part)) for part in ("limits", "requests"))


def _probe(node: dict[str, Any]) -> Health | None:
    """The start-up probe's window, or what liveness grants where there is none."""
    for name in ("startupProbe", "livenessProbe"):
        written = _mapping(node.get(name))
        if written and written.get("enabled") != "false":
            delay, period, failures = (_whole(written.get(key), default) for key, default in
                                       (("initialDelaySeconds", 0), ("periodSeconds", 10), ("failureThreshold", 3)))
            return Health(float(delay + period * failures), min(_line(key) for key in written))
    return None


def _whole(value: Any, default: int) -> int:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else default


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _line(value: Any) -> int:
    return value.line if isinstance(value, Scalar) else 0
