"""EPUB books: the spine's documents in order, each a page, read as HTML. No text is fetched or unpacked to disk."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from lxml import etree

from ullage.errors import DocumentRefused
from ullage.ingest.document import Headings, Page, page_of
from ullage.ingest.readers.archive import archive, check_xml, part
from ullage.ingest.readers.html import blocks_of_html, text_of_html
from ullage.ingest.readers.source import Source

MOST_CHAPTERS = 5000
CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
_FONTS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")


def read_epub(source: Source) -> Iterator[Page]:
    with archive(source) as opened:
        check_xml(opened, source, doctypes=True)
        _check_rights(opened, source)
        chapters = list(_chapters(opened, source))
        source.total = len(chapters)
        headings = Headings()
        for number, chapter in enumerate(chapters, start=1):
            text = text_of_html(part(opened, source, chapter), source.name)
            yield page_of(number, blocks_of_html(text, headings, source))


def _check_rights(opened: zipfile.ZipFile, source: Source) -> None:
    """Fonts may be scrambled; a book whose text is cannot be read."""
    if ENCRYPTION not in opened.namelist():
        return
    said = _parsed(part(opened, source, ENCRYPTION), source)
    for method in said.iter("{http://www.w3.org/2001/04/xmlenc#}EncryptionMethod"):
        if (method.get("Algorithm") or "").encode() not in _FONTS:
            raise DocumentRefused(f"{source.name}: is copy-protected (DRM); give a file without protection")


def _chapters(opened: zipfile.ZipFile, source: Source) -> Iterator[str]:
    """Names of the parts in reading order."""
    container = _parsed(part(opened, source, CONTAINER), source)
    root = container.find(".//{*}rootfile")
    package = root.get("full-path", "") if root is not None else ""
    book = _parsed(part(opened, source, package), source)
    folder = posixpath.dirname(package)
    manifest = {item.get("id"): item for item in book.iter("{*}item")}
    entries = list(book.iter("{*}itemref"))
    if len(entries) > MOST_CHAPTERS:
        raise DocumentRefused(f"{source.name}: has {len(entries)} chapters, {MOST_CHAPTERS} at most; split it")
    seen = set()
    for entry in entries:
        item = manifest.get(entry.get("idref"))
        if item is None or "html" not in (item.get("media-type") or ""):
            continue
        name = posixpath.normpath(posixpath.join(folder, unquote((item.get("href") or "").partition("#")[0])))
        if name not in seen:
            seen.add(name)
            yield name


def _parsed(content: bytes, source: Source) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise DocumentRefused(f"{source.name}: is a broken EPUB book; save it again") from None
