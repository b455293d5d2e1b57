"""Office files, data, mail and books become the same blocks as any other document."""

import io
import json
import re
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from openpyxl.chart import BarChart, Reference
from openpyxl.chart.data_source import NumData, NumVal, StrData, StrRef, StrVal
from openpyxl.chart.series import SeriesLabel
from openpyxl.drawing.image import Image as ExcelPicture
from PIL import Image
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from hostile import book, mail, picture, png, saved, with_part, word
from ullage.errors import DocumentRefused
from ullage.ingest import Document, read
from ullage.ingest.readers import BEYOND_BLUEPRINT, SUPPORTED, extension
from ullage.ingest.readers.source import Wish

ROWS = [["Pump", "Flow", "Interval"], ["P-101", "120", "6 months"], ["P-102", "80", ""]]
SENTENCES = ("P-101 — Flow: 120; Interval: 6 months", "P-102 — Flow: 80")


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def shape(document: Document) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(block.kind, block.text, block.path) for page in document.pages for block in page.blocks]


def test_word(tmp_path: Path) -> None:
    made = docx.Document()
    made.add_heading("Manual", 0)
    made.add_heading("Pumps", 1)
    made.add_paragraph("Serviced every year.")
    made.add_paragraph("first", style="List Bullet")
    made.add_paragraph("second", style="List Number")
    made.add_paragraph("Table 1: Intervals", style="Caption")
    table = made.add_table(rows=3, cols=3)
    for row, cells in zip(table.rows, ROWS, strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    made.add_paragraph("Figure 2: not a table", style="Caption")
    made.sections[0].header.paragraphs[0].text = "running header"
    document = read(written(tmp_path, "a.docx", saved(made)))
    path = ("Manual", "Pumps") if ("heading", "Pumps", ("Manual", "Pumps")) in shape(document) else ("Pumps",)
    assert [(kind, text) for kind, text, _ in shape(document) if kind != "table"] == [
        ("heading", "Manual"), ("heading", "Pumps"), ("paragraph", "Serviced every year."),
        ("list", "- first\n- second"), ("paragraph", "Figure 2: not a table"),
    ]
    [found] = [block for block in document.pages[0].blocks if block.kind == "table"]
    assert (found.items, found.caption, found.path) == (SENTENCES, "Table 1: Intervals", path)
    assert "running header" not in str(shape(document))


def test_word_content_controls_text_boxes_and_deleted_text(tmp_path: Path) -> None:
    made = docx.Document()
    body = made.element.body
    control = OxmlElement("w:sdt")
    content = OxmlElement("w:sdtContent")
    content.append(made.add_paragraph("in a control")._p)
    control.append(content)
    body.insert(0, control)
    paragraph = made.add_paragraph("kept ")
    deleted = OxmlElement("w:del")
    deleted.append(made.add_paragraph("gone").runs[0]._r)
    paragraph._p.append(deleted)
    box = OxmlElement("w:txbxContent")
    box.append(made.add_paragraph("in a box")._p)
    paragraph.runs[0]._r.append(box)
    document = read(written(tmp_path, "a.docx", saved(made)))
    assert [text for _, text, _ in shape(document)] == ["in a control", "kept", "in a box"]


def test_word_heading_of_the_authors_own_style(tmp_path: Path) -> None:
    made = docx.Document()
    paragraph = made.add_paragraph("Kapitel")
    level = OxmlElement("w:outlineLvl")
    level.set(qn("w:val"), "1")
    paragraph._p.get_or_add_pPr().append(level)
    assert shape(read(written(tmp_path, "a.docx", saved(made)))) == [("heading", "Kapitel", ("Kapitel",))]


def test_pictures_in_word_are_handed_on_where_they_stand(tmp_path: Path) -> None:
    made = docx.Document()
    made.add_heading("Plans", 1)
    made.add_paragraph("before")
    made.add_picture(io.BytesIO(picture("JPEG")))
    made.add_paragraph("after")
    path = written(tmp_path, "a.docx", saved(made))
    [page] = read(path, wish=Wish(look=True)).pages
    [found] = page.pictures
    assert (found.place, found.path) == (2, ("Plans",))
    assert Image.open(io.BytesIO(found.png)).size == (300, 200)
    assert read(path).pages[0].pictures == ()


def test_slides(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Pumps"
    first.placeholders[1].text_frame.text = "checked daily"
    first.placeholders[1].text_frame.add_paragraph().text = "logged"
    table = first.shapes.add_table(3, 3, Inches(1), Inches(4), Inches(6), Inches(1)).table
    for row, cells in zip(table.rows, ROWS, strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    first.notes_slide.notes_text_frame.text = "say it slowly"
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Flow"
    data = CategoryChartData()
    data.categories = ["Jan", "Feb"]
    data.add_series("Litres", (1.5, 2))
    chart = second.shapes.add_chart(XL_CHART_TYPE.LINE, Inches(1), Inches(2), Inches(5), Inches(3), data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Water"
    document = read(written(tmp_path, "a.pptx", saved(deck)))
    assert [page.number for page in document.pages] == [1, 2]
    assert (document.pages[0].width, document.pages[0].height) == (720, 540)
    kinds = {kind: text for kind, text, _ in shape(document)}
    assert kinds["list"] == "- checked daily\n- logged"
    assert kinds["paragraph"] == "say it slowly"
    [found] = [block for block in document.pages[0].blocks if block.kind == "table"]
    assert (found.items, found.path, found.box) == (SENTENCES, ("Pumps",), (72, 288, 504, 360))
    [seen] = [block for block in document.pages[1].blocks if block.kind == "chart"]
    assert (seen.items, seen.caption) == (("Jan — Litres: 1.5", "Feb — Litres: 2"), "Water")


def test_sheets(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    made.active.title = "Pumps"
    for row in (["Intervals"], ["Pump", "Flow", "When", "Share"], ["P-1", 3.0, None, 0.25], [], ["Next"], ["a", "b"],
                [True, 2.50001]):
        made.active.append(row)
    made.active["D3"].number_format = "0%"
    made.active["C3"] = __import__("datetime").datetime(2024, 3, 1)
    made.create_sheet("Empty")
    made.create_sheet("Long").append(["n", "square"])
    for n in range(1200):
        made["Long"].append([n, n * n])
    document = read(written(tmp_path, "a.xlsx", saved(made)))
    blocks = [block for page in document.pages for block in page.blocks]
    assert blocks[0].text == "Pumps"
    assert [(b.items, b.caption) for b in blocks[1:3]] == [
        (("P-1 — Flow: 3; When: 2024-03-01; Share: 25 %",), "Intervals"), (("TRUE — b: 2.50001",), "Next"),
    ]
    long = [block for page in document.pages if page.number == 3 for block in page.blocks if block.kind == "table"]
    assert [len(block.items) for block in long] == [500, 500, 200]
    assert long[2].items[-1] == "1199 — square: 1437601"
    assert {block.path for block in long} == {("Long",)}


def drawn_book() -> bytes:
    """A sheet of cells with a chart and a picture, and one with a picture alone."""
    made = openpyxl.Workbook()
    made.active.title = "Pumps"
    for row in (["Month", "Litres"], ["Jan", 3], ["Feb", 5]):
        made.active.append(row)
    chart = BarChart()
    chart.title = "Water used"
    chart.add_data(Reference(made.active, min_col=2, min_row=2, max_row=3))
    chart.set_categories(Reference(made.active, min_col=1, min_row=2, max_row=3))
    [series] = chart.series
    series.tx = SeriesLabel(v="Litres")
    series.cat.strRef = StrRef("Pumps!$A$2:$A$3", StrData(pt=[StrVal(idx=0, v="Jan"), StrVal(idx=1, v="Feb")]))
    series.cat.numRef = None
    series.val.numRef.numCache = NumData(pt=[NumVal(idx=0, v="3"), NumVal(idx=1, v="5")])
    made.active.add_chart(chart, "D10")
    made.active.add_image(ExcelPicture(io.BytesIO(picture("PNG"))), "D2")
    made.create_sheet("Photos").add_image(ExcelPicture(io.BytesIO(picture("JPEG"))), "B3")
    return saved(made)


def test_pictures_and_charts_on_sheets(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a.xlsx", drawn_book()), wish=Wish(look=True))
    pictures = [(page.number, picture.place, picture.path) for page in document.pages for picture in page.pictures]
    assert pictures == [(1, 0, ("Pumps",)), (2, 1, ("Photos",))]
    [chart] = [block for page in document.pages for block in page.blocks if block.kind == "chart"]
    assert (chart.items, chart.caption, chart.path) == (
        ("Jan — Litres: 3", "Feb — Litres: 5"), "Water used", ("Pumps",))
    assert not document.warnings


@pytest.mark.parametrize(("name", "content", "warned"), [
    ("xl/media/image1.png", png(30_000, 30_000), r"a picture in it cannot be read \(has 30000 x 30000 pixels"),
    ("xl/drawings/_rels/drawing1.xml.rels", b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
     b'relationships"><Relationship Id="rId1" Type="x/image" Target="../../../etc/passwd"/></Relationships>', ""),
])
def test_hostile_drawings(tmp_path: Path, name: str, content: bytes, warned: str) -> None:
    document = read(written(tmp_path, "a.xlsx", with_part(drawn_book(), name, content)), wish=Wish(look=True))
    assert document.pages[0].blocks[1].items == ("Jan — Litres: 3", "Feb — Litres: 5")
    assert [len(page.pictures) for page in document.pages if page.number == 1] in ([0], [0, 0])
    assert [bool(re.search(warned, line)) for line in document.warnings] == [True] * bool(warned)


def test_a_broken_drawing_costs_the_drawing_alone(tmp_path: Path) -> None:
    broken = with_part(drawn_book(), "xl/drawings/drawing1.xml", b"<wsDr")
    document = read(written(tmp_path, "a.xlsx", broken), wish=Wish(look=True))
    assert document.pages[0].blocks[1].items == ("Jan — Litres: 3", "Feb — Litres: 5")
    assert [len(page.pictures) for page in document.pages] == [0, 1]
    [warning] = document.warnings
    assert warning.startswith("a.xlsx: pictures and charts of sheet 'Pumps' cannot be read")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Pump;Flow\nP-1;3,5\nP-2;4\n", "P-1 — Flow: 3,5"),
        ('Pump,Note\nP-1,"red, ""new""\nand tall"\nP-2,x\n', 'P-1 — Note: red, "new" and tall'),
        ("Pump\tFlow\nP-1\t3\nP-2\t4\n", "P-1 — Flow: 3"),
        ("a|b\n1|2\n", "1 — b: 2"),
    ],
)
def test_csv(tmp_path: Path, text: str, first: str) -> None:
    [page] = read(written(tmp_path, "a.csv", text.encode())).pages
    assert page.blocks[0].items[0] == first


def test_json(tmp_path: Path) -> None:
    said = {"plant": "North", "pumps": [{"name": "P-1", "flow": 3.50, "new": True}, {"name": "P-2", "flow": None}],
            "crew": {"chief": "Ada", "others": ["Bo", "Cy"]}, "big": 12345678901234567890123}
    document = read(written(tmp_path, "a.json", json.dumps(said).encode()))
    assert shape(document)[0] == ("list", "plant: North\nbig: 12345678901234567890123", ())
    table = next(block for block in document.pages[0].blocks if block.kind == "table")
    assert (table.items, table.path) == (("P-1 — flow: 3.5; new: true", "P-2"), ("pumps",))
    assert ("list", "chief: Ada", ("crew",)) in shape(document)
    assert ("list", "- Bo\n- Cy", ("crew", "others")) in shape(document)


def test_shell_script(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a.sh", b"#!/bin/sh\n# back up\ncp a b\n\necho done\n"))
    assert [text for _, text, _ in shape(document)] == ["#!/bin/sh\n# back up\ncp a b", "echo done"]


def test_a_book_in_the_order_of_its_spine(tmp_path: Path) -> None:
    made = with_part(book("<html><body><h1>One</h1><p>First.</p></body></html>"), "o/b.opf", (
        b'<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        b'<item id="b" href="c%20d.xhtml" media-type="application/xhtml+xml"/>'
        b'<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        b'<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'))
    made = with_part(made, "o/c d.xhtml", "<html><body><h1>Zwei</h1><p>Über.</p></body></html>".encode())
    document = read(written(tmp_path, "a.epub", made))
    assert [(page.number, [b.text for b in page.blocks]) for page in document.pages] == [
        (1, ["One", "First."]), (2, ["Zwei", "Über."])
    ]


def test_mail_with_attachments(tmp_path: Path) -> None:
    inner = word().hex()
    attached = __import__("base64").b64encode(bytes.fromhex(inner)).decode()
    message = mail(
        "--b\nContent-Type: text/plain; charset=utf-8\n\nDear all,\n\nsee the files.\n"
        "--b\nContent-Type: text/html\n\n<p>not this one</p>\n"
        f"--b\nContent-Disposition: attachment; filename=pumps.docx\nContent-Transfer-Encoding: base64\n\n{attached}\n"
        "--b\nContent-Disposition: attachment; filename=setup.exe\n\nMZ\n--b--\n"
    )
    document = read(written(tmp_path, "a.eml", message))
    assert shape(document) == [
        ("heading", "Test", ("Test",)),
        ("paragraph", "From: a@example.org", ("Test",)),
        ("paragraph", "Dear all,", ("Test",)),
        ("paragraph", "see the files.", ("Test",)),
        ("heading", "Pumps", ("Test", "pumps.docx", "Pumps")),
        ("paragraph", "The pump is serviced every year.", ("Test", "pumps.docx", "Pumps")),
    ]
    assert [page.number for page in document.pages] == [1, 2]
    [warning] = document.warnings
    assert warning.startswith("a.eml: its attachment setup.exe: Unsupported file type")


def test_a_picture_is_a_page_and_each_frame_of_a_tiff_one(tmp_path: Path) -> None:
    first, second = (Image.new("L", (400, size), 255) for size in (200, 300))
    stream = io.BytesIO()
    first.save(stream, "TIFF", save_all=True, append_images=[second], dpi=(200, 200))
    path = written(tmp_path, "a.tiff", stream.getvalue())
    document = read(path, wish=Wish(look=True, thumbnail_pixels=50))
    assert [(page.number, page.width, page.height) for page in document.pages] == [(1, 144, 72), (2, 144, 108)]
    assert all(page.pictures[0].whole for page in document.pages)
    assert Image.open(io.BytesIO(document.pages[1].thumbnail)).size == (50, 38)
    with pytest.raises(DocumentRefused, match=r"^a\.tiff: is a picture, and no vision service is set"):
        read(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "LA"])
def test_pictures_of_every_mode(tmp_path: Path, mode: str) -> None:
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    stream = io.BytesIO()
    Image.new(mode, (60, 50)).save(stream, kind)
    [page] = read(written(tmp_path, f"a.{kind.lower()}", stream.getvalue()), wish=Wish(look=True)).pages
    assert Image.open(io.BytesIO(page.pictures[0].png)).mode in ("L", "RGB")


def test_strict_compatibility_takes_the_blueprints_list_only() -> None:
    strict = {f".{suffix}" for suffix in SUPPORTED} - BEYOND_BLUEPRINT
    assert strict == {f".{suffix}" for suffix in
                      "bmp docx html jpeg jpg json md pdf png pptx sh tiff txt mp3 wav mp4 mov avi mkv".split()}
    assert extension("a.GIF") == ".gif"
    for suffix in BEYOND_BLUEPRINT:
        with pytest.raises(DocumentRefused, match="Unsupported file type, supported file types are: avi, bmp, docx"):
            extension(f"a{suffix}", strict=True)


def test_nothing_is_unpacked_to_disk(tmp_path: Path) -> None:
    path = written(tmp_path, "a.docx", with_part(word(), "../../../escape.xml", b"<x/>"))
    assert read(path).pages
    assert [p.name for p in tmp_path.iterdir()] == ["a.docx"]
    assert not (tmp_path.parent / "escape.xml").exists()


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO(word())
    with zipfile.ZipFile(stream, "a") as made, pytest.warns(UserWarning, match="Duplicate name"):
        made.writestr("word/document.xml", "<x/>")
    with pytest.raises(DocumentRefused, match="holds two parts of one name"):
        read(written(tmp_path, "a.docx", stream.getvalue()))
