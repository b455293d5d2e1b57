"""What the numbers in an answer stand for, and where on a page that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ullage.web.kept import Turn

PAGE_PIXELS = 1400
THUMB_PIXELS = 200


@dataclass(frozen=True, slots=True)
class Cite:
    """`box` is left, top, width and height as shares [0, 1] of the page; None where the place is not known."""

    number: int
    document: str
    collection: str
    page: int | None
    place: str
    text: str
    score: float | None
    box: tuple[float, float, float, float] | None = None

    @property
    def picture(self) -> str:
        return picture(self.collection, self.document, self.page or 1)


def picture(collection: str, document: str, page: int, pixels: int = PAGE_PIXELS) -> str:
    """The address of a page's picture on our own server."""
    return "/page?" + urlencode({"collection": collection, "document": document, "page": page, "pixels": pixels})


def passages(turn: Turn) -> list[Cite]:
    """Every passage that was before the LLM, numbered from 1."""
    fallback = turn.collections[0] if turn.collections else ""
    return [of_result(result, number, fallback) for number, result in enumerate(turn.results, 1)]


def cited(turn: Turn) -> dict[int, Cite]:
    """The cite of each number in the answer: as the server links them, else the passages in their order."""
    found = passages(turn)
    linked = (turn.closing.get("grounding") or {}).get("citations")
    if linked is None:
        return {cite.number: cite for cite in found}
    return {int(one["number"]): _linked(one, found) for one in linked}


def of_result(result: dict[str, Any], number: int, collection: str = "") -> Cite:
    """One SourceResult of the contract."""
    metadata = result.get("metadata") or {}
    content = metadata.get("content_metadata") or {}
    page = metadata.get("page_number", content.get("page_number"))
    headings = content.get("headings") or []
    return Cite(
        number=number,
        document=str(result.get("document_name", "")),
        collection=str(metadata.get("collection_name") or collection),
        page=page if isinstance(page, int) and page > 0 else None,
        place=" › ".join(str(heading) for heading in headings),
        text=str(result.get("content", "")),
        score=result.get("score"),
        box=_box(metadata.get("location"), metadata.get("location_max_dimensions")),
    )


def _linked(one: dict[str, Any], found: list[Cite]) -> Cite:
    """A citation of the grounding beside the passage that it comes from."""
    document, page, text = str(one.get("document_name", "")), one.get("page_number"), str(one.get("text", ""))
    same = [cite for cite in found if cite.document == document.rsplit("/", 1)[-1] and (page is None or
                                                                                      cite.page in (page, None))]
    place = one.get("passage")
    named = [found[place]] if isinstance(place, int) and 0 <= place < len(found) else []
    whole = next((cite for cite in (*named, *same) if text and text in cite.text), (*named, *same, None)[0])
    return Cite(
        number=int(one["number"]),
        document=whole.document if whole else document,
        collection=whole.collection if whole else "",
        page=page if isinstance(page, int) else whole.page if whole else None,
        place=whole.place if whole and whole.place else _place(one, document),
        text=text or (whole.text if whole else ""),
        score=one.get("score"),
        box=_box(one.get("location"), one.get("location_max_dimensions")) or (whole.box if whole else None),
    )


def _place(one: dict[str, Any], document: str) -> str:
    """What the server calls the place, where that is more than the document and its page."""
    place = str(one.get("place") or "")
    return "" if place.startswith(document) else place


def _box(location: Any, dimensions: Any) -> tuple[float, float, float, float] | None:
    try:
        (left, top, right, bottom), (width, height) = map(float, location), map(float, dimensions)
    except (TypeError, ValueError):
        return None
    if not (width > 0 and height > 0 and 0 <= left < right and 0 <= top < bottom):
        return None
    right, bottom = min(right, width), min(bottom, height)
    return left / width, top / height, (right - left) / width, (bottom - top) / height
