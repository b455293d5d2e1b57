"""What a database can do, and what is said of one that is away."""

import pytest

from ullage.errors import DependencyDown
from ullage.store import VectorStore
from ullage.store.milvus import Abilities


@pytest.mark.parametrize(
    ("version", "lite", "sparse"),
    [("milvus_lite-3.2.2", True, True), ("v2.3.5-lite", False, False), ("v2.4.0", False, True),
     ("2.6.5-gpu", False, True), ("master-2026", False, True), ("v3.0", False, True)],
)
def test_what_a_version_can_do(version: str, lite: bool, sparse: bool) -> None:
    assert Abilities.of(version) == Abilities(version, lite=lite, sparse=sparse)


def test_an_unreachable_server_is_named() -> None:
    store = VectorStore("http://127.0.0.1:9", timeout_s=1)
    with pytest.raises(DependencyDown, match=r"vector database at http://127\.0\.0\.1:9 does not answer"):
        store.ping()
