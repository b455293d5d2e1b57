"""Files that mean harm or are broken, made on the fly: each with its name and the refusal that it must get.

Nothing of it is stored. `expected` is a pattern for the whole refusal; None for a file that must be read, without harm.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import docx
import openpyxl
import pptx
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

CONTENT_TYPES = "[Content_Types].xml"
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Hostile:
    """`make` gives the bytes. `look`: a vision service is there, so pictures are decoded."""

    name: str
    make: Callable[[], bytes]
    expected: str | None
    look: bool = False


def word() -> bytes:
    document = docx.Document()
    document.add_heading("Pumps", 1)
    document.add_paragraph("The pump is serviced every year.")
    return saved(document)


def slides() -> bytes:
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[1]).shapes.title.text = "Pumps"
    return saved(deck)


def sheet() -> bytes:
    book = openpyxl.Workbook()
    for row in (["Pump", "Flow"], ["P-1", 3], ["P-2", 4]):
        book.active.append(row)
    return saved(book)


def saved(document) -> bytes:
    document.save(stream := io.BytesIO())
    return stream.getvalue()


def book(chapter: str = "<html><body><p>Text.</p></body></html>", href: str = "a.xhtml", **parts: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("mimetype", "application/epub+zip")
        made.writestr("META-INF/container.xml", '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
                      '<rootfiles><rootfile full-path="o/b.opf"/></rootfiles></container>')
        made.writestr("o/b.opf", '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
                      f'<item id="a" href="{href}" media-type="application/xhtml+xml"/></manifest>'
                      '<spine><itemref idref="a"/></spine></package>')
        made.writestr("o/a.xhtml", chapter)
        for name, content in parts.items():
            made.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def with_part(container: bytes, name: str, content: bytes) -> bytes:
    """The container with one part replaced or added."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(container)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename != name:
                new.writestr(entry.filename, old.read(entry))
        new.writestr(name, content)
    return stream.getvalue()


def bomb(container: bytes, name: str, mebibytes: int = 600) -> bytes:
    """A part of zeros, packed a thousand times, written piece by piece."""
    stream = io.BytesIO(container)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as made, made.open(name, "w", force_zip64=True) as part:
        for _ in range(mebibytes):
            part.write(bytes(MEBIBYTE))
    return stream.getvalue()


def lying_bomb() -> bytes:
    """A Word file whose directory says that its 600 MiB part has 10 bytes."""
    made = bytearray(bomb(word(), "word/media/x.xml"))
    at = made.rfind(b"PK\x01\x02")
    made[at + 24 : at + 28] = struct.pack("<I", 10)
    return bytes(made)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BILLION = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]><x>&l9;</x>'.encode()
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
QUADRATIC = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 100_000 + b'">]><x>' + b"&a;" * 100_000 + b"</x>"


def one_line(canvas: Canvas) -> None:
    canvas.drawString(60, 700, "A line of text.")


def pdf(draw: Callable[[Canvas], None] = one_line, **options) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, **options)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return stream.getvalue()


def raw_pdf(*objects: str, streams: dict[int, bytes] | None = None) -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalog."""
    out = io.BytesIO(b"%PDF-1.7\n")
    out.seek(0, 2)
    places = []
    for number, text in enumerate(objects, start=1):
        places.append(out.tell())
        stream = (streams or {}).get(number)
        body = b"" if stream is None else b"\nstream\n" + stream + b"\nendstream"
        out.write(f"{number} 0 obj\n{text}".encode() + body + b"\nendobj\n")
    at = out.tell()
    out.write(f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n".encode())
    out.writelines(f"{place:010d} 00000 n \n".encode() for place in places)
    out.write(f"trailer\n<< /Size {len(places) + 1} /Root 1 0 R >>\nstartxref\n{at}\n%%EOF\n".encode())
    return out.getvalue()


FONT = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
SAY = b"BT /F 12 Tf 60 700 Td (The pump is serviced every year.) Tj ET"


def page_pdf(catalog: str = "", contents: bytes = SAY, box: str = "[0 0 595 842]", *more: str) -> bytes:
    return raw_pdf(
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Contents 4 0 R /Resources {FONT} >>",
        f"<< /Length {len(contents)} >>",
        *more,
        streams={4: contents},
    )


def deflated_page(mebibytes: int) -> bytes:
    """A page whose content unpacks to this much."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(b"q Q " * (MEBIBYTE // 4)) for _ in range(mebibytes)]
    packed = b"".join([*parts, packer.flush()])
    return raw_pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>",
        f"<< /Length {len(packed)} /Filter /FlateDecode >>",
        streams={4: packed},
    )


