"""The list of dependencies: what the audit finds, and that it finds nothing here."""

from __future__ import annotations

import runpy
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "audit.py"))


class Package:
    def __init__(self, name, version, licence):
        self.version = version
        self.metadata = Message()
        self.metadata["Name"] = name
        if licence:
            self.metadata["License-Expression"] = licence


@pytest.mark.parametrize(("package", "fault"), [
    (Package("new-thing", "1.0", "MIT"), "not pinned"),
    (Package("Old_Thing", "2.0", "MIT"), "1.0 is pinned"),
    (Package("old-thing", "1.0", "GPL-3.0-only"), "under GPL-3.0-only"),
    (Package("old-thing", "1.0", "AGPL-3.0"), "under AGPL-3.0"),
    (Package("old-thing", "1.0", ""), "states no licence"),
])
def test_what_is_not_right_is_named(package, fault):
    [said] = AUDIT["faults"]([package], {"old-thing": "1.0"})
    assert fault in said


@pytest.mark.parametrize("licence", ["MIT", "LGPL-2.1-or-later", "MPL-2.0", "GPL-2.0 OR MIT"])
def test_what_is_welcome_is_not(licence):
    assert AUDIT["faults"]([Package("old-thing", "1.0", licence)], {"old-thing": "1.0"}) == []


def test_a_name_is_the_same_however_it_is_written():
    assert AUDIT["canonical"]("Importlib_Resources") == "importlib-resources"
    assert "importlib-resources" in AUDIT["pinned"]()


def test_what_is_installed_here_is_pinned_and_licensed():
    packages = list(metadata.distributions())
    assert len(packages) > 100
    assert AUDIT["faults"](packages, AUDIT["pinned"]()) == []
