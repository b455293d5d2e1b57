from __future__ import annotations

import pytest
from pydantic import ValidationError

from ullage.errors import ModelNotFound
from ullage.models.card import Card, HubFile, LocalFile, ModelFile, PackageFile, Role, catalog, find_card

HASH = "0" * 64


def test_the_catalogue_has_a_model_for_every_role() -> None:
    assert {card.role for card in catalog()} == {"ranking", "embedding", "llm"}
    names = [(card.role, name) for card in catalog() for name in card.names]
    assert len(names) == len(set(names)), "a name means one model of a role"


@pytest.mark.parametrize("card", catalog(), ids=lambda card: card.name)
def test_a_card_says_what_it_needs(card: Card) -> None:
    assert card.revision == card.file("weights").sha256[:12]
    assert card.max_sequence <= card.shape.positions
    assert card.shape.hidden == card.shape.heads * card.shape.head_dim
    assert card.shape.heads % card.shape.kv_heads == 0
    if "onnx" in card.backends:
        assert card.file("tokenizer").size > 0


def test_a_model_is_found_by_any_of_its_names_in_its_role() -> None:
    card = find_card("all-MiniLM-L6-v2", "embedding")
    assert card is find_card("sentence-transformers/all-MiniLM-L6-v2", "embedding")
    with pytest.raises(ModelNotFound, match=r"no ranking model is called 'all-MiniLM-L6-v2'.*known are ullage/"):
        find_card("all-MiniLM-L6-v2", "ranking")


@pytest.mark.parametrize("role", ["ranking", "embedding", "llm"])
def test_an_unknown_name_is_answered_with_the_known_ones(role: Role) -> None:
    with pytest.raises(ModelNotFound) as caught:
        find_card("gpt-7", role)
    for card in catalog():
        assert (card.name in str(caught.value)) == (card.role == role)


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
    card = catalog()[0].model_dump()
    assert Card.model_validate(card) == catalog()[0]
    with pytest.raises(ValidationError, match="poolign"):
        Card.model_validate(card | {"poolign": "mean"})