def endless_tree() -> bytes:
    """A page tree that is its own child and counts a billion pages."""
    return raw_pdf("<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000000 >>")


def deep_tree() -> bytes:
    nodes = [f"<< /Type /Pages /Kids [{n + 1} 0 R] /Count 1 >>" for n in range(2, 3000)]
    return raw_pdf("<< /Type /Catalog /Pages 2 0 R >>", *nodes, "<< /Type /Page /MediaBox [0 0 9 9] >>")


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG that says it is this large; without `body` it holds no pixels."""
    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", body) + part(b"IEND", b"")


def whole_large_png(side: int) -> bytes:
    """All its pixels are there: zeros, packed a thousand times."""
    packer = zlib.compressobj(9)
    row = bytes(3 * side + 1)
    parts = [packer.compress(row) for _ in range(side)]
    return png(side, side, b"".join([*parts, packer.flush()]))


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(stream, kind)
    return stream.getvalue()


def cut(content: bytes, share: float = 0.6) -> bytes:
    return content[: int(len(content) * share)]


def mail(body: str, *, boundary: str = "b") -> bytes:
    return (f"From: a@example.org\nSubject: Test\nMIME-Version: 1.0\n"
            f"Content-Type: multipart/mixed; boundary={boundary}\n\n{body}").encode()


def nested_mail(depth: int) -> bytes:
    text = "From: a@example.org\nSubject: x\n\ntext\n"
    for _ in range(depth):
        text = f"From: a@example.org\nSubject: x\nContent-Type: message/rfc822\n\n{text}"
    return text.encode()


def nested_parts(depth: int) -> bytes:
    opened = "".join(f"--b{n}\nContent-Type: multipart/mixed; boundary=b{n + 1}\n\n" for n in range(depth))
    return mail(opened, boundary="b0")


def corpus() -> Iterator[Hostile]:
    yield from _containers()
    yield from _pdfs()
    yield from _texts()
    yield from _pictures()
    yield from _truncated()
    yield from _wrong()


def _containers() -> Iterator[Hostile]:
    exploding = r"unpacks from \d+ to \d+ bytes, 536870912 and 150 times at most"
    yield Hostile("bomb.docx", lambda: bomb(word(), "word/media/x.xml"), exploding)
    yield Hostile("bomb.xlsx", lambda: bomb(sheet(), "xl/worksheets/sheet9.xml"), exploding)
    yield Hostile("bomb.pptx", lambda: bomb(slides(), "ppt/slides/slide9.xml"), exploding)
    yield Hostile("bomb.epub", lambda: bomb(book(), "o/b.xhtml"), exploding)
    yield Hostile("small-bomb.docx", lambda: bomb(word(), "word/media/x.xml", 60), exploding)
    yield Hostile("lying-bomb.docx", lying_bomb, "is broken; save it again")
    entities = "defines XML entities or a document type"
    yield Hostile("laughs.docx", lambda: with_part(word(), "word/document.xml", BILLION), entities)
    yield Hostile("laughs.xlsx", lambda: with_part(sheet(), "xl/worksheets/sheet1.xml", BILLION), entities)
    yield Hostile("laughs.pptx", lambda: with_part(slides(), "ppt/slides/slide1.xml", BILLION), entities)
    yield Hostile("laughs.epub", lambda: with_part(book(), "o/b.opf", BILLION), entities)
    yield Hostile("outside.docx", lambda: with_part(word(), "word/document.xml", OUTSIDE), entities)
    yield Hostile("outside.xlsx", lambda: with_part(sheet(), "xl/sharedStrings.xml", OUTSIDE), entities)
    yield Hostile("outside.epub", lambda: book(OUTSIDE.decode()), entities)
    yield Hostile("quadratic.docx", lambda: with_part(word(), "word/document.xml", QUADRATIC), entities)
    wide = OUTSIDE.decode().encode("utf-16")
    yield Hostile("utf16.docx", lambda: with_part(word(), "word/document.xml", wide), entities)
    yield Hostile("climbing.epub", lambda: book(href="../../../../etc/passwd"), r"lacks its part '[./]+/etc/passwd'")
    yield Hostile("absolute.epub", lambda: book(href="/etc/passwd"), "lacks its part '/etc/passwd'")
    yield Hostile("climbing.docx", lambda: with_part(word(), "../../escape.xml", b"<x/>"), None)
    yield Hostile("drm.epub", lambda: book(**{"META-INF__encryption.xml": RIGHTS}), "is copy-protected")
    yield Hostile("locked.docx", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4000),
                  "is an old or encrypted Office file, not a Word file as its name says; remove its password")
    yield Hostile("empty.docx", lambda: with_part(word(), "word/document.xml", b""), "is a broken Word file")
    yield Hostile("parts.docx", lambda: many_parts(12_000), "parts, 10000 at most")
    yield Hostile("tall.xlsx", tall_sheet, None)


RIGHTS = (
    b'<encryption><EncryptedData xmlns="http://www.w3.org/2001/04/xmlenc#"><EncryptionMethod '
    b'Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></EncryptedData></encryption>'
)


def many_parts(count: int) -> bytes:
    stream = io.BytesIO(word())
    with zipfile.ZipFile(stream, "a") as made:
        for number in range(count):
            made.writestr(f"word/x{number}.bin", b"")
    return stream.getvalue()


def tall_sheet() -> bytes:
    """A sheet that says it reaches to the last cell, and whose second row is the last there can be."""
    made = sheet()
    with zipfile.ZipFile(io.BytesIO(made)) as old:
        text = old.read("xl/worksheets/sheet1.xml").decode()
    text = text.replace('ref="A1:B3"', 'ref="A1:XFD1048576"').replace('r="3"', 'r="1048576"').replace(
        'r="A3"', 'r="A1048576"').replace('r="B3"', 'r="B1048576"')
    return with_part(made, "xl/worksheets/sheet1.xml", text.encode())


def _pdfs() -> Iterator[Hostile]:
    yield Hostile("locked.pdf", lambda: pdf(encrypt=StandardEncryption("secret")), "is encrypted; remove the password")
    yield Hostile("script.pdf", lambda: page_pdf("/OpenAction << /S /JavaScript /JS (while(true){}) >>"), None)
    yield Hostile("launch.pdf", lambda: page_pdf("/OpenAction << /S /Launch /F (/bin/sh) >>"), None)
    yield Hostile("attached.pdf", lambda: page_pdf(
        "/Names << /EmbeddedFiles << /Names [(x.exe) << /Type /Filespec /F (x.exe) >>] >> >>"), None)
    yield Hostile("endless-tree.pdf", endless_tree, r"(has \d+ pages, 5000 at most|broken PDF|has no pages)")
    yield Hostile("deep-tree.pdf", deep_tree, r"(page 1 is broken|broken PDF|has no pages|holds no text)")
    yield Hostile("many-pages.pdf", lambda: raw_pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{'3 0 R ' * 6000}] /Count 6000 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>",
    ), "has 6000 pages, 5000 at most; split it")
    yield Hostile("vast-page.pdf", lambda: page_pdf(box="[0 0 9999999 9999999]"), "page 1 is larger than 14400 points")
    yield Hostile("packed-page.pdf", lambda: deflated_page(800),
                  "(wanted more than|was ended by SIG|took more than|holds no text)")
    yield Hostile("nested-arrays.pdf", lambda: page_pdf(f"/X {'[' * 100_000}{']' * 100_000}"),
                  None)
    yield Hostile("self-form.pdf", lambda: page_pdf(contents=b"/X Do " * 1000 + SAY), None)
    yield Hostile("no-text.pdf", lambda: pdf(lambda canvas: canvas.rect(9, 9, 9, 9)),
                  "1 of 1 pages have no text layer")
    yield Hostile("garbled.pdf", lambda: pdf(garbled), "1 of 1 pages have a text layer that makes no sense")


def garbled(canvas: Canvas) -> None:
    """Text as a font without a map gives it: every letter three places on."""
    plain = "The harbour master records the weekly readings before every departure of the ferry. "
    shifted = "".join(chr(ord(letter) - 29) if letter.islower() and letter < "d" else
                      chr((ord(letter) - 97 + 3) % 26 + 97) if letter.islower() else letter for letter in plain)
    for line in range(12):
        canvas.drawString(50, 780 - 14 * line, shifted)


def _texts() -> Iterator[Hostile]:
    deep = "nests more than 250 elements inside each other"
    yield Hostile("deep.html", lambda: b"<div>" * 1_000_000 + b"x", deep)
    yield Hostile("deep-tables.html", lambda: b"<table><tr><td>" * 50_000 + b"x", deep)
    yield Hostile("deep-lists.md", lambda: b"".join(b"  " * n + b"- x\n" for n in range(300)), "lists and quotations")
    yield Hostile("quotes.md", lambda: b">" * 200_000 + b" x", "nests more than 100 lists and quotations")
    yield Hostile("laughs.html", lambda: b"<html><body><p>kept</p>" + BILLION + b"</body></html>", None)
    yield Hostile("attributes.html", lambda: b"<p " + b" ".join(b"a%d=1" % n for n in range(300_000)) + b">text</p>",
                  "took more than 20 s")
    yield Hostile("span.html", lambda: b"<table>" + b"<tr><td colspan=99999999>x<td>y</tr>" * 3, None)
    yield Hostile("deep.json", lambda: b"[" * 5_000_000 + b"]" * 5_000_000, "nests more than 100 values")
    yield Hostile("deep-objects.json", lambda: b'{"a":' * 150 + b"1" + b"}" * 150, "nests more than 100 values")
    yield Hostile("number.json", lambda: b"[" + b"9" * 1_000_000 + b"]", None)
    yield Hostile("broken.json", lambda: b'{"a": ', "is not JSON")
    yield Hostile("wide.csv", lambda: b"," * 10_000_000, "has 10000001 columns, 2000 at most")
    yield Hostile("quoted.csv", lambda: b'"a' + b"b" * 30_000_000, "is no CSV file")
    yield Hostile("nested.eml", lambda: nested_mail(200), None)
    yield Hostile("parts.eml", lambda: nested_parts(5000), "nests its parts too deep")
    yield Hostile("many.eml", lambda: mail("--b\n\nx\n" * 20_000), "has 2000\\d parts, 500 at most")
    yield Hostile("attached.eml", lambda: mail(
        '--b\n\nThe text.\n--b\nContent-Disposition: attachment; filename="../../x.exe"\n\nMZ\n--b--\n'), None)
    yield Hostile("zeros.txt", lambda: bytes(1000), "is not text")
    yield Hostile("huge.txt", lambda: b"x" * (65 * MEBIBYTE), "has 68157440 bytes, 67108864 at most")
    yield Hostile("line.txt", lambda: b"word " * 4_000_000, None)


def _pictures() -> Iterator[Hostile]:
    large = "has 30000 x 30000 pixels, 20000 a side"
    yield Hostile("large.png", lambda: png(30_000, 30_000), large, look=True)
    yield Hostile("whole.png", lambda: whole_large_png(6_300), None, look=True)
    yield Hostile("long.png", lambda: png(4_000_000, 2), "has 4000000 x 2 pixels", look=True)
    yield Hostile("in-word.docx", with_large_picture, None, look=True)
    yield Hostile("in-page.html", in_page, None, look=True)
    yield Hostile("unset.png", lambda: picture("PNG"), "is a picture, and no vision service is set")
    unheard = "is audio or video, and no transcription is set"
    yield Hostile("talk.mp3", lambda: b"ID3\x04" + bytes(3000), unheard)
    yield Hostile("film.mp4", lambda: b"\0\0\0\x20ftypisom" + bytes(3000), unheard)


def with_large_picture() -> bytes:
    document = docx.Document()
    document.add_paragraph("The text stays.")
    document.add_picture(io.BytesIO(picture("PNG")))
    return with_part(saved(document), "word/media/image1.png", png(30_000, 30_000))


def in_page() -> bytes:
    import base64

    return b'<p>The text stays.</p><img src="data:image/png;base64,' + base64.b64encode(png(30_000, 30_000)) + b'">'


def _truncated() -> Iterator[Hostile]:
    container = "is a broken or cut off ZIP container"
    yield Hostile("cut.docx", lambda: cut(word()), f"({container}|is a ZIP archive)")
    yield Hostile("cut.pptx", lambda: cut(slides()), f"({container}|is a ZIP archive)")
    yield Hostile("cut.xlsx", lambda: cut(sheet()), f"({container}|is a ZIP archive)")
    yield Hostile("cut.epub", lambda: cut(book()), f"({container}|is a ZIP archive)")
    yield Hostile("cut.pdf", lambda: cut(pdf(), 0.3), "(is a broken PDF|has no pages|page 1 is broken|holds no text)")
    broken = "is a broken or cut off picture"
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF"):
        yield Hostile(f"cut.{kind.lower()}", lambda kind=kind: cut(picture(kind)), broken, look=True)
    yield Hostile("cut.json", lambda: cut(json.dumps({"a": [1, 2, 3]}).encode()), "is not JSON")
    yield Hostile("cut.html", lambda: cut(b"<html><body><p>The text stays.</p><table><tr><td>x</td>"), None)
    yield Hostile("cut.eml", lambda: cut(mail("--b\n\nThe text stays.\n--b--\n"), 0.95), None)


def _wrong() -> Iterator[Hostile]:
    yield Hostile("word.pdf", word, "is a Word file, not a PDF as its name says|is a ZIP archive")
    yield Hostile("pdf.docx", pdf, "is a PDF, not a Word file as its name says; rename or convert it")
    yield Hostile("sheet.docx", sheet, "is an Excel file, not a Word file as its name says; rename or convert it")
    yield Hostile("picture.txt", lambda: picture("PNG"), "is a PNG image, not txt as its name says; rename it")
    yield Hostile("jpeg.png", lambda: picture("JPEG"), "is a JPEG image, not a PNG image as its name says", look=True)
    yield Hostile("program.md", lambda: b"\x7fELF" + bytes(100), "is a program, not md as its name says")
    yield Hostile("text.xlsx", lambda: b"just text", "is not an Excel file as its name says")
    yield Hostile("empty.pdf", lambda: b"", r"is empty \(0 bytes\)")
    yield Hostile("empty.csv", lambda: b"", r"is empty \(0 bytes\)")
    yield Hostile("blank.csv", lambda: b"\n\n,,\n", "holds no text that could be searched")
    yield Hostile("page.xyz", lambda: b"x", "Unsupported file type, supported file types are: ")
    yield Hostile("noise.pdf", lambda: b"%PDF-1.7\n" + bytes(range(256)) * 400, "is a broken PDF")
    yield Hostile("noise.docx", lambda: b"PK\x03\x04" + bytes(range(256)) * 400, "is a ZIP archive")
