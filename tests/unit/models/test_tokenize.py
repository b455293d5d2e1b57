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
from families import BOS, make_bpe
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
    assert tokens.offsets[1:4].tolist() == [[0, 3], [4, 8], [8, 11]]
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


TEMPLATE = "question:{query} \n \n passage:{passage}"


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    """Ours with the template, and the plain one."""
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    make_bpe().save(str(path))
    return Tokenizer(path, TEMPLATE), tokenizers.Tokenizer.from_file(str(path))


Bpe = tuple[Tokenizer, tokenizers.Tokenizer]
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40) | st.sampled_from([
    "the ferry leaves: noon", " leading and trailing ", "\n", ":", "question:{query}", "{passage}",
    "naïve café 北京 🚢", "passage:the pump \n \n passage:", BOS,
])


@given(query=TEXTS, passages=st.lists(TEXTS, min_size=1, max_size=4))
def test_one_text_is_encoded_exactly_as_the_whole(bpe: Bpe, query: str, passages: list[str]) -> None:
    ours, plain = bpe
    found = ours.encode_pairs(query, passages)
    wholes = [f"question:{query} \n \n passage:{passage}" for passage in passages]
    assert [tokens.ids.tolist() for tokens in found] == [plain.encode(whole).ids for whole in wholes]
    assert all(tokens.ids[0] == plain.token_to_id(BOS) for tokens in found)
    assert all(not tokens.types.any() for tokens in found)


@given(query=TEXTS, passage=TEXTS, limit=st.integers(1, 80))
def test_cutting_one_text_takes_the_end_of_the_passage_alone(bpe: Bpe, query: str, passage: str, limit: int) -> None:
    ours, _ = bpe
    [whole] = ours.encode_pairs(query, [passage], offsets=True)
    cut = whole.cut_to(limit)
    body = int((whole.segment == 1).sum())
    kept = len(whole) - cut.cut
    assert len(cut) == kept == max(min(len(whole), limit), len(whole) - body)
    assert cut.ids.tolist() == whole.ids[:kept].tolist(), "what is left is the whole's beginning: nothing stands behind"
    starts = len(f"question:{query} \n \n passage:")
    assert all(whole.offsets[place][0] >= starts for place in range(kept, len(whole)))
    assert cut.segment[cut.segment < 1].tolist() == whole.segment[whole.segment < 1].tolist()


def test_the_parts_of_one_text(bpe: Bpe) -> None:
    ours, _ = bpe
    [tokens] = ours.encode_pairs("the pump", ["and the valve"], offsets=True)
    text = "question:the pump \n \n passage:and the valve"
    parts = {part: "".join(text[slice(*tokens.offsets[i])] for i in np.flatnonzero(tokens.segment == part))
             for part in (0, 1)}
    assert parts[0].replace(" ", "") in ("thepump", "pump"), "a token across the seam belongs to the template"
    assert parts[1].replace(" ", "") in ("andthevalve", "thevalve")
    assert tokens.segment[0] == -1
    assert tokens.last == 1


def test_text_in_the_form_of_the_template_stays_text(bpe: Bpe) -> None:
    ours, plain = bpe
    [tokens] = ours.encode_pairs("{passage}", ["{query}"])
    assert tokens.ids.tolist() == plain.encode("question:{passage} \n \n passage:{query}").ids


def test_what_stands_behind_the_passage_is_kept(tmp_path: Path) -> None:
    make_bpe().save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer(tmp_path / "tokenizer.json", "q {query}\np {passage}\nanswer")
    [whole] = ours.encode_pairs("the pump", ["a valve and a ferry leaves later"])
    cut = whole.cut_to(int((whole.segment != 1).sum()) + 2)
    assert cut.cut == int((whole.segment == 1).sum()) - 2
    behind = whole.ids[np.flatnonzero(whole.segment == 1)[-1] + 1 :]
    assert cut.ids[-len(behind) :].tolist() == behind.tolist()


@pytest.mark.parametrize("template", ["{passage}", "{query}", "{passage} {query}", "{query} {query} {passage}",
                                      "{query} {passage} {passage}", "no places"])
def test_a_template_without_its_two_places(tmp_path: Path, template: str) -> None:
    make_bpe().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelCorrupt, match=r"is not one \{query\} followed by one \{passage\}"):
        Tokenizer(tmp_path / "tokenizer.json", template)


def test_the_card_says_how_pairs_are_laid_out(bpe: Bpe, tmp_path: Path) -> None:
    make_bpe().save(str(tmp_path / "tokenizer.json"))
    joined = Tokenizer.of(find_card("nvidia/llama-nemotron-rerank-1b-v2", "ranking"), tmp_path / "tokenizer.json")
    assert joined.encode_pairs("the", ["pump"])[0].ids.tolist() == bpe[0].encode_pairs("the", ["pump"])[0].ids.tolist()
    pairs = Tokenizer.of(find_card("BAAI/bge-reranker-base", "ranking"), tmp_path / "tokenizer.json")
    assert (pairs.encode_pairs("the", ["pump"])[0].segment == 1).any()
    assert len(pairs.encode_pairs("the", ["pump"])[0]) < len(joined.encode_pairs("the", ["pump"])[0])
    embedder = Tokenizer.of(find_card("nvidia/llama-nemotron-embed-1b-v2", "embedding"), tmp_path / "tokenizer.json")
    assert embedder.encode(["the pump"])[0].ids.tolist() == pairs.encode(["the pump"])[0].ids.tolist()


@given(text=TEXTS, limit=st.integers(1, 40))
def test_a_prefix_is_never_cut(bpe: Bpe, text: str, limit: int) -> None:
    ours, plain = bpe
    [whole] = ours.encode([text], prefix="query: ")
    assert whole.ids.tolist() == plain.encode("query: " + text).ids
    for keep in ("start", "end"):
        cut = whole.cut_to(limit, keep)  # type: ignore[arg-type]
        prefix = whole.segment == -1
        assert cut.ids[cut.segment == -1].tolist() == whole.ids[prefix].tolist()
        assert len(cut) == max(min(limit, len(whole)), int(prefix.sum()))
    [bare] = ours.encode([text])
    assert bare.ids.tolist() == plain.encode(text).ids
