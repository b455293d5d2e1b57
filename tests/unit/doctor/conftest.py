"""The catalog, and the fixtures in tests/doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from ullage.doctor.catalog import Catalog, catalog


@pytest.fixture(scope="session")
def known() -> Catalog:
    return catalog()


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return Path(__file__).parents[2] / "doctor"
