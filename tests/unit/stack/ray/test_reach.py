"""URLs of this machine alone are no use to workers on others."""

from __future__ import annotations

import pytest

from ullage.errors import SettingsError
from ullage.settings import Settings
from ullage.stack.ray.cluster import Cluster
from ullage.stack.ray.reach import check_reach

ONE, THREE = (Cluster(False, nodes=4, cpus=8, gpus=0, memory_bytes=0, machines=count) for count in (1, 3))


def test_several_nodes_of_one_machine_reach_its_loopback() -> None:
    check_reach(ONE, Settings())


@pytest.mark.parametrize(("given", "name"), [
    ({}, "embedding_url"),
    ({"embedding_url": "http://models:8001"}, "vectors_uri"),
    ({"embedding_url": "http://models:8001", "vectors_uri": "http://localhost:19530"}, "vectors_uri"),
])
def test_several_machines_need_urls_that_all_reach(given: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is http.*only this machine of 3"):
        check_reach(THREE, Settings.model_validate(given))


def test_urls_of_other_machines_will_do() -> None:
    check_reach(THREE, Settings(embedding_url="http://models:8001", vectors_uri="http://milvus:19530"))
