"""Each format becomes the same blocks, and each bad file one clear line."""

import io
from pathlib import Path

import pytest
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Table

from ullage.errors import DocumentRefused
from ullage.ingest import SUPPORTED, Block, Document, read
from ullage.ingest.readers import pdf as pdf_reader

HANDBOOK = Path(__file__).parents[3] / "samples" / "handbook"
INTERVALS = [["Pump", "Rated flow", "Service interval"], ["P-101", "120 m3/h", "6 months"], ["P-102", "80 m3/h", ""]]
SENTENCES = ("P-101 — Rated flow: 120 m3/h; Service interval: 6 months", "P-102 — Rated flow: 80 m3/h")


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def shape(document: Document) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(block.kind, block.text, block.path) for page in document.pages for block in page.blocks]


def tables(document: Document) -> list[Block]:
    return [block for page in document.pages for block in page.blocks if block.kind == "table"]


# Markdown


def test_markdown(tmp_path: Path) -> None:
    text = """---
title: front matter
---
# Pumps

Some *text* with [a link](http://x) and `code`
on two lines.

## Service

| Pump | Rated flow | Service interval |
|---|---|---|
| P-101 | 120 m3/h | 6 months |
| P-102 | 80 m3/h | |

3. third
4. fourth
   - inner

```
code block
```

# Valves

last
"""
    document = read(written(tmp_path, "a.md", text))
    assert shape(document)[:3] == [
        ("heading", "Pumps", ("Pumps",)),
        ("paragraph", "Some text with a link and code on two lines.", ("Pumps",)),
        ("heading", "Service", ("Pumps", "Service")),
    ]
    [table] = tables(document)
    assert table.items == SENTENCES
    assert table.path == ("Pumps", "Service")
    assert table.text.splitlines()[:2] == ["| Pump | Rated flow | Service interval |", "|---|---|---|"]
    assert shape(document)[4:] == [
        ("list", "3. third\n4. fourth\n- inner", ("Pumps", "Service")),
        ("paragraph", "code block", ("Pumps", "Service")),
        ("heading", "Valves", ("Valves",)),
        ("paragraph", "last", ("Valves",)),
    ]


