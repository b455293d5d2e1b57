"""Findings are ranked by cause."""

from __future__ import annotations

from ullage.doctor.finding import Finding, Severity, evidence, ranked
from ullage.doctor.text import Text

NOTHING = Text("x")


def finding(id_: str, severity: Severity = "error", explains: tuple[str, ...] = (), *, weight: int = 50,
            subject: str = "", same_as: str = "", line: int = 1) -> Finding:
    return Finding(id_, severity, NOTHING, NOTHING, NOTHING, (evidence("f", line, id_),), explains=explains,
                   weight=weight, subject=subject, same_as=same_as)


def shape(found: tuple[Finding, ...]) -> dict[str, list[str]]:
    return {f.id: [s.id for s in f.symptoms] for f in found}


def test_what_is_explained_hangs_under_its_cause_also_over_steps():
    found = ranked([finding("ready", weight=99), finding("oom", explains=("unload",)),
                    finding("unload", explains=("ready",)), finding("root", explains=("oom",), weight=1)])
    assert shape(found) == {"root": ["oom", "unload", "ready"]}


def test_two_that_explain_each_other_end_as_one_cause():
    assert shape(ranked([finding("a", explains=("b",), weight=10), finding("b", explains=("a",), weight=90)])) \
        == {"b": ["a"]}


def test_a_warning_that_explains_an_error_is_an_error():
    [found] = ranked([finding("ready"), finding("disk", "warning", ("ready",))])
    assert (found.id, found.severity) == ("disk", "error")


def test_severity_then_what_is_explained_then_weight():
    found = ranked([finding("note", "info", weight=99), finding("warn", "warning"), finding("light", weight=1),
                    finding("heavy", weight=60), finding("cause", explains=("s",), weight=2), finding("s")])
    assert [f.id for f in found] == ["cause", "heavy", "light", "warn", "note"]


def test_findings_of_one_id_and_subject_are_one():
    found = ranked([finding("a", "warning", line=1), finding("a", line=2), finding("a", subject="other")])
    assert [(f.subject, f.count, f.severity) for f in found] == [("", 2, "error"), ("other", 1, "error")]
    assert [one.line for one in found[0].evidence] == [1, 2]


def test_what_was_foreseen_goes_into_what_happened():
    [found] = ranked([finding("foreseen", same_as="happened", line=7), finding("happened")])
    assert found.id == "happened"
    assert [one.line for one in found.evidence] == [1, 7]
    assert [f.id for f in ranked([finding("foreseen", same_as="happened")])] == ["foreseen"]


def test_texts_are_filled_once_and_keep_other_braces():
    text = Text("{a} and ${{b}:-x} {unknown}", "{a}")
    assert text.filled(a="{b}", b="N") == Text("{b} and ${N:-x} {unknown}", "{b}")
    assert Text("only english").in_("de") == "only english"


def test_evidence_is_one_printable_line_of_bounded_length():
    one = evidence("f", 3, "a\x1b[31m\tb\n" + "c" * 1000)
    assert one.text.startswith("a?[31m b ")
    assert len(one.text) < 300
    assert one.where == "f:3"
