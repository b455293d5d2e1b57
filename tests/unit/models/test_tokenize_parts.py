"""Parts of a sequence are found without asking the library about every token: here they are told token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from checkpoints import make_tokenizer
from families import BOS, make_bpe
from ullage.errors import TooLong
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.models.tokenize import Tokenizer, Tokens
from ullage.serve.ranking.fit import Truncate, fit

TEMPLATE = "question:{query} \n \n passage:{passage}"
BEHIND = "q {query}\np {passage}\nanswer"
PREFIX = "passage: "
Spans = Mapping[int, tuple[int, int]]


def make_unigram() -> tokenizers.Tokenizer:
    """A SentencePiece look-alike, as XLM-R and T5 have it: word marks, and a special token behind every text."""
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    lines = ["question: the pump and the valve", "passage: The ferry leaves at noon", "naïve café 北京"]
    made.train_from_iterator(lines * 4, trainers.UnigramTrainer(
        vocab_size=80, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False))
    made.post_processor = processors.TemplateProcessing(
        single="$A:1 </s>:0", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", made.token_to_id("</s>"))])
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> dict[str, Path]:
    """One tokenizer of every sort, and those of the bundled models."""
    folder = tmp_path_factory.mktemp("tokenizers")
    found = {"minilm": locate(find_card("all-MiniLM-L6-v2", "embedding"), model_cache)["tokenizer"],
             "fusion": locate(find_card("ullage/minilm-fusion-ranker", "ranking"), model_cache)["tokenizer"]}
    made = {"bert": make_tokenizer("bert"), "roberta": make_tokenizer("roberta"), "bpe": make_bpe(),
            "unigram": make_unigram()}
    for name, each in made.items():
        found[name] = folder / f"{name}.json"
        each.save(str(found[name]))
    return found


NAMES = ("minilm", "fusion", "bert", "roberta", "bpe", "unigram")
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30) | st.sampled_from([
    "the ferry leaves: noon", " leading and trailing ", "\n", "", "   ", ":", "{passage}", "naïve café 北京 🚢",
    "ﬁ Å ½", "passage:the pump \n \n passage:", BOS, "[CLS] the [SEP]", "</s> the pump", "the valve " * 12,
])


def told(encoding: tokenizers.Encoding, spans: Spans | None) -> tuple[list[int], ...]:
    """Ids, types and segments, token by token; with `spans` the segments of one text's parts."""
    added = encoding.special_tokens_mask
    if spans is None:
        segment = [-1 if s is None or a else s for s, a in zip(encoding.sequence_ids, added, strict=True)]
    else:
        segment = [-1] * len(added)
        for part, (start, end) in spans.items():
            for place, (begin, stop) in enumerate(encoding.offsets):
                if begin >= start and stop <= end and end > start and not added[place]:
                    segment[place] = part
    return encoding.ids, encoding.type_ids, segment


def same(found: Sequence[Tokens], wanted: Sequence[tuple[list[int], ...]], last: int) -> None:
    assert [(t.ids.tolist(), t.types.tolist(), t.segment.tolist()) for t in found] == list(wanted)
    assert all((t.ids.dtype, t.types.dtype, t.segment.dtype) == (np.int32, np.int32, np.int8) for t in found)
    assert all((t.last, t.cut) == (last, 0) for t in found)


def plain(path: Path) -> tokenizers.Tokenizer:
    found = tokenizers.Tokenizer.from_file(str(path))
    found.no_padding()
    found.no_truncation()
    return found


def span(before: str, text: str) -> tuple[int, int]:
    return len(before), len(before) + len(text)


@pytest.mark.parametrize("name", NAMES)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_lone_texts(files: dict[str, Path], name: str, texts: list[str]) -> None:
    library, ours = plain(files[name]), Tokenizer(files[name])
    wanted = [told(library.encode(text), None) for text in texts]
    same(ours.encode(texts, offsets=False), wanted, last=0)
    placed = ours.encode(texts)
    same(placed, wanted, last=0)
    assert [t.spans for t in placed] == [library.encode(text).offsets for text in texts]
    prefixed = [told(library.encode(PREFIX + text), {0: span(PREFIX, text)}) for text in texts]
    same(ours.encode(texts, PREFIX, offsets=False), prefixed, last=0)


@pytest.mark.parametrize("name", NAMES)
@given(query=TEXTS, passages=st.lists(TEXTS, min_size=1, max_size=5))
def test_pairs(files: dict[str, Path], name: str, query: str, passages: list[str]) -> None:
    library, ours = plain(files[name]), Tokenizer(files[name])
    wanted = [told(library.encode(query, passage), None) for passage in passages]
    same(ours.encode_pairs(query, passages), wanted, last=1)


@pytest.mark.parametrize("template", [TEMPLATE, BEHIND])
@pytest.mark.parametrize("name", ["bpe", "unigram", "bert"])
@given(query=TEXTS, passages=st.lists(TEXTS, min_size=1, max_size=5))
def test_pairs_in_one_text(files: dict[str, Path], name: str, template: str, query: str, passages: list[str]) -> None:
    library, ours = plain(files[name]), Tokenizer(files[name], template)
    before, rest = template.split("{query}")
    between, after = rest.split("{passage}")
    head = before + query + between
    wanted = [told(library.encode(head + passage + after), {0: span(before, query), 1: span(head, passage)})
              for passage in passages]
    same(ours.encode_pairs(query, passages), wanted, last=1)


@pytest.mark.parametrize("truncate", ["NONE", "END", "WINDOW"])
@pytest.mark.parametrize(("name", "template"), [("bpe", TEMPLATE), ("unigram", BEHIND), ("bert", ""), ("fusion", "")])
@given(query=TEXTS, passages=st.lists(TEXTS, min_size=1, max_size=4), limit=st.integers(8, 90))
def test_rows_are_cut_alike_with_and_without_offsets(
    files: dict[str, Path], name: str, template: str, truncate: Truncate, query: str, passages: list[str], limit: int
) -> None:
    """And as by segments told token by token, which the tests above compare."""
    ours = Tokenizer(files[name], template)

    def fitted(offsets: bool) -> object:
        alone, *encoded = ours.encode_pairs(query, ["", *passages], offsets=offsets)
        try:
            found = fit(alone, encoded, limit, truncate)
        except TooLong as error:
            return error.message
        return [(each.cut, each.tokens, [(row.ids.tolist(), row.types.tolist(), row.segment.tolist(), row.cut)
                                         for row in each.rows]) for each in found]

    assert fitted(offsets=True) == fitted(offsets=False)


def test_a_call_larger_than_a_piece_is_as_its_texts_alone(files: dict[str, Path]) -> None:
    ours = Tokenizer(files["bpe"], TEMPLATE)
    passages = ["", "the pump " * 9000, "noon", "the valve " * 5000, "", "later"]
    together = ours.encode_pairs("the ferry", passages)
    for passage, found in zip(passages, together, strict=True):
        [alone] = ours.encode_pairs("the ferry", [passage])
        assert found.ids.tolist() == alone.ids.tolist()
        assert found.segment.tolist() == alone.segment.tolist()
    assert not together[1].offsets.any()
    [placed] = ours.encode_pairs("the ferry", ["noon"], offsets=True)
    assert placed.spans[-1][1] == len("question:the ferry \n \n passage:noon")
