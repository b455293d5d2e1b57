from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.errors import ModelNotFound
from ullage.models.card import find_card
from ullage.models.shape import parameters, stored_bytes
from ullage.models.sizes import LLAMAS, card_by_size, estimated_shape, quantised_card


@given(st.integers(LLAMAS[0][0], LLAMAS[-1][0]))
def test_an_estimate_has_the_weights_that_were_asked_for(count: int) -> None:
    shape = estimated_shape(count)
    assert parameters("decoder", shape, classifier=True).total == pytest.approx(count, rel=0.01)
    assert shape.hidden % 64 == 0
    assert min(shape.layers, shape.heads, shape.kv_heads, shape.head_dim, shape.ffn) >= 1


@pytest.mark.parametrize(("count", "published"), LLAMAS)
def test_at_a_published_size_the_published_shape_comes_out(count: int, published: object) -> None:
    found = estimated_shape(count).model_dump()
    wanted = published.model_dump()  # type: ignore[attr-defined]
    assert found.pop("ffn") == pytest.approx(wanted.pop("ffn"), rel=0.02)
    same = ("hidden", "layers", "heads", "kv_heads")
    assert [found[name] for name in same] == [wanted[name] for name in same]


@pytest.mark.parametrize(("text", "count", "precision"), [
    ("8b-q4_k_m", 8_000_000_000, "q4_k_m"), ("1.5B-Q8_0", 1_500_000_000, "q8_0"), ("360m-fp16", 360_000_000, "fp16"),
    ("70b-q4_0", 70_000_000_000, "q4_0"),
])
def test_a_size_is_a_card_to_plan_with(text: str, count: int, precision: str) -> None:
    card = card_by_size(text)
    assert card is not None
    assert (card.role, card.precision, card.parameters.total) == ("llm", precision, count)
    assert card.weights_bytes == stored_bytes(count, card.precision)
    assert "GGUF file" in card.not_servable
    assert "estimated" in card.description


@pytest.mark.parametrize("text", ["meta/llama-3.1-8b-instruct", "8b", "q4_k_m", "", "b-q4_0", "8g-q4_0"])
def test_other_names_are_no_size(text: str) -> None:
    assert card_by_size(text) is None


def test_a_size_or_quantisation_that_is_none() -> None:
    for text in ("1m-q4_0", "900b-q4_0"):
        with pytest.raises(ModelNotFound, match="is no size we can plan for: from 135m to 405b"):
            card_by_size(text)
    with pytest.raises(ModelNotFound, match="8b-q9_x names no quantisation we know: known are fp32"):
        card_by_size("8b-q9_x")


def test_a_bundled_llm_in_another_quantisation() -> None:
    card = quantised_card("meta/llama-3.1-8b-instruct-Q8_0")
    assert card is not None
    assert (card.name, card.precision) == ("meta/llama-3.1-8b-instruct-q8_0", "q8_0")
    assert card.weights_bytes > find_card("meta/llama-3.1-8b-instruct", "llm").weights_bytes * 1.7
    assert quantised_card("meta/llama-3.1-8b-instruct") is None
    assert quantised_card("smollm2-135m-instruct-q8_0") is None, "its file is what it is"
    assert quantised_card("nobody/nothing-q8_0") is None
