"""A passage as it is weighed, before there is a question."""

from ullage.rag import reading as module
from ullage.rag.passage import Passage
from ullage.rag.reading import LONGEST_KEPT, reading

TABLE = Passage(
    "Sites > 4 Tugs\nThe tug lies at Dunlin. It tows ships. Table 4.2: Power of tugs\n| Tug | Power |\n|---|---|\n"
    "| Ostrey | 900 kW |\n| Brannoch | 120 kW |\n\nEvery tug has a crew.", "tugs.md", headings=("Sites", "4 Tugs"))


def test_each_sentence_has_its_own_terms_and_a_row_those_of_its_tables_head_apart():
    read = reading(TABLE)
    assert len(read.units) == len(read.texts) == len(read.spoken) == len(read.terms) == len(read.own) == len(read.heads)
    row = next(at for at, unit in enumerate(read.units) if unit.kind == "row")
    assert read.texts[row] == "| Ostrey | 900 kW |"
    assert read.spoken[row] == "Tug: Ostrey; Power: 900 kW"
    assert read.own[row] == {"ostrey", "900", "kw"}
    assert read.heads[row] == {"tug", "power"}
    assert read.above == {"site", "4", "tug"}
    assert read.terms[0] == read.own[0] == {"tug", "lie", "dunlin"}
    assert read.heads[0] == frozenset()


def test_around_a_sentence_stand_all_others_and_around_a_row_no_rows():
    read = reading(TABLE)
    rows = [at for at, unit in enumerate(read.units) if unit.kind == "row"]
    first, last = read.around(0), read.around(len(read.units) - 1)
    assert (first.before, first.previous) == ("", "")
    assert "Ostrey" in first.after
    assert "Brannoch" in last.before
    assert last.after == ""
    assert last.headings == ("Sites", "4 Tugs")
    between = read.around(rows[1])
    assert "Ostrey" not in between.before
    assert between.header == "Tug Power"
    assert between.previous == "Table 4.2: Power of tugs"
    assert between.after == "Every tug has a crew."


def test_a_reading_is_kept_unless_the_passage_is_long():
    module._kept.cache_clear()
    assert reading(TABLE) is reading(TABLE)
    assert module._kept.cache_info().currsize == 1
    other = Passage(TABLE.text, "other.md", headings=("Elsewhere",))
    assert reading(other).above == {"elsewher"}
    long = Passage("It rains. " * (LONGEST_KEPT // 10 + 1), "rain.md")
    assert reading(long).spoken[0] == "It rains."
    assert module._kept.cache_info().currsize == 2
