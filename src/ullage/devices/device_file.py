"""Device files: a machine as YAML, so that a plan can be made for one that is not here.

The names are those of `Machine`, `Gpu`, `Holder` and `Disk`; sizes are bytes or take a unit (`80GiB`). A file describes
hardware: what is installed there is not in it. `ullage devices --yaml` writes one, and `examples/` holds some.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ByteSize, TypeAdapter, ValidationError

from ullage.devices.machine import RUNTIMES, Disk, Gpu, Holder, Machine
from ullage.errors import SettingsError

T = TypeVar("T", Machine, Gpu, Holder, Disk)
Parser = Callable[[Any, str, list[str]], Any]
EXAMPLES = Path(__file__).parent / "examples"
KINDS = ("gpu", "mig", "vgpu")
LARGEST_BYTES = 1 << 60


def examples() -> dict[str, Path]:
    """The device files that come with ullage, by name."""
    return {path.stem: path for path in sorted(EXAMPLES.glob("*.yaml"))}


def find_machine(name_or_path: str) -> Machine:
    """An example by its name, or a device file by its path. Raises SettingsError."""
    known = examples()
    if name_or_path in known:
        return read_machine(known[name_or_path])
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return read_machine(path)
    near = difflib.get_close_matches(name_or_path, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"examples are {', '.join(known)}"
    what = "is a folder or a device" if path.exists() else "does not exist"
    raise SettingsError(f"device file {name_or_path} {what}, and no example has that name: {hint}")


def read_machine(path: Path) -> Machine:
    """The machine that a device file describes. Raises SettingsError naming every fault at once."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_OneValueEach)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"device file {path} cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise SettingsError(f"device file {path}{where}: {getattr(error, 'problem', None) or error}; "
                            "write one `name: value` a line") from None
    faults: list[str] = []
    machine = _record(Machine)(content, "", faults)
    if faults:
        raise SettingsError(f"device file {path}: {'; '.join(faults)}")
    return machine  # type: ignore[no-any-return]  # every parser without a fault gives its type


def machine_as_dict(machine: Machine) -> dict[str, Any]:
    """Every field as JSON and YAML hold it; sizes in bytes, compute capability as `8.0`."""
    content = dataclasses.asdict(machine)
    for gpu in content["gpus"]:
        if gpu["compute"] is not None:
            gpu["compute"] = "{}.{}".format(*gpu["compute"])
    plain: dict[str, Any] = _plain(content)
    return plain


