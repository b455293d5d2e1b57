from __future__ import annotations

import pytest
from pydantic import ValidationError

from ullage.errors import ModelNotFound
from ullage.models.card import (
    Card,
    HubFile,
    LocalFile,
    ModelFile,
    PackageFile,
    Role,
    catalog,
    find_card,
    known_cards,
    plain_name,
)

HASH = "0" * 64


def test_the_catalogue_has_a_model_for_every_role() -> None:
    assert {card.role for card in catalog()} == {"ranking", "embedding", "llm", "vision"}
    assert set(catalog()) < set(known_cards())
    names = [(card.role, name.casefold()) for card in known_cards() for name in card.names]
    assert len(names) == len(set(names)), "a name means one model of a role"


@pytest.mark.parametrize("card", known_cards(), ids=lambda card: card.name)
def test_a_card_says_what_it_needs(card: Card) -> None:
    assert card.max_sequence <= card.shape.positions
    assert card.shape.heads % card.shape.kv_heads == 0
    if card.family not in ("qwen3", "decoder"):
        assert card.shape.hidden == card.shape.heads * card.shape.head_dim
    assert card.files or card.hub or card.not_servable or "on no public hub" in card.description
    bare = card.name.rpartition("/")[2].casefold()
    assert bare in [name.casefold() for name in card.names] or card.name.startswith("ullage/")
    if card.family == "llama-bidirectional" and card.role == "ranking" and not card.not_servable:
        assert card.joins_texts
    if card.role == "embedding" and card.dimensions:
        assert card.dimensions == tuple(sorted(card.dimensions))
        assert card.dimensions[-1] == card.shape.hidden


@pytest.mark.parametrize("card", catalog(), ids=lambda card: card.name)
def test_a_bundled_model_lists_its_files(card: Card) -> None:
    if card.role != "vision":
        assert card.revision == card.file("weights").sha256[:12]
    assert not card.not_servable
    if "onnx" in card.backends:
        assert card.file("tokenizer").size > 0


