"""From values to HTML. Templates escape every value; an answer's Markdown keeps its form and loses its links."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

STATIC = files("ullage.web") / "static"
_MARK = re.compile(r"\[(\d{1,3})\]")
_UNSUPPORTED = "[unsupported]"
"""How the RAG server marks a sentence that no passage carries."""

_SHOWN_UNSUPPORTED = '<span class="unsupported" title="No passage carries this sentence.">unsupported</span>'
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

_PROSE = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table"]).disable(
    ["link", "image", "autolink", "reference", "html_inline", "html_block", "entity"]
)
"""No HTML, no links, no pictures: what would have been one stays readable text."""


def size(count: float | None) -> str:
    """`1.5 GiB`."""
    if count is None:
        return "–"
    value, unit = float(count), 0
    while abs(value) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit < 2 or abs(value) >= 100 else f"{value:.1f} {_UNITS[unit]}"


def duration(milliseconds: float | None) -> str:
    """`340 ms`, `1.2 s`."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def percent(share: float) -> str:
    return f"{max(0.0, min(1.0, share)) * 100:.2f}%"


def prose(text: str, mark: Callable[[int], Markup] | None = None) -> Markup:
    """An answer as HTML; `mark` draws a citation's `[number]`."""
    html = _PROSE.render(text)
    if mark is not None:
        html = _MARK.sub(lambda found: str(mark(int(found[1]))), html)
    html = html.replace(_UNSUPPORTED, _SHOWN_UNSUPPORTED)
    return Markup(html)  # noqa: S704 - markdown-it escaped the text, `mark` what it puts in


_TEMPLATES = Environment(loader=PackageLoader("ullage.web"), autoescape=True, undefined=ChainableUndefined,
                         trim_blocks=True, lstrip_blocks=True)
"""What a service of another version does not say is left out of the picture."""

_TEMPLATES.filters |= {"size": size, "ms": duration, "percent": percent}


def page(template: str, /, **values: Any) -> str:
    """A template filled with values, all of which are escaped."""
    return _TEMPLATES.get_template(template).render(**values)


__all__ = ["STATIC", "duration", "escape", "page", "percent", "prose", "size"]
