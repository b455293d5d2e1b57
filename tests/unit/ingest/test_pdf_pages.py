"""Reading order, broken text layers, boxes, running lines and pictures of PDF pages."""

import io
from pathlib import Path

import pytest
from PIL import Image
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Table

from hostile import garbled, picture
from ullage.errors import DocumentRefused
from ullage.ingest import Document, read
from ullage.ingest.readers.pdf_text import is_broken
from ullage.ingest.readers.source import Wish

PROSE = ("The harbour master records the", "weekly readings of all pumps and", "keeps a copy of them on board",
         "until the insurer has seen it and", "signed the form that belongs to", "the yearly inspection of ships.")
RIGHT = ("Every branch manager orders the", "filters that were used up in the", "last month, so that the store is",
         "full before the winter begins and", "no ship waits for a spare part", "while the yard has a holiday.")


def made(tmp_path: Path, draw, pages: int = 1) -> Path:
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=A4)
    for number in range(1, pages + 1):
        canvas.setFont("Helvetica", 10)
        draw(canvas, number)
        canvas.showPage()
    canvas.save()
    path = tmp_path / "a.pdf"
    path.write_bytes(stream.getvalue())
    return path


def texts(document: Document) -> list[str]:
    return [block.text for page in document.pages for block in page.blocks]


@pytest.mark.parametrize("across", [False, True])
def test_two_columns_are_read_one_after_the_other(tmp_path: Path, across: bool) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        canvas.drawString(60, 760, "A line over the whole width of the page, from its left to its edge, at first.")
        places = [(n, side, line) for side, lines in enumerate((PROSE, RIGHT)) for n, line in enumerate(lines)]
        for n, side, line in sorted(places) if across else places:
            canvas.drawString(60 + 240 * side, 730 - 12 * n, line)
        canvas.drawString(60, 630, "Another line over the whole width of the page, from its left to its edge, at last.")

    assert texts(read(made(tmp_path, draw)))[1:-1] == [" ".join(PROSE), " ".join(RIGHT)]


