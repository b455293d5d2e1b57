"""Take out of a text what nobody should read: keys, tokens, passwords, user names.

Every line that a report or a bundle shows passes here. Patterns run on RE2, so a hostile line costs linear time.
"""

from __future__ import annotations

import re2

HIDDEN = "(not shown)"

_TOKENS = (
    r"nvapi-[\w-]{6,}",
    r"\b(?:sk|pk|rk)-[\w-]{16,}",
    r"\bhf_[A-Za-z0-9]{16,}",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bgithub_pat_\w{20,}",
    r"\bglpat-[\w-]{16,}",
    r"\bxox[abprs]-[\w-]{10,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.?[\w-]*",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
)

_NAMED = (
    r"(?:[a-z0-9_-]{0,60}(?:secret|passw(?:o?r?)d|api[_-]?key|access[_-]?key|credential|ledger[_-]url)[a-z0-9_-]{0,60}|"
    r"[a-z0-9_-]{0,60}[_-]token|token|pwd|passwort|passphrase|username|benutzer(?:name)?)"
)

_RULES = (
    (re2.compile("|".join(_TOKENS)), HIDDEN),
    (re2.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), rf"\1 {HIDDEN}"),
    (re2.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?)(?:[a-z]+\s+)?[^\s\"',]{6,}"), rf"\1{HIDDEN}"),
    (re2.compile(rf"(?i)((?:^|[^a-z0-9]){_NAMED}[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"'$({{}}\]]+)"),
     rf"\1{HIDDEN}"),
    (re2.compile(rf"(?i)(--?{_NAMED}\s+)([^\s-][^\s]*)"), rf"\1{HIDDEN}"),
    (re2.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@]+@"), r"\1***@"),
    (re2.compile(r"((?:^|[^\w])/(?:home|Users)/)[^/\s\"':,;)]+"), r"\1***"),
    (re2.compile(r"(?i)([A-Z]:\\+Users\\+)[^\\\s\"':,;]+"), r"\1***"),
    (re2.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+[\w]"), "***@***"),
)

_KEY_BEGINS = re2.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_ENDS = re2.compile(r"-----END [A-Z ]*PRIVATE KEY-----")


def redacted(text: str) -> str:
    """The text without secrets. What is one line stays one line; a private key over several lines goes whole."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def redacted_lines(lines: list[str]) -> list[str]:
    """As `redacted` for each line; the lines of a private key are hidden too, whose end may be missing."""
    done: list[str] = []
    inside = False
    for line in lines:
        if inside:
            inside = not _KEY_ENDS.search(line)
            continue
        inside = bool(_KEY_BEGINS.search(line)) and not _KEY_ENDS.search(line)
        done.append(redacted(line))
    return done
