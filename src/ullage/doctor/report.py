"""A diagnosis as text for a terminal, as Markdown in the shape of an incident's report, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ullage.doctor import words
from ullage.doctor.catalog import Catalog, Entry, Signature
from ullage.doctor.finding import SEVERITIES, Diagnosis, Finding
from ullage.doctor.redact import redacted
from ullage.doctor.text import Language

MOST_OBSERVATIONS = 20
_STEPS = ("error", "warning")


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Both languages, so that a reader may choose."""
    return {
        "severity": diagnosis.severity,
        "findings": [finding.as_dict() for finding in diagnosis.findings],
        "facts": [{"kind": fact.kind, "text": fact.text.as_dict()} for fact in diagnosis.facts],
    }


def as_text(diagnosis: Diagnosis, language: Language) -> str:
    """For a terminal: the findings, the cause first, each with what betrays it and what to do."""
    lines: list[str] = []
    for finding in diagnosis.findings:
        lines += [*_block(finding, language), ""]
    if not diagnosis.findings:
        lines += [words.NOTHING_WRONG.in_(language), ""]
    return redacted("\n".join([*lines, _counts(diagnosis, language)])) + "\n"


def _block(finding: Finding, language: Language) -> Iterator[str]:
    severity = words.SEVERITY[finding.severity].in_(language)
    yield f"[{severity}] {finding.title.in_(language)}  ({finding.id})"
    yield f"    {words.CAUSE.in_(language)}: {finding.cause.in_(language)}"
    for one in finding.evidence[:3]:
        yield f"    {one.where}: {one.text}"
    if finding.count > 3:
        yield f"    {words.SEEN.filled(count=finding.count).in_(language)}"
    for symptom in finding.symptoms:
        yield f"    {words.SYMPTOM.in_(language)}: {symptom.title.in_(language)}  ({symptom.id})"
    yield f"    {words.REMEDY.in_(language)}: {finding.remedy.in_(language)}"
    for command in finding.commands:
        yield f"      $ {command}"


def _counts(diagnosis: Diagnosis, language: Language) -> str:
    counts = {severity: sum(f.severity == severity for f in diagnosis.findings) for severity in SEVERITIES}
    return words.FOUND.filled(errors=counts["error"], warnings=counts["warning"], infos=counts["info"]).in_(language)


def as_markdown(diagnosis: Diagnosis, language: Language, subject: str = "") -> str:
    """In the shape of the report that this project began with."""
    heading = words.TITLE.in_(language) + (f" ({subject})" if subject else "")
    lines = [f"# {heading}", ""]
    lines += _section(words.ENVIRONMENT.in_(language), _facts(diagnosis, "environment", language), language)
    lines += _section(words.WORKS.in_(language), _facts(diagnosis, "works", language), language)
    lines += _problem(diagnosis, language)
    lines += _section(words.OBSERVATIONS.in_(language), _observations(diagnosis), language)
    lines += _causes(diagnosis.findings, language)
    lines += _steps(diagnosis.findings, language)
    lines += _commands(diagnosis.findings, language)
    return redacted("\n".join(lines)).rstrip() + "\n"


def _facts(diagnosis: Diagnosis, kind: str, language: Language) -> list[str]:
    return [fact.text.in_(language) for fact in diagnosis.facts if fact.kind == kind]


def _section(title: str, items: Sequence[str], language: Language) -> list[str]:
    return [f"## {title}", "", *([f"- {item}" for item in items] or [words.NOTHING_KNOWN.in_(language)]), ""]


def _problem(diagnosis: Diagnosis, language: Language) -> list[str]:
    title = f"## {words.PROBLEM.in_(language)}"
    urgent = [finding for finding in diagnosis.findings if finding.severity in _STEPS]
    if not urgent:
        return [title, "", words.NOTHING_WRONG.in_(language), ""]
    first = urgent[0]
    lines = [title, "", f"**{first.title.in_(language)}**", ""]
    if first.symptoms:
        shown = "; ".join(symptom.title.in_(language) for symptom in first.symptoms)
        lines += [f"{words.SYMPTOMS.in_(language)}: {shown}.", ""]
    return lines


def _observations(diagnosis: Diagnosis) -> list[str]:
    every = [one for f in diagnosis.findings for part in (f, *f.symptoms) for one in part.evidence]
    lines = list(dict.fromkeys(f"`{_code(one.where)}`: `{_code(one.text)}`" for one in every if one.text))
    return lines[:MOST_OBSERVATIONS]


def _code(text: str) -> str:
    return text.replace("`", "'")


def _causes(findings: Sequence[Finding], language: Language) -> list[str]:
    lines = [f"## {words.CAUSES.in_(language)}", ""]
    for number, finding in enumerate(findings, 1):
        severity = words.SEVERITY[finding.severity].in_(language)
        lines += [f"{number}. **{finding.title.in_(language)}** ({severity}, `{finding.id}`)  ",
                  f"   {finding.cause.in_(language)}"]
        if finding.sources:
            lines.append(f"   {words.SOURCE.in_(language)}: {', '.join(finding.sources)}")
    return [*lines, *([] if findings else [words.NONE.in_(language)]), ""]


def _steps(findings: Sequence[Finding], language: Language) -> list[str]:
    steps = list(dict.fromkeys(f.remedy.in_(language) for f in findings if f.severity in _STEPS))
    return [f"## {words.NEXT_STEPS.in_(language)}", "",
            *([f"{number}. {step}" for number, step in enumerate(steps, 1)] or [words.NONE.in_(language)]), ""]


def _commands(findings: Sequence[Finding], language: Language) -> list[str]:
    commands = list(dict.fromkeys(c for f in findings if f.severity in _STEPS for c in f.commands))
    title = f"## {words.COMMANDS.in_(language)}"
    return [title, "", "```bash", *commands, "```", ""] if commands else [title, "", words.NONE.in_(language), ""]


def explained(entry: Entry, catalog: Catalog, language: Language) -> str:
    """All that is known of one id, for `--explain`."""
    severity = words.SEVERITY[entry.severity].in_(language)
    lines = [f"{entry.id} ({severity}{', ' + entry.area if entry.area else ''})", entry.title.text.in_(language), "",
             f"{words.CAUSE.in_(language)}: {entry.cause.text.in_(language)}", "",
             f"{words.REMEDY.in_(language)}: {entry.remedy.text.in_(language)}"]
    lines += [f"  $ {command}" for command in entry.commands]
    if entry.explains:
        lines += ["", f"{words.EXPLAINS.in_(language)}: "
                  + "; ".join(f"{id_} ({other.title.text.in_(language)})" for id_ in entry.explains
                              if (other := catalog.entry(id_)))]
    if isinstance(entry, Signature):
        lines += ["", f"{words.PATTERNS.in_(language)}: " + "  |  ".join((*entry.all, *entry.any))]
    if entry.source:
        lines += ["", f"{words.SOURCE.in_(language)}: {', '.join(entry.source)}"]
    return "\n".join(lines) + "\n"
