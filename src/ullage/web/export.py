"""A conversation as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ullage.web.cites import cited
from ullage.web.kept import Turn

_LIVE = re.compile(r"[<>]|\]\(|\]\[|!\[|(?<=[a-z]):(?=//)", re.IGNORECASE)
_STATES = {"stopped": "*(stopped)*", "failed": "*(failed)*"}


def markdown(turns: Sequence[Turn]) -> str:
    """Questions as headings, answers with a list of what they cite. What documents say makes no link and no HTML."""
    parts = ["# Conversation\n"]
    for turn in turns:
        if turn.role == "user":
            parts.append(f"## {_line(turn.text)}\n")
        else:
            parts.append(_answer(turn))
    return "\n".join(parts)


def _answer(turn: Turn) -> str:
    lines = [_quiet(turn.text)] if turn.text else []
    if turn.state in _STATES:
        lines.append(_STATES[turn.state] + (f": {_line(turn.fault)}" if turn.fault else ""))
    if degraded := turn.closing.get("degraded"):
        lines.append(f"*Answered without: {', '.join(map(str, degraded))}*")
    cites = list(cited(turn).values())
    if cites:
        lines.append("")
    for cite in cites:
        where = f", page {cite.page}" if cite.page else ""
        lines.append(f"- [{cite.number}] {_line(cite.document)}{where}: {_line(cite.text)}")
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return _quiet(" ".join(text.split()))


def _quiet(text: str) -> str:
    """The same to read, and nothing to click: `<`, `>` and what makes a link get a backslash or an entity."""
    return _LIVE.sub(_replacement, text)


def _replacement(found: re.Match[str]) -> str:
    plain = {"<": "&lt;", ">": "&gt;", ":": "&#58;"}
    return plain.get(found[0]) or f"{found[0][0]}\\{found[0][1:]}"