def test_a_table_over_both_columns_keeps_its_caption(tmp_path: Path) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        for top in (760, 560):
            for side, lines in enumerate((PROSE, RIGHT)):
                for n, line in enumerate(lines):
                    canvas.drawString(60 + 240 * side, top - 12 * n, line)
        canvas.drawString(60, 670, "Table 1: Pumps")
        table = Table([["Pump", "Flow", "Note"], ["P-1", "3", "new"]], colWidths=[150] * 3,
                      style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
        table.wrapOn(canvas, 460, 100)
        table.drawOn(canvas, 60, 620)

    document = read(made(tmp_path, draw))
    blocks = document.pages[0].blocks
    assert [block.kind for block in blocks] == ["paragraph", "paragraph", "table", "paragraph", "paragraph"]
    assert blocks[2].caption == "Table 1: Pumps"
    assert texts(document)[3:] == [" ".join(PROSE), " ".join(RIGHT)]


def test_a_caption_below_its_table(tmp_path: Path) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        table = Table([["Pump", "Flow"], ["P-1", "3"]], style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
        table.wrapOn(canvas, 460, 100)
        table.drawOn(canvas, 60, 700)
        canvas.drawString(60, 685, "Table 7: Flow")

    [table] = read(made(tmp_path, draw)).pages[0].blocks
    assert (table.kind, table.caption) == ("table", "Table 7: Flow")


def test_wrapped_cells_of_a_table_without_rules(tmp_path: Path) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        rows = [("Pump", "Flow", "Note"), ("P-1", "3", "order in"), (None, None, "good time"), ("P-2", "4", "new"),
                ("P-3", "5", "old")]
        top = 760
        for row in rows:
            top -= 11 if row[0] is None else 18
            for column, cell in enumerate(row):
                if cell:
                    canvas.drawString(60 + 100 * column, top, cell)

    [table] = read(made(tmp_path, draw)).pages[0].blocks
    assert table.items == ("P-1 — Flow: 3; Note: order in good time", "P-2 — Flow: 4; Note: new",
                           "P-3 — Flow: 5; Note: old")


def test_boxes_count_from_the_upper_left(tmp_path: Path) -> None:
    [page] = read(made(tmp_path, lambda canvas, _: canvas.drawString(100, 742, "A sentence."))).pages
    assert (round(page.width), round(page.height)) == (595, 842)
    left, top, right, bottom = page.blocks[0].box or (0, 0, 0, 0)
    assert (left, right > left, 85 < top < 100 < bottom < 106) == (100, True, True)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_page_is_read_as_it_is_shown(tmp_path: Path, turn: int) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        canvas.setPageRotation(turn)
        width, height = A4
        canvas.saveState()
        canvas.translate(*{90: (height, 0), 180: (width, height), 270: (0, width)}[turn])
        canvas.rotate(turn)
        canvas.drawString(60, 400, "Above the table.")
        table = Table([["Pump", "Flow"], ["P-1", "3"]], style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
        table.wrapOn(canvas, 400, 100)
        table.drawOn(canvas, 60, 300)
        canvas.restoreState()

    [page] = read(made(tmp_path, draw)).pages
    assert [block.kind for block in page.blocks] == ["paragraph", "table"]
    box = page.blocks[0].box or (0, 0, 0, 0)
    assert (box[0], round(box[3] - (page.height - 400))) == (60, 2)


def test_running_lines_that_change_with_the_chapter_and_the_side(tmp_path: Path) -> None:
    def draw(canvas: Canvas, number: int) -> None:
        chapter = "Pumps" if number <= 12 else "Valves"
        canvas.drawString(60 if number % 2 else 400, 815, f"{chapter} and more" if number % 2 else "Manual of the yard")
        canvas.drawString(300, 25, str(number))
        canvas.drawString(60, 600, f"Text of page number {number * 7}.")

    found = texts(read(made(tmp_path, draw, 24)))
    assert found == [f"Text of page number {number * 7}." for number in range(1, 25)]


def test_a_header_that_names_what_is_on_the_page_is_told_by_its_page_number(tmp_path: Path) -> None:
    names = ["lapply", "search", "warning", "outer", "glm", "deriv", "fft", "hot"]

    def draw(canvas: Canvas, number: int) -> None:
        header = (names[number - 1], str(number + 30))
        canvas.drawString(60, 745, " ".join(header if number % 2 else header[::-1]))
        for step in range(40):
            canvas.drawString(60, 640 - 14 * step, f"Line {step * number} of a text about {names[number - 1]}.")
        if number in (3, 5, 7):
            canvas.drawString(60, 640 - 14 * 40.4, "Syntax:")

    pages = read(made(tmp_path, draw, 8)).pages
    assert all(page.blocks[0].text.startswith("Line 0 of") for page in pages)
    assert [page.number for page in pages if page.blocks[-1].text.endswith("Syntax:")] == [3, 5, 7]


def test_a_raised_number_or_a_bullet_makes_no_heading(tmp_path: Path) -> None:
    def draw(canvas: Canvas, number: int) -> None:
        for step in range(30):
            canvas.setFont("Helvetica", 10)
            canvas.drawString(60, 700 - 14 * step, f"Line {step} of a text that says how pumps are kept.")
            if step % 5 == 0:
                canvas.setFont("Helvetica", 16)
                canvas.drawString(48, 700 - 14 * step, "*")

    assert not any(block.kind == "heading" for page in read(made(tmp_path, draw, 1)).pages for block in page.blocks)


def test_the_last_line_of_a_paragraph_is_no_heading_for_a_word_in_a_taller_face(tmp_path: Path) -> None:
    def draw(canvas: Canvas, number: int) -> None:
        for step in range(12):
            canvas.drawString(60, 700 - 13 * step, f"Line {step:02d} of a text that says how all the pumps are kept.")
        canvas.setFont("Helvetica", 11.5)
        canvas.drawString(60, 700 - 13 * 12, "option (tall).")
        canvas.setFont("Helvetica", 10)
        canvas.drawString(60, 500, "A short line.")
        canvas.setFont("Helvetica", 11.5)
        canvas.drawString(60, 487, "Valves")

    found = [(block.kind, block.text) for block in read(made(tmp_path, draw)).pages[0].blocks]
    assert found[0][1].endswith("pumps are kept. option (tall).")
    assert found[1:] == [("paragraph", "A short line."), ("heading", "Valves")]


def test_a_broken_text_layer_is_not_stored(tmp_path: Path) -> None:
    def draw(canvas: Canvas, number: int) -> None:
        if number == 2:
            garbled(canvas)
        else:
            canvas.drawString(60, 700, "A sentence.")

    document = read(made(tmp_path, draw, 2))
    assert texts(document) == ["A sentence."]
    assert document.warnings[0].startswith("a.pdf: page 2 has a text layer that makes no sense and cannot be found")
    looked = read(tmp_path / "a.pdf", wish=Wish(look=True))
    assert [len(page.pictures) for page in looked.pages] == [0, 1]
    assert looked.pages[1].pictures[0].whole


@pytest.mark.parametrize(
    ("text", "unmapped", "broken"),
    [
        ("The harbour master records the weekly readings of all pumps. " * 9, 0.0, False),
        ("Die Wasserpumpen werden jährlich von der Werkstatt geprüft. " * 9, 0.0, False),
        ("Ympäristöministeriön työntekijät tarkastavat pumput vuosittain. " * 9, 0.0, False),
        ("Wszystkie pompy są sprawdzane co roku przez warsztat stoczni. " * 9, 0.0, False),
        ("насосы проверяются каждый год в мастерской порта " * 9, 0.0, False),
        ("0x3f 0xa2 ff ae 10 de ad be ef c0 ff ee " * 40, 0.0, False),
        ("Kdydqjoldqjhuwhawghuvlfkqlfkwohvhqoässwxqgehwudfkwhwzhughqvroo " * 9, 0.0, True),
        ("\ue000\ue001\ue002 \ue003\ue004 abc " * 9, 0.0, True),
        ("\ufffd\ufffd " * 20, 0.0, True),
        ("The harbour master records it all.", 0.5, True),
        ("", 1.0, False),
    ],
)
def test_what_counts_as_broken(text: str, unmapped: float, broken: bool) -> None:
    assert is_broken(text, unmapped) is broken


def test_pictures_on_a_page_are_cut_out_and_placed(tmp_path: Path) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        canvas.drawString(60, 800, "Above the picture.")
        canvas.drawImage(ImageReader(io.BytesIO(picture("PNG"))), 60, 500, 300, 200)
        canvas.drawImage(ImageReader(io.BytesIO(picture("PNG"))), 60, 470, 10, 10)
        canvas.drawString(60, 450, "Below the picture.")

    path = made(tmp_path, draw)
    [page] = read(path, wish=Wish(look=True)).pages
    [found] = page.pictures
    assert (found.place, found.whole) == (1, False)
    assert [round(edge) for edge in found.box or ()] == [60, 142, 360, 342]
    assert Image.open(io.BytesIO(found.png)).size == (833, 556)
    assert read(path).pages[0].pictures == ()


def test_a_picture_takes_its_caption_and_its_headings_and_stands_between_its_paragraphs(tmp_path: Path) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        canvas.setFont("Helvetica", 16)
        canvas.drawString(60, 800, "Water")
        canvas.setFont("Helvetica", 10)
        for n, text in enumerate(PROSE):
            canvas.drawString(60, 770 - 12 * n, text)
        canvas.drawImage(ImageReader(io.BytesIO(picture("PNG"))), 60, 500, 300, 180)
        canvas.drawString(60, 488, "Figure 2: Water used")
        for n, text in enumerate(RIGHT):
            canvas.drawString(60, 476 - 12 * n, text)

    path = made(tmp_path, draw)
    [page] = read(path, wish=Wish(look=True)).pages
    [found] = page.pictures
    assert (found.place, found.path, found.caption) == (2, ("Water",), "Figure 2: Water used")
    assert texts(read(path, wish=Wish(look=True))) == ["Water", " ".join(PROSE), " ".join(RIGHT)]
    assert texts(read(path)) == ["Water", " ".join(PROSE), "Figure 2: Water used", " ".join(RIGHT)]


def test_a_picture_stands_in_its_own_column(tmp_path: Path) -> None:
    def draw(canvas: Canvas, _: int) -> None:
        for n, text in enumerate(PROSE):
            canvas.drawString(60, 700 - 12 * n, text)
        for n, text in enumerate(RIGHT):
            canvas.drawString(300, 700 - 12 * n, text)
        canvas.drawImage(ImageReader(io.BytesIO(picture("PNG"))), 300, 715, 200, 100)

    [page] = read(made(tmp_path, draw), wish=Wish(look=True)).pages
    assert [block.text for block in page.blocks] == [" ".join(PROSE), " ".join(RIGHT)]
    assert [found.place for found in page.pictures] == [1]


def test_a_page_that_holds_its_header_alone_is_not_empty(tmp_path: Path) -> None:
    def draw(canvas: Canvas, number: int) -> None:
        canvas.drawString(60, 745, f"{number + 30} lapply" if number % 2 == 0 else f"lapply {number + 30}")
        if number != 6:
            for step in range(40):
                canvas.drawString(60, 640 - 14 * step, f"Line {step * number} of a text about pumps.")

    pages = read(made(tmp_path, draw, 8)).pages
    assert [block.text for block in pages[5].blocks] == ["36 lapply"]
    assert all(page.blocks[0].text.startswith("Line 0") for page in pages if page.number != 6)


def test_thumbnails(tmp_path: Path) -> None:
    path = made(tmp_path, lambda canvas, _: canvas.drawString(60, 700, "A sentence."))
    [page] = read(path, wish=Wish(thumbnail_pixels=100)).pages
    assert Image.open(io.BytesIO(page.thumbnail)).size == (71, 100)


def test_an_encrypted_file_before_does_not_make_the_next_one_encrypted(tmp_path: Path) -> None:
    from hostile import Hostile, corpus

    files: dict[str, Hostile] = {file.name: file for file in corpus()}
    for name, reason in (("locked.pdf", "is encrypted"), ("endless-tree.pdf", "is a broken PDF")):
        path = tmp_path / name
        path.write_bytes(files[name].make())
        with pytest.raises(DocumentRefused, match=reason):
            read(path)