INCIDENT = [
    ("ranking", "nvidia/llama-3.2-nv-rerankqa-1b-v2", "nvidia/llama-nemotron-rerank-1b-v2"),
    ("ranking", "llama-3.2-nv-rerankqa-1b-v2", "nvidia/llama-nemotron-rerank-1b-v2"),
    ("ranking", "llama-3_2-nv-rerankqa-1b-v2", "nvidia/llama-nemotron-rerank-1b-v2"),
    ("ranking", "nvcr.io/nim/nvidia/llama-3.2-nv-rerankqa-1b-v2:1.8.0", "nvidia/llama-nemotron-rerank-1b-v2"),
    ("ranking", "nvcr.io/nim/nvidia/llama-nemotron-rerank-1b-v2:1.10.0@sha256:" + HASH,
     "nvidia/llama-nemotron-rerank-1b-v2"),
    ("ranking", "nvcr.io/nim/nvidia/llama-3.2-nemoretriever-500m-rerank-v2:1.7.0",
     "nvidia/llama-nemotron-rerank-500m-v2"),
    ("ranking", "llama-nemotron-rerank-500m-v2", "nvidia/llama-nemotron-rerank-500m-v2"),
    ("ranking", "nvidia/llama-nemotron-rerank-vl-1b-v2", "nvidia/llama-nemotron-rerank-vl-1b-v2"),
    ("ranking", "cross-encoder/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
    ("ranking", "baai/bge-reranker-v2-M3", "BAAI/bge-reranker-v2-m3"),
    ("embedding", "nvidia/llama-3.2-nv-embedqa-1b-v2", "nvidia/llama-nemotron-embed-1b-v2"),
    ("embedding", "nvcr.io/nim/nvidia/nv-embedqa-e5-v5:1.6.0", "nvidia/nv-embedqa-e5-v5"),
    ("embedding", "nvidia/llama-nemotron-embed-vl-1b-v2", "nvidia/llama-nemotron-embed-vl-1b-v2"),
    ("llm", "nvcr.io/nim/meta/llama-3.1-8b-instruct:latest", "meta/llama-3.1-8b-instruct"),
    ("llm", "nvidia/nemotron-3-super-120b-a12b", "nvidia/nemotron-3-super-120b-a12b"),
]


@pytest.mark.parametrize(("role", "name", "wanted"), INCIDENT)
def test_the_incidents_and_the_blueprints_models_are_known(role: Role, name: str, wanted: str) -> None:
    assert find_card(name, role).name == wanted


@pytest.mark.parametrize(("name", "wanted"), [
    ("nvcr.io/nim/nvidia/x:1.8.0", "nvidia/x"),
    ("nvidia/x:latest", "nvidia/x"),
    ("nvidia/x", "nvidia/x"),
    ("x", "x"),
])
def test_an_image_is_the_model_it_serves(name: str, wanted: str) -> None:
    assert plain_name(name) == wanted


@pytest.mark.parametrize(("role", "name"), [
    ("ranking", "nvidia/llama-nemotron-rerank-vl-1b-v2"), ("embedding", "nvidia/llama-nemotron-embed-vl-1b-v2"),
    ("ranking", "Qwen/Qwen3-Reranker-0.6B"), ("llm", "meta/llama-3.1-8b-instruct"),
])
def test_what_cannot_be_served_names_what_to_do(role: Role, name: str) -> None:
    said = find_card(name, role).not_servable
    assert f"{role}_model" in said
    if role != "llm":
        [other] = [card for card in known_cards() if card.role == role and card.name in said]
        assert not other.not_servable


def test_a_model_is_found_by_any_of_its_names_in_its_role() -> None:
    card = find_card("all-MiniLM-L6-v2", "embedding")
    assert card is find_card("sentence-transformers/all-MiniLM-L6-v2", "embedding")
    with pytest.raises(ModelNotFound, match=r"no ranking model is called 'all-MiniLM-L6-v2' \(embedding knows one\)"):
        find_card("all-MiniLM-L6-v2", "ranking")


def test_a_slip_of_the_pen_is_answered_with_the_near_name() -> None:
    with pytest.raises(ModelNotFound, match=r"did you mean nvidia/llama-nemotron-rerank-1b-v2\? known are"):
        find_card("nvidia/llama-3.2-nv-rerankqa-1b", "ranking")


@pytest.mark.parametrize("role", ["ranking", "embedding", "llm"])
def test_an_unknown_name_is_answered_with_the_known_ones(role: Role) -> None:
    with pytest.raises(ModelNotFound) as caught:
        find_card("gpt-7", role)
    for card in known_cards():
        assert (card.name in str(caught.value)) == (card.role == role)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_listed() -> None:
    with pytest.raises(ModelNotFound, match="lists no tokenizer file"):
        find_card("smollm2-135m-instruct", "llm").file("tokenizer")


@pytest.mark.parametrize(("source", "kind"), [
    ({"package": "p", "version": "1", "path": "a"}, PackageFile),
    ({"repo": "r", "revision": "c0ffee", "path": "a"}, HubFile),
    ({"path": "/a/b"}, LocalFile),
])
def test_a_source_is_told_by_its_fields(source: dict[str, str], kind: type) -> None:
    file = ModelFile.model_validate({"role": "weights", "sha256": HASH, "size": 1, "source": source})
    assert type(file.source) is kind


@pytest.mark.parametrize("change", [{"sha256": "abc"}, {"size": 0}, {"role": "code"}, {"extra": 1}])
def test_a_wrong_entry_is_refused(change: dict[str, object]) -> None:
    entry = {"role": "weights", "sha256": HASH, "size": 1, "source": {"path": "/a"}}
    with pytest.raises(ValidationError):
        ModelFile.model_validate(entry | change)


def test_an_unknown_field_of_a_card_is_refused() -> None:
    card = known_cards()[0].model_dump()
    assert Card.model_validate(card) == known_cards()[0]
    with pytest.raises(ValidationError, match="poolign"):
        Card.model_validate(card | {"poolign": "mean"})
