"""Every installed package: is its version the pinned one, and under which licence is it? Prints what is not right."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = "ullage"
UNPINNED = {"pip", "setuptools", "wheel", OURS}
WELCOME = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|Zlib|HPND|CC0|0BSD|Expat|Artistic|"
    r"Public Domain|WTFPL|CNRI|LGPL|Lesser General Public", re.IGNORECASE)
"""Licences of what we depend on and do not change; LGPL and MPL ask for nothing more than that."""

UNWELCOME = re.compile(r"(?<!L)(?<!Lesser )(A?GPL|General Public License)", re.IGNORECASE)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(";")[0].strip().split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonical(name): version for name, version in pairs}


def licence(package: metadata.Distribution) -> str:
    """What its metadata says, the shortest that says something."""
    said = [package.metadata.get("License-Expression") or "",
            *(line.rsplit("::", 1)[-1].strip() for line in package.metadata.get_all("Classifier") or []
              if line.startswith("License ::") and line.rsplit("::", 1)[-1].strip() != "OSI Approved"),
            (package.metadata.get("License") or "").strip().split("\n")[0]]
    return next((text for text in said if text), "")


def faults(packages: list[metadata.Distribution], pins: dict[str, str]) -> list[str]:
    found: list[str] = []
    for package in packages:
        name = canonical(package.metadata["Name"])
        if name in UNPINNED:
            continue
        if name not in pins:
            found.append(f"{name} {package.version} is installed and not pinned: add it to constraints.txt")
        elif pins[name].split("+")[0] != package.version.split("+")[0]:
            found.append(f"{name} {package.version} is installed, {pins[name]} is pinned: install again")
        said = licence(package)
        if UNWELCOME.search(said) and not WELCOME.search(said):
            found.append(f"{name} is under {said}: find another")
        elif not said:
            found.append(f"{name} states no licence: look at it, and say in NO_LICENCE_STATED why it may stay")
    return [fault for fault in found if "no licence" not in fault or fault.split()[0] not in NO_LICENCE_STATED]


NO_LICENCE_STATED: dict[str, str] = {}
"""Packages whose metadata name none, and where it was found instead."""


def main() -> int:
    packages = sorted(metadata.distributions(), key=lambda package: canonical(package.metadata["Name"]))
    wrong = faults(packages, pinned())
    for fault in wrong:
        print(f"error: {fault}", file=sys.stderr)
    print(f"audit: {len(packages)} packages, {len(wrong)} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
