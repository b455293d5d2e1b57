"""Between the ingestor and a reader's process: frames of JSON and bytes, bounded, nothing that could run.

A frame is two 4-byte lengths (JSON, bytes), the JSON object, and the bytes of its pictures laid end to end.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from ullage.ingest.document import KINDS, Block, Box, Page, Picture, Rendering

HEAD = struct.Struct("<II")
MOST_JSON_BYTES = 64 << 20
MOST_BLOB_BYTES = 64 << 20


class BrokenFrame(Exception):
    """The other side does not speak this language."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`said["kind"]` is `page`, `rendering`, `end`, `refused`, `missing` or `memory`."""

    said: dict[str, Any]
    blob: bytes = b""


def write(stream: IO[bytes], frame: Frame) -> None:
    text = json.dumps(frame.said).encode()
    stream.write(HEAD.pack(len(text), len(frame.blob)))
    stream.write(text)
    stream.write(frame.blob)
    stream.flush()


def sizes(head: bytes) -> tuple[int, int]:
    """Lengths of the JSON and of the bytes. Raises BrokenFrame over the limits."""
    text, blob = HEAD.unpack(head)
    if text > MOST_JSON_BYTES or blob > MOST_BLOB_BYTES:
        raise BrokenFrame(f"a page of {text} + {blob} bytes")
    return text, blob


def frame_of(text: bytes, blob: bytes) -> Frame:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenFrame("no JSON") from None
    if not isinstance(said, dict):
        raise BrokenFrame("no JSON object")
    return Frame(said, blob)


def frame_of_page(page: Page, total: int) -> Frame:
    blobs = [*(picture.png for picture in page.pictures), page.thumbnail]
    return Frame({
        "kind": "page",
        "total": total,
        "number": page.number,
        "size": [page.width, page.height],
        "blocks": [
            [b.kind, b.text, b.level, list(b.path), list(b.items), b.caption, b.box] for b in page.blocks
        ],
        "pictures": [[p.place, list(p.path), p.box, p.whole, p.caption, p.bare] for p in page.pictures],
        "lengths": [len(blob) for blob in blobs],
    }, b"".join(blobs))


def frame_of_rendering(rendering: Rendering) -> Frame:
    return Frame({"kind": "rendering", "size": [rendering.width, rendering.height]}, rendering.png)


def rendering_of_frame(frame: Frame) -> Rendering:
    """Raises BrokenFrame for anything else than a rendering."""
    try:
        if frame.said["kind"] != "rendering":
            raise ValueError(frame.said["kind"])
        width, height = map(float, frame.said["size"])
    except (KeyError, ValueError, TypeError):
        raise BrokenFrame("no rendering") from None
    return Rendering(frame.blob, width, height)


def page_of_frame(frame: Frame) -> tuple[Page, int]:
    """The page and how many there are. Raises BrokenFrame unless every part has the type it should have."""
    said = frame.said
    try:
        blobs = list(_cut(frame.blob, said["lengths"]))
        width, height = said["size"]
        pictures = tuple(
            Picture(blob, int(place), tuple(map(str, path)), _box(box), bool(whole), str(caption), bool(bare))
            for (place, path, box, whole, caption, bare), blob in zip(said["pictures"], blobs[:-1], strict=True)
        )
        blocks = tuple(map(_block, said["blocks"]))
        return Page(int(said["number"]), blocks, float(width), float(height), pictures, blobs[-1]), int(said["total"])
    except (KeyError, ValueError, TypeError, IndexError):
        raise BrokenFrame("a page with parts missing") from None


def _block(said: Sequence[Any]) -> Block:
    kind, text, level, path, items, caption, box = said
    if kind not in KINDS:
        raise ValueError(kind)
    return Block(kind, str(text), int(level), tuple(map(str, path)), tuple(map(str, items)), str(caption), _box(box))


def _box(said: Any) -> Box | None:
    if said is None:
        return None
    left, top, right, bottom = map(float, said)
    return (left, top, right, bottom)


def _cut(blob: bytes, lengths: Sequence[int]) -> list[bytes]:
    if sum(lengths) != len(blob) or min(lengths, default=0) < 0:
        raise ValueError("lengths")
    cut, begin = [], 0
    for length in lengths:
        cut.append(blob[begin : begin + length])
        begin += length
    return cut