def machine_as_yaml(machine: Machine) -> str:
    """A device file of which `read_machine` makes an equal machine, but for `runtimes`; what is at its default is left
    out."""
    content = _without_defaults(Machine, machine_as_dict(dataclasses.replace(machine, runtimes=RUNTIMES)))
    content["gpus"] = [_without_defaults(Gpu, gpu) for gpu in content.get("gpus", [])]
    for gpu in content["gpus"]:
        if "holders" in gpu:
            gpu["holders"] = [_without_defaults(Holder, holder) for holder in gpu["holders"]]
    return str(yaml.safe_dump(content, sort_keys=False, width=120))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _without_defaults(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {field.name: _plain(field.default) for field in dataclasses.fields(kind)}
    return {name: value for name, value in content.items() if value != defaults[name]}


class _OneValueEach(yaml.SafeLoader):
    """Refuses a name that is given twice: YAML itself would let the last one win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _fault(faults: list[str], where: str, value: Any, right: str) -> None:
    text = repr(value)
    faults.append(f"{where or 'content'}={text if len(text) <= 80 else text[:77] + '...'}: {right}")


def _record(kind: type[T]) -> Parser:
    def parse(value: Any, where: str, faults: list[str]) -> T | None:
        parsers = FIELDS[kind]
        if not isinstance(value, dict):
            _fault(faults, where, value, f"write lines `name: value` with {', '.join(parsers)}")
            return None
        before = len(faults)
        prefix = f"{where}." if where else ""
        faults += _unknown([str(name) for name in value if name not in parsers], prefix, list(parsers))
        for field in dataclasses.fields(kind):
            if _required(field) and field.name not in value:
                faults.append(f"{prefix}{field.name} is missing: write `{field.name}: {MISSING[field.name]}`")
        given: dict[str, Any] = {}
        sound: dict[str, Any] = {}
        for name, parse in parsers.items():
            if name in value:
                so_far = len(faults)
                given[name] = parse(value[name], f"{prefix}{name}", faults)
                if len(faults) == so_far:
                    sound[name] = given[name]
        _agree(sound, value, prefix, faults)
        return kind(**given) if len(faults) == before else None

    return parse


def _unknown(names: list[str], prefix: str, known: list[str]) -> list[str]:
    """A fault for each name that is like a known one, and one for all the others."""
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.5) for name in names}
    said = [f"{prefix}{name} is unknown: did you mean {found[0]}?" for name, found in near.items() if found]
    if others := [f"{prefix}{name}" for name, found in near.items() if not found]:
        said.append(f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} unknown: known are {', '.join(known)}")
    return said


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _several(one: Parser) -> Parser:
    def parse(value: Any, where: str, faults: list[str]) -> tuple[Any, ...]:
        if not isinstance(value, list):
            _fault(faults, where, value, "write a list, one `- ` for each")
            return ()
        return tuple(one(part, f"{where}[{place}]", faults) for place, part in enumerate(value))

    return parse


def _or_none(one: Parser) -> Parser:
    return lambda value, where, faults: None if value is None else one(value, where, faults)


def _whole(least: int, most: int) -> Parser:
    def parse(value: Any, where: str, faults: list[str]) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            _fault(faults, where, value, f"write a whole number from {least} to {most}")
            return least
        return value

    return parse


def _size(least: int) -> Parser:
    def parse(value: Any, where: str, faults: list[str]) -> int:
        right = f"write bytes, or a number with its unit such as 80GiB, from {least} to {LARGEST_BYTES}"
        if isinstance(value, bool) or not isinstance(value, int | str):
            _fault(faults, where, value, right)
            return least
        try:
            size = int(TypeAdapter(ByteSize).validate_python(value))
        except (ValidationError, OverflowError):
            size = -1
        if not least <= size <= LARGEST_BYTES:
            _fault(faults, where, value, right)
            return least
        return size

    return parse


def _text(value: Any, where: str, faults: list[str]) -> str:
    if not isinstance(value, str):
        _fault(faults, where, value, "write text, in quotes when it looks like something else")
        return ""
    return value


def _kind(value: Any, where: str, faults: list[str]) -> str:
    if value not in KINDS:
        _fault(faults, where, value, f"write one of {', '.join(KINDS)}")
        return KINDS[0]
    return str(value)


def _yes_or_no(value: Any, where: str, faults: list[str]) -> bool:
    if not isinstance(value, bool):
        _fault(faults, where, value, "write true or false")
        return True
    return value


def _compute(value: Any, where: str, faults: list[str]) -> tuple[int, int]:
    """`8.0`, with or without quotes: no capability has a second digit after the point."""
    found = None if isinstance(value, bool) else re.fullmatch(r"(\d{1,3})\.(\d{1,3})", str(value))
    if found is None:
        _fault(faults, where, value, 'write the compute capability such as "8.0"')
        return 0, 0
    return int(found[1]), int(found[2])


FIELDS: dict[type, dict[str, Parser]] = {
    Holder: {"pid": _whole(0, (1 << 31) - 1), "name": _text, "held_bytes": _or_none(_size(0))},
    Disk: {"path": _text, "total_bytes": _size(0), "free_bytes": _size(0)},
}
FIELDS[Gpu] = {
    "index": _whole(0, 99), "name": _text, "total_bytes": _size(1), "free_bytes": _size(0), "uuid": _text,
    "kind": _kind, "compute": _or_none(_compute), "holders": _several(_record(Holder)), "holders_known": _yes_or_no,
    "reserved_bytes": _size(0),
}
FIELDS[Machine] = {
    "cores": _whole(1, 1 << 16), "total_bytes": _size(1), "free_bytes": _size(0), "limit": _text,
    "gpus": _several(_record(Gpu)), "disk": _or_none(_record(Disk)), "name": _text, "cpu_model": _text,
    "cpu_flags": _several(_text), "notes": _several(_text),
}

MISSING = {
    "cores": "8", "total_bytes": "64GiB", "free_bytes": "48GiB", "limit": "host", "index": "0", "name": "NVIDIA L4",
    "pid": "4711", "path": "/",
}


def _agree(sound: Mapping[str, Any], written: Mapping[str, Any], prefix: str, faults: list[str]) -> None:
    """Values of one record that are each in range and yet cannot hold together. `sound` are those without a fault."""
    total, free = sound.get("total_bytes"), sound.get("free_bytes")
    if total is not None and free is not None:
        reserved = sound.get("reserved_bytes", 0)
        if free > total:
            faults.append(f"{prefix}free_bytes={free}: write at most total_bytes, {total}")
        elif reserved > total - free:
            faults.append(f"{prefix}reserved_bytes={reserved}: write at most total_bytes less free_bytes, "
                          f"{total - free}")
    for number, holder in enumerate(sound.get("holders", ())):
        if total is not None and (holder.held_bytes or 0) > total:
            faults.append(f"{prefix}holders[{number}].held_bytes={holder.held_bytes}: write at most the GPU's "
                          f"total_bytes, {total}")
    gpus = written.get("gpus")
    indexes = [gpu.get("index") for gpu in gpus if isinstance(gpu, dict)] if isinstance(gpus, list) else []
    for place, index in enumerate(indexes):
        if index is not None and index in indexes[:place]:
            faults.append(f"gpus[{place}].index={index}: another GPU has it; give each its own")
