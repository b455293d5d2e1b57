"""PDF: the text layer by pdfium, page by page, with headings, tables and paragraphs found again.

Scripts, forms' actions, attachments and links are never run, opened or followed. What a document has of all pages
(sizes of headings) is learnt from a sample of them, so that a long one streams.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pypdfium2 as pdfium
import pypdfium2.raw as raw
from PIL import Image

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Headings, Page, Picture, Rendering, page_of
from ullage.ingest.readers.layout import Item, in_reading_order
from ullage.ingest.readers.pdf_blocks import Sizes, blocks_of
from ullage.ingest.readers.pdf_page import Line, Sheet, lines_of, rulings_of
from ullage.ingest.readers.pdf_running import RunningLines
from ullage.ingest.readers.pdf_tables import Figure, take_aligned, take_ruled
from ullage.ingest.readers.pdf_text import is_broken
from ullage.ingest.readers.pictures import MOST_PIXELS, MOST_SIDE, check_number, is_bare, png_of, thumbnail
from ullage.ingest.readers.source import Source

MOST_PAGES = 5000
MOST_POINTS = 14_400
"""A side of a page: 200 inches, as far as the format goes."""

SAMPLED = 64
"""Pages from which the sizes of headings are learnt."""

AHEAD = 6
"""Pages read ahead of the one that is given out, to know what repeats on its neighbours."""

LOOK_DPI = 200
LEAST_PICTURE = 0.03
"""Share of the page below which a picture on it is not looked at."""

MOST_PICTURES_PER_PAGE = 10

_PDFIUM = threading.Lock()
"""pdfium is not thread-safe."""


@dataclass(slots=True)
class _Leaf:
    """What was found on one page, in reading order. `bare`: it shows something, but says nothing that can be read;
    then `pictures` has the whole of it."""

    number: int
    width: float
    height: float
    items: list[Item] = field(default_factory=list)
    bare: str = ""
    pictures: tuple[Picture, ...] = ()
    thumbnail: bytes = b""


def read_pdf(source: Source) -> Iterator[Page]:
    """Raises DocumentRefused for an encrypted or broken file, too many pages, or nothing on any page that can be read.

    Pages without a text layer, or with a broken one, in a file that has good ones are named in `warnings`, unless a
    vision service looks at them.
    """
    with _PDFIUM:
        document = _opened(source)
        try:
            source.total = len(document)
            sizes = _sampled(document, source)
            headings = Headings()
            bare: list[_Leaf] = []
            any_text = False
            for leaf in RunningLines(AHEAD).dropped(_leaves(document, source)):
                any_text = any_text or bool(leaf.items)
                if leaf.bare and not source.wish.look:
                    bare.append(leaf)
                    leaf.items = []
                items = [*map(_as_read, blocks_of(leaf.items, sizes, headings, leaf.height)), *leaf.pictures]
                page = page_of(leaf.number, items, leaf.width, leaf.height)
                yield replace(page, thumbnail=leaf.thumbnail)
        finally:
            document.close()
    if bare:
        _tell(bare, source)


def _as_read(found: Block | Figure) -> Block | Picture:
    return replace(found.shown, path=found.path, caption=found.caption) if isinstance(found, Figure) else found


def render_pdf(source: Source, number: int, pixels: int) -> Rendering:
    """A page in colour, its longer side of `pixels`. Raises DocumentRefused, NotFound."""
    with _PDFIUM:
        document = _opened(source)
        try:
            check_number(source.name, number, len(document))
            with _page(document, number - 1, source) as page:
                sheet = Sheet.of(page)
                scale = pixels / max(sheet.width, sheet.height)
                image = _rendered(page, sheet, scale, grey=False)
        finally:
            document.close()
    return Rendering(png_of(image), sheet.width, sheet.height)


def _tell(bare: Sequence[_Leaf], source: Source) -> None:
    reason = bare[0].bare
    remedy = "set vision_url to have them read by OCR"
    if len(bare) == source.total:
        raise DocumentRefused(f"{source.name}: {len(bare)} of {source.total} pages have {reason}; {remedy}, or give a "
                              "PDF with text")
    shown = ", ".join(str(leaf.number) for leaf in bare[:10]) + (" ..." if len(bare) > 10 else "")
    have = f"page {shown} has" if len(bare) == 1 else f"pages {shown} have"
    source.warnings.append(f"{source.name}: {have} {reason} and cannot be found ({len(bare)} of {source.total} pages); "
                           f"{remedy}")


def _opened(source: Source) -> pdfium.PdfDocument:
    try:
        document = pdfium.PdfDocument(source.content if source.path is None else source.path)
    except pdfium.PdfiumError as error:
        # pdfium leaves the last document's error standing where it gives none for this one.
        if getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD and _says_encrypted(source):
            raise DocumentRefused(f"{source.name}: is encrypted; remove the password and upload it again") from None
        raise DocumentRefused(f"{source.name}: is a broken PDF; save or print it to PDF again") from None
    if not 0 < len(document) <= MOST_PAGES:
        pages = len(document)
        document.close()
        raise DocumentRefused(f"{source.name}: has {pages} pages, {MOST_PAGES} at most; split it" if pages else
                              f"{source.name}: has no pages; save or print it to PDF again")
    return document


def _says_encrypted(source: Source) -> bool:
    with source.open() as stream:
        kept = b""
        while part := stream.read(1 << 20):
            if b"/Encrypt" in kept + part:
                return True
            kept = part[-8:]
    return False


def _sampled(document: pdfium.PdfDocument, source: Source) -> Sizes:
    sizes = Sizes()
    count = len(document)
    places = range(count) if count <= SAMPLED else range(0, count, count // SAMPLED + 1)
    for index in places:
        with _page(document, index, source) as page:
            sizes.add(lines_of(page, Sheet.of(page))[0])
    return sizes


@contextmanager
def _page(document: pdfium.PdfDocument, index: int, source: Source) -> Iterator[pdfium.PdfPage]:
    try:
        page = document[index]
    except pdfium.PdfiumError:
        raise DocumentRefused(f"{source.name}: page {index + 1} is broken; save or print it to PDF again") from None
    try:
        if not 0 < max(page.get_size()) <= MOST_POINTS:
            raise DocumentRefused(f"{source.name}: page {index + 1} is larger than {MOST_POINTS} points; print it to "
                                  "PDF again")
        yield page
    finally:
        page.close()


def _leaves(document: pdfium.PdfDocument, source: Source) -> Iterator[_Leaf]:
    for index in range(len(document)):
        with _page(document, index, source) as page:
            yield _leaf(page, index + 1, source)


def _leaf(page: pdfium.PdfPage, number: int, source: Source) -> _Leaf:
    sheet = Sheet.of(page)
    leaf = _Leaf(number, sheet.width, sheet.height)
    lines, unmapped = lines_of(page, sheet)
    if not lines:
        leaf.bare = "no text layer" if next(iter(page.get_objects(max_depth=2)), None) is not None else ""
    elif is_broken(" ".join(line.text for line in lines), unmapped):
        leaf.bare = "a text layer that makes no sense"
    else:
        items, _ = take_ruled(lines, rulings_of(page, sheet))
        leaf.items = take_aligned(in_reading_order(items))
    if source.wish.look and leaf.bare:
        whole = (0.0, 0.0, sheet.width, sheet.height)
        shown = _rendered(page, sheet, LOOK_DPI / 72)
        leaf.pictures = (Picture(png_of(shown), box=whole, whole=True, bare=is_bare(shown)),)
    elif source.wish.look:
        for figure in list(_figures(page, sheet, leaf)):
            leaf.items.insert(_place(figure, leaf.items), figure)
    if source.wish.thumbnail_pixels:
        pixels = source.wish.thumbnail_pixels
        leaf.thumbnail = thumbnail(_rendered(page, sheet, pixels / max(sheet.width, sheet.height)), pixels)
    return leaf


def _rendered(page: pdfium.PdfPage, sheet: Sheet, scale: float, *, grey: bool = True) -> Image.Image:
    """Never of more pixels than a picture may have."""
    side, area = max(sheet.width, sheet.height), sheet.width * sheet.height
    scale = min(scale, MOST_SIDE / side, (MOST_PIXELS / 4 / max(1.0, area)) ** 0.5)
    image: Image.Image = page.render(scale=scale, grayscale=grey, may_draw_forms=False).to_pil()
    return image


def _figures(page: pdfium.PdfPage, sheet: Sheet, leaf: _Leaf) -> Iterator[Figure]:
    """The larger pictures on a page."""
    places = [place for place in map(sheet.clipped, _image_boxes(page, sheet)) if place is not None
              and (place[2] - place[0]) * (place[3] - place[1]) >= LEAST_PICTURE * sheet.width * sheet.height]
    places = [place for place in places if not _has_text(leaf.items, place)][:MOST_PICTURES_PER_PAGE]
    if not places:
        return
    image = _rendered(page, sheet, LOOK_DPI / 72)
    scale = image.width / sheet.width
    for left, bottom, right, top in places:
        box = (left, sheet.height - top, right, sheet.height - bottom)
        crop = image.crop((round(box[0] * scale), round(box[1] * scale), round(box[2] * scale), round(box[3] * scale)))
        yield Figure([], left, bottom, right, top, Picture(png_of(crop), box=box))


def _place(figure: Figure, items: Sequence[Item]) -> int:
    """Before which item of the page in reading order: the first below it in its column, else after the last above."""
    beside = [(at, item) for at, item in enumerate(items) if item.left < figure.right and item.right > figure.left]
    below = [at for at, item in beside if item.top + item.bottom < figure.top + figure.bottom]
    above = [at + 1 for at, item in beside if item.top + item.bottom >= figure.top + figure.bottom]
    return min(below, default=max(above, default=len(items)))


def _image_boxes(page: pdfium.PdfPage, sheet: Sheet) -> Iterator[tuple[float, float, float, float]]:
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        yield sheet.shown(*item.get_bounds())


def _has_text(items: Sequence[Item], place: tuple[float, float, float, float]) -> bool:
    """Whether the text layer has lines over the picture: then somebody has read it already."""
    left, bottom, right, top = place
    inside = [item for item in items if isinstance(item, Line) and left <= (item.left + item.right) / 2 <= right
              and bottom <= (item.bottom + item.top) / 2 <= top]
    return len(inside) > 2
