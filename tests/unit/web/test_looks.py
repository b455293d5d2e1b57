"""From values to HTML: nothing that a document says becomes markup."""

import re

import pytest
from markupsafe import Markup

from hostile_pages import HOSTILE
from ullage.web.looks import duration, page, percent, prose, size

TAG = re.compile(r"<\s*/?\s*([a-zA-Z!]+)([^>]*)>")
HARMLESS = {"p", "strong", "em", "code", "pre", "ul", "ol", "li", "table", "thead", "tbody", "tr", "td", "th", "br",
            "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote"}


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_an_answer_keeps_only_harmless_tags_without_attributes(number):
    found = TAG.findall(prose(HOSTILE[number]))
    assert {name.lower() for name, _ in found} <= HARMLESS
    assert {attributes.strip().strip("/").strip() for _, attributes in found} <= {""}


def test_markdown_keeps_its_form():
    html = prose("# Head\n\n- one\n- **two**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n`code`")
    for part in ("<h1>Head</h1>", "<li>one</li>", "<strong>two</strong>", "<td>1</td>", "<code>code</code>"):
        assert part in html


def test_numbers_in_brackets_are_drawn_by_the_caller_and_nothing_else_is():
    html = prose("So it is [1], and [note] [1234].", lambda number: Markup("<b>{}</b>").format(number))
    assert "<b>1</b>" in html
    assert "[note] [1234]" in html


def test_a_sentence_that_nothing_carries_is_marked():
    assert '<span class="unsupported"' in prose("It is so. [unsupported] And [1] not <b>.")


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_templates_escape_what_they_are_given(number):
    html = page("fault.html", fault=HOSTILE[number])
    assert [name for name, _ in TAG.findall(html)] == ["p", "p"]


def test_bytes_times_and_shares_are_readable():
    assert [size(n) for n in (None, 5, 2048, 300 << 20, 3 << 29)] == ["–", "5 B", "2 KiB", "300 MiB", "1.5 GiB"]
    assert [duration(ms) for ms in (None, 340.4, 1234)] == ["–", "340 ms", "1.2 s"]
    assert [percent(share) for share in (-1, 0.5, 7)] == ["0.00%", "50.00%", "100.00%"]
