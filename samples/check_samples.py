"""Check that the sample handbook and its questions fit together.

    python samples/check_samples.py            # report, exit status 1 on errors
    python samples/check_samples.py --show 3   # also print passages for unanswerable ones
    python samples/check_samples.py --pages DIR  # also the page questions against the truth of make_pages.py

Errors are: a fact that is not on the stated page or under the stated heading,
a malformed question, a scan with a text layer, too few pages, a file set over
4 MB. Warnings point at other places with the same facts and similar words, so
that a person can decide whether a question has one answer. For unanswerable
questions a person has to read the nearest passages: that is what ``--show`` is for.

Needs ``pip install pypdfium2 markdown-it-py beautifulsoup4``.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pypdfium2 as pdfium
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

HERE = Path(__file__).resolve().parent
SCAN = "winter-layup-circular-2023-scan.pdf"
WORDS_PER_PAGE = 500
MIN_PAGES = 40
MAX_BYTES = 4_000_000
FIELDS = ["id", "question", "answer", "facts", "document", "page", "section", "kind"]
KINDS = ("text", "table", "unanswerable")
PAGE_KINDS = {"table", "scanned table", "scan", "chart"}
EXPECTED = {"questions.jsonl": (24, 7, 6), "questions-dev.jsonl": (20, 5, 10)}
HEADINGS = ("h1", "h2", "h3", "h4")
STOP = set(
    re.findall(
        r"\w+",
        "a an and are as at be by can did do does for from has have how if in is it many may much must of "
        "on or our out should than that the to up was we what when which who will with would",
    )
)


@dataclass
class Place:
    """A PDF page, or the text under one heading of a Markdown or HTML file."""

    document: str
    page: int | None
    section: str | None
    text: str

    def __str__(self) -> str:
        where = f"page {self.page}" if self.page else f"section {self.section!r}"
        return f"{self.document}, {where}"


def normal(text: str) -> str:
    """Lower case, one space between words, no soft breaks."""
    return re.sub(r"\s+", " ", text.replace("\u00ad", "").replace("\ufffe", "-")).strip().lower()


def words(text: str) -> list[str]:
    """Content words, with a plural s cut off."""
    found = re.findall(r"[a-z0-9]+(?:[.,:-][a-z0-9]+)*", normal(text))
    return [w[:-1] if len(w) > 3 and w.endswith("s") else w for w in found if w not in STOP]


def pdf_places(path: Path) -> list[Place]:
    """The text of each page."""
    pages = pdfium.PdfDocument(path)
    texts = [page.get_textpage().get_text_bounded() for page in pages]
    return [Place(path.name, number, None, text) for number, text in enumerate(texts, 1)]


def web_places(path: Path) -> list[Place]:
    """The text under each heading of a Markdown or HTML file, page furniture left out."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        source = MarkdownIt("commonmark").enable("table").render(source)
    soup = BeautifulSoup(source, "html.parser")
    for unwanted in soup(["script", "style", "header", "footer", "nav", "title"]):
        unwanted.decompose()
    places: list[Place] = []
    for element in soup.find_all([*HEADINGS, "p", "li", "caption", "tr"]):
        text = " ".join(element.get_text(" ").split())
        if element.name in HEADINGS:
            places.append(Place(path.name, None, text, text))
        elif places:
            places[-1].text += "\n" + text
    return places


def read_questions(path: Path, errors: list[str]) -> list[dict[str, Any]]:
    """Read one question file and check its form."""
    lines = path.read_text(encoding="utf-8").splitlines()
    questions: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for question in questions:
        label = f"{path.name} {question.get('id')}"
        if list(question) != FIELDS or question["kind"] not in KINDS:
            errors.append(f"{label}: wrong fields or kind")
        elif question["kind"] == "unanswerable":
            if question["facts"] or question["document"] or question["page"] or question["section"]:
                errors.append(f"{label}: unanswerable, but has facts or a place")
        elif not question["facts"] or not all(question["facts"]):
            errors.append(f"{label}: no facts")
        elif not has_facts(question["answer"], question["facts"]):
            errors.append(f"{label}: the expected answer lacks its own facts")
    kinds = Counter(question["kind"] for question in questions)
    answerable, tables, unanswerable = EXPECTED[path.name]
    if (kinds["text"] + kinds["table"], kinds["unanswerable"]) != (answerable, unanswerable):
        errors.append(f"{path.name}: wrong number of questions {dict(kinds)}")
    if kinds["table"] < tables:
        errors.append(f"{path.name}: fewer than {tables} table questions")
    print(f"{path.name}: {dict(kinds)}")
    spread = Counter(question["document"] for question in questions if question["document"])
    for document, count in sorted(spread.items()):
        print(f"    {count:>2}  {document}")
    return questions


def has_facts(text: str, facts: list[list[str]]) -> bool:
    """True if one form of every fact is in the text, not inside a longer number."""
    plain = normal(text)

    def found(form: str) -> bool:
        return re.search(rf"(?<![\d.,]){re.escape(normal(form))}(?!\d)", plain) is not None

    return all(any(found(form) for form in forms) for forms in facts)


