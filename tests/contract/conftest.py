"""One server of each kind for all clients. `apart` is for clients that cannot share an environment with the product:
`scripts/contract` runs them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from servers import Server, serving

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else litellm looks for a newer one on the network, in vain

collect_ignore = [] if "ULLAGE_PYTHON" in os.environ else ["apart"]


@pytest.fixture(scope="session")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("ranking", tmp_path_factory.mktemp("ranking")) as server:
        yield server


@pytest.fixture(scope="session")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("embedding", tmp_path_factory.mktemp("embedding")) as server:
        yield server


@pytest.fixture(autouse=True)
def collect_what_clients_leave() -> Iterator[None]:
    yield
    gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Clients warn of our model's name, and leave sockets to the collector: theirs, not ours."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("default"))
