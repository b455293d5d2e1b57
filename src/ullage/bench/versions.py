"""What a report says of the software it was made with."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from ullage.version import __version__


def versions(*packages: str) -> dict[str, str]:
    """Ours, Python's and those of `packages`; `absent` where one is not installed."""
    return {"ullage": __version__, "python": platform.python_version(), **{name: _of(name) for name in packages}}


def in_words(named: Mapping[str, str]) -> str:
    """`name version` of each, on one line."""
    return ", ".join(f"{name} {value}" for name, value in named.items())


def _of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
