"""Cutting takes from the last text only; specials and the query always stay."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import Family, make_tokenizer
from ullage.errors import ModelCorrupt
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.models.tokenize import Tokenizer


def saved(folder: Path, family: Family, **switches: int) -> Tokenizer:
    made = make_tokenizer(family)
    if switches:
        made.enable_padding(length=switches["padding"])
        made.enable_truncation(switches["truncation"])
    made.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return saved(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return saved(tmp_path_factory.mktemp("roberta"), "roberta")


def test_a_lone_text_has_specials_and_offsets(bert: Tokenizer) -> None:
    [tokens] = bert.encode(["The pumping"])
    assert tokens.segment.tolist() == [-1, 0, 0, 0, -1]
    assert tokens.special.tolist() == [True, False, False, False, True]
    assert tokens.types.tolist() == [0] * 5
    assert tokens.offsets[1:4] == ((0, 3), (4, 8), (8, 11))
    assert (tokens.ids.dtype, tokens.cut, len(tokens)) == (np.dtype(np.int32), 0, 5)
    assert bert.count("The pumping") == 3
    assert bert.offsets("The pumping") == [(0, 3), (4, 8), (8, 11)]


def test_a_pair_is_laid_out_as_the_model_wants_it(bert: Tokenizer, roberta: Tokenizer) -> None:
    [pair] = bert.encode_pairs("the", ["pump er"])
    assert pair.segment.tolist() == [-1, 0, -1, 1, 1, 1, -1]
    assert pair.types.tolist() == [0, 0, 0, 1, 1, 1, 1]
    [pair] = roberta.encode_pairs("the", ["pump er"])
    assert pair.segment.tolist() == [-1, 0, -1, -1, 1, 1, 1, -1]
    assert pair.types.tolist() == [0] * 8


def test_padding_and_truncation_in_the_file_are_switched_off(tmp_path: Path) -> None:
    tokenizer = saved(tmp_path, "bert", padding=40, truncation=6)
    short, long = tokenizer.encode(["the", "the " * 50])
    assert (len(short), len(long)) == (3, 52)


@pytest.mark.parametrize("keep", ["start", "end"])
def test_only_the_passage_is_cut(bert: Tokenizer, keep: Literal["start", "end"]) -> None:
    [whole] = bert.encode_pairs("the pump", ["a b c d e f g h"])
    cut = whole.cut_to(8, keep)
    assert (len(cut), cut.cut) == (8, 5)
    assert cut.segment.tolist() == [-1, 0, 0, -1, 1, 1, 1, -1]
    assert cut.types.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    kept = whole.ids[whole.segment == 1]
    assert cut.ids[cut.segment == 1].tolist() == (kept[:3] if keep == "start" else kept[-3:]).tolist()
    assert len(cut.offsets) == 8
    assert cut.cut_to(7, keep).cut == 6, "cuts add up"


def test_what_fits_is_left_as_it_is(bert: Tokenizer) -> None:
    [whole] = bert.encode_pairs("the", ["a b"])
    assert whole.cut_to(len(whole)) is whole


def test_a_limit_that_leaves_the_passage_nothing_keeps_query_and_specials(bert: Tokenizer) -> None:
    [whole] = bert.encode_pairs("the pump", ["a b c"])
    for limit in (5, 4, 1):
        cut = whole.cut_to(limit)
        assert cut.segment.tolist() == [-1, 0, 0, -1, -1]
        assert cut.cut == 3


def test_an_empty_passage_does_not_cost_the_query(bert: Tokenizer) -> None:
    [whole] = bert.encode_pairs("the pump valve", [""])
    assert whole.cut_to(3).segment.tolist() == [-1, 0, 0, 0, -1, -1]


@given(query=st.text("abc xyz", min_size=1, max_size=20), passage=st.text(max_size=60), limit=st.integers(1, 60))
def test_cutting_never_touches_query_or_specials(
    bert: Tokenizer, query: str, passage: str, limit: int
) -> None:
    [whole] = bert.encode_pairs(query, [passage])
    cut = whole.cut_to(limit)
    stays = whole.segment < 1
    assert cut.ids[cut.segment < 1].tolist() == whole.ids[stays].tolist()
    assert len(cut) == min(len(whole), max(limit, int(stays.sum())))
    assert len(cut) + cut.cut == len(whole)
    assert len(cut.ids) == len(cut.types) == len(cut.segment) == len(cut.offsets)


def test_the_bundled_tokenizer(model_cache: Path) -> None:
    path = locate(find_card("all-MiniLM-L6-v2", "embedding"), model_cache)["tokenizer"]
    tokenizer = Tokenizer(path)
    [tokens] = tokenizer.encode(["The ferry leaves at noon."])
    pieces = [tokenizers.Tokenizer.from_file(str(path)).id_to_token(int(i)) for i in tokens.ids]
    assert pieces == ["[CLS]", "the", "ferry", "leaves", "at", "noon", ".", "[SEP]"]
    [long] = tokenizer.encode(["noon " * 600])
    assert len(long) == 602, "the file's own limit must not cut in silence"


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"version": "1.0"}'])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ModelCorrupt, match="is not a tokenizer file") as caught:
        Tokenizer(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelCorrupt):
        Tokenizer(tmp_path / "missing.json")
