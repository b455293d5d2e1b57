import gzip
import math
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from itertools import pairwise

import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from ullage.models import lexical
from ullage.models.lexical import IdfTable, Word, analyze, idf_table, read_idf_table, words


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The pumps were running", ["pump", "run"]),
        ("Who is it?", []),
        ("", []),
        (" \n.,;-/_", []),
        ("4.2 bar", ["4.2", "bar"]),
        ("v1.15 and 10.0.0.1.", ["v1.15", "10.0.0.1"]),
        ("12,500 or 1,234,567 litres", ["12500", "1234567", "litr"]),
        ("1,2,3 12,5000", ["1", "2", "3", "12", "5000"]),
        ("P-101", ["p-101", "101"]),
        ("A-7", ["a-7"]),
        ("2024-05-03", ["2024-05-03", "2024", "05", "03"]),
        ("4.2/4.8", ["4.2/4.8", "4.2", "4.8"]),
        ("boundary-layer flow", ["boundari", "layer", "flow"]),
        ("and/or", []),
        ("NIM_DISABLE_TRT", ["nim_disable_trt", "nim", "disabl", "trt"]),
        ("__init__", ["init"]),
        ("Fig.2 the end.The rest", ["fig", "2", "end", "rest"]),
        ("O'Brien's pumps' don’t", ["o'brien", "pump"]),
        ("ﬁnding soft\u00adware", ["find", "softwar"]),
        ("日本語 Größe", ["日本語", "größe"]),
    ],
)
def test_terms_of_a_text(text: str, terms: list[str]) -> None:
    assert analyze(text) == terms


def test_repeats_are_kept_in_order() -> None:
    assert analyze("pump valve pump") == ["pump", "valv", "pump"]


@given(st.text())
def test_any_text_gives_the_same_short_terms_twice(text: str) -> None:
    lexical._terms_by_word.clear()
    first = analyze(text)
    assert analyze(text) == first
    assert [text[word.start : word.end] for word in words(text)] == lexical._PARTS.findall(text)
    assert all(0 < len(term) <= lexical.LONGEST_TERM and not term.isspace() for term in first)


@given(st.text(alphabet="ab1 .,-/_'", max_size=40), st.text(alphabet="ab1 .,-/_'", max_size=40))
def test_lines_are_analyzed_apart(left: str, right: str) -> None:
    assert analyze(left + "\n" + right) == analyze(left) + analyze(right)


@given(st.text(alphabet="xyz1 .,-/_'ßé", max_size=60))
def test_words_say_where_their_terms_stand(text: str) -> None:
    found = list(words(text))
    assert all(0 <= a.start < a.end <= b.start < b.end for a, b in pairwise(found))
    for word in found:
        alone = analyze(text[word.start : word.end])
        assert alone == ([] if word.term is None else [word.term])


def test_words_part_what_is_joined() -> None:
    assert list(words("The P-101")) == [Word(0, 3, None), Word(4, 5, "p"), Word(6, 9, "101")]


def test_long_words_are_cut_and_not_remembered() -> None:
    lexical._terms_by_word.clear()
    assert analyze("x" * 1000) == ["x" * lexical.LONGEST_TERM]
    assert analyze("1-" * 100 + "23") == ["23"]
    assert not lexical._terms_by_word


def test_the_memory_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "CACHED_WORDS", 10)
    lexical._terms_by_word.clear()
    for number in range(95):
        assert analyze(f"word{number}") == [f"word{number}"]
        assert len(lexical._terms_by_word) <= 10


def test_threads_agree_with_one_stemmer_each() -> None:
    stemmer = Stemmer.Stemmer("english")
    tokens = [f"running{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}ations" for i in range(676)]
    expected = stemmer.stemWords(tokens)

    def analyzed(_: int) -> list[str]:
        lexical._terms_by_word.clear()
        return analyze(" ".join(tokens))

    with ThreadPoolExecutor(8) as pool:
        assert all(result == expected for result in pool.map(analyzed, range(32)))


def test_idf_is_the_formula_of_bm25() -> None:
    table = IdfTable({"rare": 1, "common": 90}, passages=100)
    assert table.idf("rare") == pytest.approx(math.log(1 + 99.5 / 1.5))
    assert table.idf("common") == pytest.approx(math.log(1 + 10.5 / 90.5))
    assert table.idf("absent") == pytest.approx(math.log(1 + 100.5 / 0.5))
    assert "rare" in table
    assert "absent" not in table


def test_a_table_is_read_from_lines_of_equal_df() -> None:
    table = read_idf_table(gzip.compress(b"# a comment\n# passages: 10\n7\tpump\n2\tvalv wing\n"))
    assert (len(table), table.passages) == (3, 10)
    assert table.idf("wing") == table.idf("valv") == pytest.approx(math.log(1 + 8.5 / 2.5))
    assert table.idf("pump") < table.idf("wing")


@pytest.mark.parametrize("lines", [b"7\tpump\n", b"# passages: 10\npump\n", b"# passages: 10\nmany\tpump\n"])
def test_a_broken_table_is_refused(lines: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_idf_table(gzip.compress(lines))


def test_the_packaged_table_knows_english() -> None:
    table = idf_table()
    assert idf_table() is table
    assert table.passages >= 100_000
    assert len(table) >= 40_000
    rising = [table.idf(term) for (term,) in map(analyze, ("use", "water", "valve", "aorta", "qwxzvk"))]
    assert rising == sorted(rising)
    assert rising[0] < rising[1] < rising[2] < rising[3] < rising[4] == table.unknown_idf


def test_the_packaged_file_is_small_and_bears_no_date() -> None:
    content = resources.files("ullage.models").joinpath("data", lexical.IDF_FILE).read_bytes()
    assert len(content) <= 250_000
    assert content[4:8] == b"\0\0\0\0"


def test_every_packaged_term_is_one_analyze_can_give() -> None:
    table = idf_table()
    terms = [term for term in table._idf if term.isalpha()]
    assert not lexical.STOP_WORDS.intersection(term for term in terms if analyze(term) == [term])
    assert all(len(analyze(term)) <= 1 for term in terms)
