"""nv-ingest's own request classes against our four services. `scripts/contract-vision` runs them in an environment of
their own; elsewhere, where nv-ingest-api is not installed, nothing is collected."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

collect_ignore_glob = [] if importlib.util.find_spec("nv_ingest_api") else ["test_*.py"]


@pytest.fixture(scope="session")
def vision(tmp_path_factory):
    from services import vision_serving

    with vision_serving(tmp_path_factory.mktemp("vision")) as served:
        yield served
