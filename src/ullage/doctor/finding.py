"""What the doctor finds, and the order in which it says so: by cause, not by line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from ullage.doctor.redact import redacted
from ullage.doctor.text import Text

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

LONGEST_EVIDENCE = 240
MOST_EVIDENCE = 5


@dataclass(frozen=True, slots=True)
class Evidence:
    """A line of a file, or a fact of the machine (`line` is then 0). Made by `evidence`, so it holds no secret."""

    source: str
    line: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


def evidence(source: str, line: int, text: str) -> Evidence:
    """Evidence as it may be shown: redacted, printable, of bounded length."""
    plain = redacted(" ".join(text.split()))
    plain = "".join(c if c.isprintable() else "?" for c in plain)
    shown = plain if len(plain) <= LONGEST_EVIDENCE else f"{plain[:LONGEST_EVIDENCE]}..."
    return Evidence(redacted(source), line, shown)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `subject` tells findings of one id apart. `explains` are the ids that this one causes.

    `weight` orders findings of one severity: how near to the root of things the id usually is. `same_as` is the id
    under which the same thing is found where it has already happened. `count` says how often it was seen, of which
    `evidence` holds the first.
    """

    id: str
    severity: Severity
    title: Text
    cause: Text
    remedy: Text
    evidence: tuple[Evidence, ...] = ()
    sources: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()
    weight: int = 50
    subject: str = ""
    same_as: str = ""
    count: int = 1
    symptoms: tuple[Finding, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id, "subject": self.subject, "severity": self.severity, "count": self.count,
            "title": self.title.as_dict(), "cause": self.cause.as_dict(), "remedy": self.remedy.as_dict(),
            "evidence": [{"source": e.source, "line": e.line, "text": e.text} for e in self.evidence],
            "sources": list(self.sources), "commands": list(self.commands),
            "symptoms": [symptom.as_dict() for symptom in self.symptoms],
        }


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is so, good or neutral. `kind` is `environment` or `works`."""

    kind: Literal["environment", "works"]
    text: Text


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`findings` are ranked, the root cause first; symptoms hang under what explains them."""

    findings: tuple[Finding, ...] = ()
    facts: tuple[Fact, ...] = field(default=())

    @property
    def severity(self) -> Severity | None:
        """The worst of all findings."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), None)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of one id and subject made one; each explained one put under its cause; the root causes first."""
    merged = _told_once(_merged(findings))
    reach = {finding.id: _reach(finding.id, merged) for finding in merged}
    order = sorted(merged, key=lambda f: (SEVERITIES.index(f.severity), -len(reach[f.id] & reach.keys()), -f.weight))
    cause_of: dict[str, str] = {}
    for finding in order:
        if finding.id not in cause_of:
            cause_of |= {id_: finding.id for id_ in reach[finding.id] if id_ in reach and id_ not in cause_of}
    under: dict[str, list[Finding]] = {}
    for finding in order:
        if finding.id in cause_of:
            under.setdefault(_root(finding.id, cause_of), []).append(finding)
    # Symptoms hang under the first finding of their cause's id, which is as bad as they are.
    roots = [_with_symptoms(f, under.pop(f.id, [])) for f in order if f.id not in cause_of]
    return tuple(sorted(roots, key=lambda f: (SEVERITIES.index(f.severity), -len(f.symptoms), -f.weight)))


def _root(id_: str, cause_of: Mapping[str, str]) -> str:
    while id_ in cause_of:
        id_ = cause_of[id_]
    return id_


def _with_symptoms(finding: Finding, symptoms: list[Finding]) -> Finding:
    worst = min((finding.severity, *(symptom.severity for symptom in symptoms)), key=SEVERITIES.index)
    return replace(finding, severity=worst, symptoms=tuple(symptoms))


def _told_once(findings: list[Finding]) -> list[Finding]:
    """What was foreseen in a file and has happened in a log is one finding, with the evidence of both."""
    happened = {finding.id: finding for finding in findings}
    foreseen = [finding for finding in findings if finding.same_as in happened]
    for finding in foreseen:
        other = happened[finding.same_as]
        both = (*other.evidence[:MOST_EVIDENCE - 1], *finding.evidence[:1], *other.evidence[MOST_EVIDENCE - 1:])
        happened[other.id] = replace(other, evidence=both[:MOST_EVIDENCE])
    dropped = {id(finding) for finding in foreseen}
    last = {id_: id(finding) for id_, finding in {f.id: f for f in findings}.items()}
    return [happened[f.id] if id(f) == last[f.id] else f for f in findings if id(f) not in dropped]


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    found: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (finding.id, finding.subject)
        if key in found:
            before = found[key]
            both = tuple(dict.fromkeys((*before.evidence, *finding.evidence)))[:MOST_EVIDENCE]
            worst = min(before.severity, finding.severity, key=SEVERITIES.index)
            found[key] = replace(before, evidence=both, count=before.count + finding.count, severity=worst)
        else:
            found[key] = finding
    return list(found.values())


def _reach(start: str, findings: list[Finding]) -> set[str]:
    """Every id that `start` explains, also through what is not among the findings' own links."""
    links: Mapping[str, tuple[str, ...]] = {f.id: f.explains for f in findings}
    seen: set[str] = set()
    waiting = list(links.get(start, ()))
    while waiting:
        one = waiting.pop()
        if one not in seen and one != start:
            seen.add(one)
            waiting += links.get(one, ())
    return seen
