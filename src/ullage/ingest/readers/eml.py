"""Mail messages: who, when and about what, the text, and each attachment that can be read."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Headings, Page, Picture, clean, one_line, page_of
from ullage.ingest.readers.html import blocks_of_html
from ullage.ingest.readers.source import Source
from ullage.ingest.readers.text import paragraphs

MOST_PARTS = 500
DEEPEST = 3
"""Messages and attachments inside each other."""

SHOWN = ("From", "To", "Cc", "Date", "Subject")

ReadInner = Callable[[Source], Iterator[Page]]


def read_eml(source: Source, read_inner: ReadInner) -> Iterator[Page]:
    """The message is page 1, attachments follow. What an attachment is refused for stands in the warnings."""
    try:
        message = email.message_from_bytes(source.read(), policy=email.policy.default)
        parts = list(_parts(message, 0))
    except RecursionError:
        raise DocumentRefused(f"{source.name}: nests its parts too deep; save it again") from None
    if len(parts) > MOST_PARTS:
        raise DocumentRefused(f"{source.name}: has {len(parts)} parts, {MOST_PARTS} at most; split it")
    subject = _header(message, "Subject")
    if not any(message.get(name) for name in SHOWN):
        raise DocumentRefused(f"{source.name}: is no mail message (it has no From, To, Date or Subject); rename it")
    headings = Headings()
    yield page_of(1, _body(message, parts, headings, subject, source))
    number = 1
    for name, content in _attachments(parts):
        for page in _attached(source, name, content, read_inner):
            number += 1
            source.total = max(source.total, number)
            yield _moved(page, number, (*([subject] if subject else []), name))


def _parts(message: Any, depth: int) -> Iterator[Any]:
    """Leaves; a message inside is one leaf."""
    if depth > 50:
        raise RecursionError
    if message.is_multipart() and message.get_content_type() != "message/rfc822":
        for part in message.iter_parts() if isinstance(message, EmailMessage) else message.get_payload():
            yield from _parts(part, depth + 1)
    else:
        yield message


def _header(message: Any, name: str) -> str:
    """As text; headers that break the rules are shown as far as they can be read."""
    try:
        return one_line(str(message.get(name) or ""))
    except (ValueError, TypeError, AttributeError, IndexError, LookupError):
        return ""


def _body(
    message: Any, parts: list[Any], headings: Headings, subject: str, source: Source
) -> Iterator[Block | Picture]:
    if subject:
        yield headings.enter(1, subject)
    head = [f"{name}: {_header(message, name)}" for name in SHOWN[:-1] if _header(message, name)]
    if head:
        yield Block("paragraph", "\n".join(head), path=headings.path)
    texts = [part for part in parts if not _is_attached(part) and part.get_content_maintype() == "text"]
    plain = [part for part in texts if part.get_content_type() == "text/plain"]
    for part in plain or texts:
        text = _text(part)
        if part.get_content_type() == "text/html":
            yield from blocks_of_html(text, Headings.under(headings.path), source)
        else:
            yield from (Block("paragraph", one, path=headings.path) for one in paragraphs(text))


def _is_attached(part: Any) -> bool:
    return bool(part.get_filename()) or part.get_content_disposition() == "attachment"


def _text(part: Any) -> str:
    try:
        return clean(str(part.get_content()))
    except (LookupError, ValueError, TypeError, AttributeError):
        content = part.get_payload(decode=True)
        return clean((content or b"").decode("utf-8", "replace"))


def _attachments(parts: list[Any]) -> Iterator[tuple[str, bytes]]:
    for number, part in enumerate(parts, start=1):
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload()
            yield f"message-{number}.eml", bytes(inner[0] if isinstance(inner, list) and inner else b"")
        elif _is_attached(part):
            yield one_line(str(part.get_filename() or f"attachment-{number}")), part.get_payload(decode=True) or b""


def _attached(source: Source, name: str, content: bytes, read_inner: ReadInner) -> Iterator[Page]:
    label = f"{source.name}: its attachment "
    if source.depth >= DEEPEST:
        source.warnings.append(f"{label}{name} is not read: {DEEPEST} messages inside each other at most")
        return
    inner = source.inner(name, content)
    try:
        yield from read_inner(inner)
    except DocumentRefused as refusal:
        source.warnings.append(label + refusal.message)
    source.warnings += [label + warning for warning in inner.warnings]


def _moved(page: Page, number: int, above: tuple[str, ...]) -> Page:
    blocks = tuple(replace(block, path=(*above, *block.path)) for block in page.blocks)
    pictures = tuple(replace(picture, path=(*above, *picture.path)) for picture in page.pictures)
    return replace(page, number=number, blocks=blocks, pictures=pictures)