def test_html_inside_markdown_is_read_without_its_script(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a.md", "# T\n\n<div>kept<script>dropped()</script></div>\n"))
    assert shape(document)[1] == ("paragraph", "kept", ("T",))


# HTML

PAGE = """<!DOCTYPE html><html><head><title>no</title><style>p{}</style></head><body>
<header><p>furniture</p></header><nav>menu</nav>
<article><header><h1>Pumps</h1></header>
<p>First<br>line &amp; more.<script>evil()</script></p>loose text
<h2>Service</h2><table><caption>Intervals</caption>
<tr><th>Pump</th><th>Rated flow</th><th>Service interval</th></tr>
<tr><td>P-101</td><td>120 m3/h</td><td>6 months</td></tr><tr><td>P-102</td><td>80 m3/h</td><td></td></tr></table>
<ol><li>one</li><li>two <b>bold</b><ul><li>inner</li></ul></li></ol>
<p hidden>hidden</p><img alt="A pump drawing"></article><footer>imprint</footer></body></html>"""


def test_html(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a.html", PAGE))
    blocks = shape(document)
    assert [(kind, text) for kind, text, _ in blocks if kind != "table"] == [
        ("heading", "Pumps"),
        ("paragraph", "First line & more."),
        ("paragraph", "loose text"),
        ("heading", "Service"),
        ("list", "1. one\n2. two bold inner"),
        ("paragraph", "A pump drawing"),
    ]
    [table] = tables(document)
    assert (table.items, table.caption, table.path) == (SENTENCES, "Intervals", ("Pumps", "Service"))


def test_html_in_its_own_charset(tmp_path: Path) -> None:
    page = '<html><head><meta charset="iso-8859-2"></head><body><p>Łódź</p></body></html>'
    document = read(written(tmp_path, "a.htm", page.encode("iso-8859-2")))
    assert shape(document) == [("paragraph", "Łódź", ())]


def test_html_too_deep_is_refused_not_cut(tmp_path: Path) -> None:
    page = "<html><body>" + "<div>" * 100_000 + "deep" + "</div>" * 100_000 + "<p>after</p></body></html>"
    with pytest.raises(DocumentRefused, match=r"^a\.html: nests more than 250 elements"):
        read(written(tmp_path, "a.html", page))


def test_html_with_many_elements_on_one_level(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a.html", "<body>" + "<p>x</p>" * 5000 + "</body>"))
    assert len(shape(document)) == 5000


def test_a_header_cell_over_two_columns_names_both(tmp_path: Path) -> None:
    page = '<table><tr><th>Pump</th><th colspan="2">Flow</th></tr><tr><td>P-1</td><td>3</td><td>4</td></tr></table>'
    [table] = tables(read(written(tmp_path, "a.html", page)))
    assert table.items == ("P-1 — Flow: 3; Flow: 4",)


# Text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain ü".encode(), "plain ü"),
        ("\ufeffwith mark ü".encode(), "with mark ü"),
        ("wide ü".encode("utf-16"), "wide ü"),
        ("Die Prüfung der Pumpe fällt jährlich an. Größe über 50 m³.".encode("cp1252"),
         "Die Prüfung der Pumpe fällt jährlich an. Größe über 50 m³."),
    ],
)
def test_encodings(tmp_path: Path, content: bytes, expected: str) -> None:
    assert shape(read(written(tmp_path, "a.txt", content))) == [("paragraph", expected, ())]


def test_text_paragraphs_and_control_characters(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a.TXT", "one\r\ntwo\x07\t x\r\n \r\nthree\n"))
    assert [text for _, text, _ in shape(document)] == ["one\ntwo x", "three"]


# PDF


def pdf_with(draw, pages: int = 1, **options) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=A4, **options)
    for number in range(1, pages + 1):
        draw(canvas, number)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def lines(canvas: Canvas, top: float, size: float, *texts: str, font: str = "Helvetica") -> None:
    canvas.setFont(font, size)
    for number, text in enumerate(texts):
        canvas.drawString(60, top - number * size * 1.2, text)


def page_of_manual(canvas: Canvas, number: int) -> None:
    lines(canvas, 820, 8, f"Pump Manual, page {number} of 4")
    lines(canvas, 20, 8, "Confidential")
    lines(canvas, 760, 18, f"Chapter {number}")
    lines(canvas, 720, 10, "The pump is inspected every day by the crew and the result is", "written into the log.")
    lines(canvas, 680, 10, "A second paragraph begins after a gap.")


def test_pdf_headings_paragraphs_and_running_lines(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a.pdf", pdf_with(page_of_manual, 4)))
    assert [page.number for page in document.pages] == [1, 2, 3, 4]
    assert shape(document)[3:6] == [
        ("heading", "Chapter 2", ("Chapter 2",)),
        ("paragraph", "The pump is inspected every day by the crew and the result is written into the log.",
         ("Chapter 2",)),
        ("paragraph", "A second paragraph begins after a gap.", ("Chapter 2",)),
    ]
    assert "Confidential" not in str(shape(document))


def ruled_table(canvas: Canvas, _: int) -> None:
    lines(canvas, 800, 10, "Before the table there is a sentence of some length.")
    lines(canvas, 780, 10, "Table 1: Service of pumps")
    table = Table(INTERVALS, style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
    table.wrapOn(canvas, 400, 400)
    table.drawOn(canvas, 60, 700)
    lines(canvas, 660, 10, "After the table there is another one.")


def test_pdf_ruled_table_keeps_header_with_each_row(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a.pdf", pdf_with(ruled_table)))
    [table] = tables(document)
    assert table.items == SENTENCES
    assert table.caption == "Table 1: Service of pumps"
    assert [kind for kind, _, _ in shape(document)] == ["paragraph", "table", "paragraph"]


def aligned_table(canvas: Canvas, _: int) -> None:
    lines(canvas, 800, 10, "Before the table there is a sentence of some length.")
    for row, cells in enumerate([["Pump", "Rated flow", "Interval"], ["P-101", "120 m3/h", "6 months"],
                                 ["P-102", "80 m3/h", "9 months"], ["P-103", "75 m3/h", "1 year"]]):
        for column, cell in enumerate(cells):
            canvas.drawString(60 + 120 * column, 760 - 14 * row, cell)
    lines(canvas, 680, 10, "After the table there is another one.")


def test_pdf_table_without_rules(tmp_path: Path) -> None:
    [table] = tables(read(written(tmp_path, "a.pdf", pdf_with(aligned_table))))
    assert table.items[1:] == ("P-102 — Rated flow: 80 m3/h; Interval: 9 months",
                               "P-103 — Rated flow: 75 m3/h; Interval: 1 year")


def test_prose_in_a_box_is_no_table(tmp_path: Path) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        canvas.rect(50, 600, 400, 200)
        canvas.line(50, 650, 450, 650)
        lines(canvas, 780, 10, "A sentence in a box.", "And one more below it.")

    document = read(written(tmp_path, "a.pdf", pdf_with(draw)))
    assert tables(document) == []
    assert shape(document) == [("paragraph", "A sentence in a box. And one more below it.", ())]


def test_pdf_pages_without_text_are_named(tmp_path: Path) -> None:
    def draw(canvas: Canvas, number: int) -> None:
        if number == 2:
            canvas.rect(50, 600, 400, 200, fill=1)
        else:
            lines(canvas, 760, 10, "text")

    document = read(written(tmp_path, "a.pdf", pdf_with(draw, 3)))
    assert document.warnings == (
        "a.pdf: page 2 has no text layer and cannot be found (1 of 3 pages); set vision_url to have them read by "
        "OCR",
    )


def test_the_sample_manual_gives_its_tables_and_chapters() -> None:
    document = read(HANDBOOK / "fleet-maintenance-manual.pdf")
    rows = [row for table in tables(document) for row in table.items]
    assert (
        "P1 — Meaning: Vessel cannot sail, or people are at risk; Start within: 1 hour; Finish within: 24 hours; "
        "Who may sign off: Chief engineer and Superintendent"
    ) in rows
    captions = [table.caption for table in tables(document)]
    assert "Table 3.1: Engine service intervals" in captions
    assert len(captions) == len([caption for caption in captions if caption])
    paths = {block.path[1:] for page in document.pages for block in page.blocks}
    assert ("3 Main engines and propulsion", "3.2 Service intervals") in paths
    assert "Page 3" not in str(shape(document))


# Refusals


def encrypted() -> bytes:
    return pdf_with(page_of_manual, 1, encrypt=StandardEncryption("secret"))


def drawing_only() -> bytes:
    return pdf_with(lambda canvas, _: canvas.rect(10, 10, 50, 50), 3)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.md", b"", r"^a\.md: is empty \(0 bytes\)"),
        ("a.rtf", b"x", r"^a\.rtf: Unsupported file type, supported file types are: avi, bmp, csv, .* xlsx$"),
        ("noext", b"x", r"^noext: Unsupported file type"),
        ("a.pdf", encrypted, r"^a\.pdf: is encrypted; remove the password"),
        ("a.pdf", b"PK\x03\x04 zip", r"^a\.pdf: is a ZIP archive \(or an Office file\), not a PDF as its name says"),
        ("a.pdf", b"just text", r"^a\.pdf: is not a PDF as its name says; rename or convert it"),
        ("a.pdf", b"%PDF-1.7\ngarbage", r"^a\.pdf: is a broken PDF; save or print"),
        ("a.pdf", drawing_only, r"^a\.pdf: 3 of 3 pages have no text layer; set vision_url to have them read by OCR"),
        ("a.md", b"%PDF-1.7\n", r"^a\.md: is a PDF, not md as its name says"),
        ("a.html", b"\x89PNG\r\n", r"^a\.html: is a PNG image, not html"),
        ("a.txt", b"\x7fELF" + bytes(20), r"^a\.txt: is a program"),
        ("a.txt", b"text\0with\0zeros\xff", r"^a\.txt: is not text \(no UTF-8"),
        ("a.txt", b"valid utf-8 \0 with zero", r"^a\.txt: is not text \(no UTF-8"),
        ("a.txt", b"\xff\xfe\x00", r"^a\.txt: is not text"),
        ("a.txt", b" \n\t\n", r"^a\.txt: holds no text that could be searched"),
        ("a.html", b"<html><script>x</script></html>", r"^a\.html: holds no text"),
    ],
)
def test_refusals(tmp_path: Path, name: str, content, reason: str) -> None:
    path = written(tmp_path, name, content if isinstance(content, bytes) else content())
    with pytest.raises(DocumentRefused, match=reason) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(DocumentRefused, match=r"gone\.md: does not exist; check the path"):
        read(tmp_path / "gone.md")
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(DocumentRefused, match=r"folder\.md: is a directory; name the files in it"):
        read(tmp_path / "folder.md")


def test_the_size_limit(tmp_path: Path) -> None:
    path = written(tmp_path, "a.md", "x" * 100)
    assert read(path, limit_bytes=100).pages
    with pytest.raises(DocumentRefused, match=r"has 100 bytes, the limit is 99 \(max_upload\)"):
        read(path, limit_bytes=99)


def test_the_page_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_reader, "MOST_PAGES", 2)
    with pytest.raises(DocumentRefused, match=r"^a\.pdf: has 3 pages, 2 at most; split it"):
        read(written(tmp_path, "a.pdf", pdf_with(page_of_manual, 3)))


def test_a_truncated_pdf_is_refused_or_read_but_never_crashes(tmp_path: Path) -> None:
    whole = (HANDBOOK / "safety-and-emergency-plan.pdf").read_bytes()
    for share in (0.2, 0.5, 0.9):
        path = written(tmp_path, "cut.pdf", whole[: int(len(whole) * share)])
        try:
            document = read(path)
        except DocumentRefused as refusal:
            assert str(refusal).startswith("cut.pdf: ")
        else:
            assert document.pages


def test_a_name_given_by_the_uploader_is_used(tmp_path: Path) -> None:
    path = written(tmp_path, "0a1b2c", "# T\n\ntext")
    assert read(path, "My Manual.md").name == "My Manual.md"


def test_every_supported_extension_is_listed_once() -> None:
    assert list(SUPPORTED) == sorted(set(SUPPORTED))