def check_page_questions(path: Path, pages: Path | None, errors: list[str]) -> None:
    """Questions about the page test set: their form, and where the pages were made, their facts."""
    questions: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kinds = Counter(question["kind"] for question in questions)
    languages = Counter(question["language"] for question in questions)
    print(f"{path.name}: {dict(kinds)} {dict(languages)}")
    if len(questions) != 30 or set(languages) != {"en", "de"} or set(kinds) != PAGE_KINDS:
        errors.append(f"{path.name}: wrong number, kinds or languages of questions")
    truths: dict[str, dict[str, Any]] = {}
    if pages is not None:
        truths = {truth["file"]: truth for truth in json.loads((pages / "truth.json").read_text(encoding="utf-8"))}
    for question in questions:
        if list(question) != [*FIELDS, "language"] or not has_facts(question["answer"], question["facts"]):
            errors.append(f"{path.name} {question['id']}: wrong fields, or an answer without its own facts")
        if pages is None:
            continue
        truth = truths[question["document"]]
        cells = [cell for table in truth["tables"] for row in table for cell in row]
        there = "\n".join(cells if "table" in question["kind"] else [*truth["paragraphs"], *truth["chart"]])
        if not has_facts(there, question["facts"]) or truth["language"] != question["language"]:
            errors.append(f"{path.name} {question['id']}: facts or language are not those of {question['document']}")


def check_answerable(
    question: dict[str, Any], places: list[Place], errors: list[str], warnings: list[str]
) -> None:
    """The facts must be at the stated place; look for the same facts elsewhere."""
    label, facts = question["id"], question["facts"]
    if question["document"] == SCAN:
        errors.append(f"{label}: must not ask about the scan")
    in_document = [p for p in places if p.document == question["document"]]
    if question["page"] is None:
        stated = [p for p in in_document if p.section == question["section"]]
    else:
        stated = [p for p in in_document if p.page == question["page"]]
    if len(stated) != 1:
        errors.append(f"{label}: {len(stated)} places match the stated one")
        return
    if not has_facts(stated[0].text, facts):
        errors.append(f"{label}: facts not found in {stated[0]}")
    if question["page"] is not None:
        before = " ".join(p.text for p in in_document if (p.page or 0) <= question["page"])
        if normal(question["section"]) not in normal(before):
            errors.append(f"{label}: heading {question['section']!r} not on or before that page")
    topic = set(words(question["question"]))
    for place in places:
        if place is not stated[0] and has_facts(place.text, facts):
            shared = topic & set(words(place.text))
            if len(shared) >= 0.5 * len(topic):
                warnings.append(f"{label}: same facts in {place}; shared words: {sorted(shared)}")


def show_nearest(question: dict[str, Any], places: list[Place], count: int) -> None:
    """Print the passages that best match a question (plain BM25), for a person to read."""
    passages = [(place, words(place.text)) for place in places]
    passages = [(place, found) for place, found in passages if found]
    mean = sum(len(found) for _, found in passages) / len(passages)
    spread: Counter[str] = Counter(word for _, found in passages for word in set(found))
    scored: list[tuple[float, Place]] = []
    for place, found in passages:
        times = Counter(found)
        score = 0.0
        for word in set(words(question["question"])):
            weight = math.log(1 + (len(passages) - spread[word] + 0.5) / (spread[word] + 0.5))
            length = 0.25 + 0.75 * len(found) / mean
            score += weight * times[word] * 2.2 / (times[word] + 1.2 * length)
        scored.append((score, place))
    scored.sort(key=lambda pair: -pair[0])
    print(f"\n{question['id']}: {question['question']}")
    for score, place in scored[:count]:
        print(f"  [{score:.1f}] {place}\n      {' '.join(place.text.split())[:700]}")


def split_pages(places: list[Place]) -> list[Place]:
    """Cut PDF pages into pieces of a few lines so that printed passages stay short."""
    pieces: list[Place] = []
    for place in places:
        if place.page is None:
            pieces.append(place)
            continue
        lines = place.text.splitlines()
        for start in range(0, len(lines), 6):
            text = "\n".join(lines[start : start + 8])
            pieces.append(Place(place.document, place.page, None, text))
    return pieces


def check_corpus(errors: list[str]) -> list[Place]:
    """Read all documents; check size, page count and the scan."""
    places: list[Place] = []
    pages = 0.0
    for path in sorted((HERE / "handbook").iterdir()):
        found = pdf_places(path) if path.suffix == ".pdf" else web_places(path)
        count = sum(len(place.text.split()) for place in found)
        size = float(len(found)) if path.suffix == ".pdf" else count / WORDS_PER_PAGE
        pages += size
        print(f"{path.name:<40} {size:>5.1f} pages {count:>6} words {path.stat().st_size:>8} bytes")
        if path.name == SCAN and count:
            errors.append(f"{path.name}: has a text layer")
        if any("do-not-ingest" in place.text or "Sign in" in place.text for place in found):
            errors.append(f"{path.name}: script or navigation text got through")
        places += found
    total = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    print(f"{pages:.1f} pages, {total} bytes in all of samples/")
    if pages < MIN_PAGES:
        errors.append(f"only {pages:.1f} pages")
    if total > MAX_BYTES:
        errors.append(f"{total} bytes are too many")
    return places


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Check the sample handbook.")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N passages each")
    parser.add_argument("--pages", type=Path, help="folder that make_pages.py made")
    asked = parser.parse_args()
    show: int = asked.show
    errors: list[str] = []
    warnings: list[str] = []
    places = check_corpus(errors)
    sources = sorted((HERE / "source").glob(f"{Path(SCAN).stem}.markup"))
    scanned = [Place(SCAN, 1, None, path.read_text(encoding="utf-8")) for path in sources]
    seen: set[str] = set()
    for name in EXPECTED:
        for question in read_questions(HERE / name, errors):
            if question["question"] in seen:
                errors.append(f"{question['id']}: asked twice")
            seen.add(question["question"])
            if question["kind"] != "unanswerable":
                check_answerable(question, places + scanned, errors, warnings)
            elif show:
                show_nearest(question, split_pages(places + scanned), show)
    check_page_questions(HERE / "questions-pages.jsonl", asked.pages, errors)
    for warning in warnings:
        print("warning:", warning)
    for error in errors:
        print("ERROR:", error)
    print("failed" if errors else "all facts are where the questions say")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
