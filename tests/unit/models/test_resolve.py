from __future__ import annotations

from pathlib import Path

import pytest

from checkpoints import make_checkpoint
from ullage.errors import ModelNotFound
from ullage.models.card import Role, find_card
from ullage.models.resolve import resolve


def test_a_folder_a_name_an_image_a_revision_and_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    assert resolve(str(folder), "ranking").name == "m"
    monkeypatch.chdir(tmp_path)
    assert resolve("m", "ranking").name == "m", "a folder beside us goes before a name"
    assert resolve("BAAI/bge-reranker-base", "ranking") is find_card("bge-reranker-base", "ranking")
    image = resolve("nvcr.io/nim/nvidia/llama-3.2-nv-rerankqa-1b-v2:1.8.0", "ranking")
    assert image.name == "nvidia/llama-nemotron-rerank-1b-v2"
    pinned = resolve("bge-reranker-base@refs/pr/4", "ranking")
    assert pinned.hub is not None
    assert (pinned.name, pinned.hub.revision) == ("BAAI/bge-reranker-base", "refs/pr/4")
    assert resolve("8b-q4_k_m", "llm").stated_parameters == 8_000_000_000
    assert resolve("meta/llama-3.1-8b-instruct-q6_k", "llm").precision == "q6_k"


@pytest.mark.parametrize(("name", "role", "said"), [
    ("8b-q4_k_m", "ranking", "no ranking model is called '8b-q4_k_m'"),
    ("bge-reranker-base@../../etc", "ranking", "'../../etc' is no revision of"),
    ("all-MiniLM-L6-v2@main", "embedding", "comes from no hub repository: it has no revision 'main'"),
    ("./nothing", "ranking", "nothing is not a folder"),
    ("~/surely/not/here.gguf", "llm", "no GGUF file at"),
])
def test_what_is_nothing(name: str, role: Role, said: str) -> None:
    with pytest.raises(ModelNotFound, match=said) as caught:
        resolve(name, role)
    assert "\n" not in str(caught.value)
