"""What a vision service saw becomes blocks in their places."""

from __future__ import annotations

from dataclasses import dataclass

from ullage.ingest.document import Block, Page, Picture
from ullage.ingest.look import Seen, SeenChart, SeenLine, SeenTable, looked_at


@dataclass
class Eye:
    """A vision service that sees what it was told."""

    seen: Seen

    async def read_page(self, png: bytes) -> Seen:
        assert png == b"png"
        return self.seen


def line(text: str, left: float, top: float, right: float = 0.9, height: float = 0.02, sure: float = 1.0) -> SeenLine:
    return SeenLine(text, (left, top, right, top + height), sure)


WHOLE = Page(4, (), 600, 800, (Picture(b"png", box=(0, 0, 600, 800), whole=True),), b"jpeg")


async def test_a_scanned_page_is_like_any_other() -> None:
    seen = Seen(
        lines=(
            line("second line of it.", 0.1, 0.223), line("The first paragraph has a", 0.1, 0.2),
            line("Winter lay-up", 0.1, 0.1, 0.6, 0.04), line("P-1", 0.2, 0.52, 0.3), line("~~", 0.5, 0.9, sure=0.2),
            line("Table 1: Pumps", 0.1, 0.45, 0.4), line("Figure 1: Water used", 0.1, 0.82, 0.5),
        ),
        tables=(SeenTable((("Pump", "Flow"), ("P-1", "3")), (0.1, 0.5, 0.9, 0.6)),),
        charts=(SeenChart("Water\nJan Feb", (0.1, 0.7, 0.9, 0.8)),),
    )
    page = await looked_at(WHOLE, Eye(seen))
    assert [(block.kind, block.text) for block in page.blocks] == [
        ("heading", "Winter lay-up"),
        ("paragraph", "The first paragraph has a second line of it."),
        ("table", "| Pump | Flow |\n|---|---|\n| P-1 | 3 |"),
        ("chart", "Water\nJan Feb"),
    ]
    assert [block.caption for block in page.blocks[2:]] == ["Table 1: Pumps", "Figure 1: Water used"]
    assert page.blocks[2].box == (60, 400, 540, 480)
    assert {block.path for block in page.blocks} == {("Winter lay-up",)}
    assert (page.pictures, page.thumbnail, page.number) == ((), b"jpeg", 4)


async def test_two_scanned_columns() -> None:
    lines = [line(f"left words of line number {n}", 0.1, 0.1 + 0.03 * n, 0.46) for n in range(8)]
    lines += [line(f"right words of line number {n}", 0.54, 0.1 + 0.03 * n) for n in range(8)]
    page = await looked_at(WHOLE, Eye(Seen(tuple(lines[::2] + lines[1::2]))))
    text = " ".join(block.text for block in page.blocks)
    assert text.index("left words of line number 7") < text.index("right words of line number 0")


async def test_a_picture_in_a_document_is_a_block_at_its_place() -> None:
    blocks = (Block("heading", "Plans", 1, ("Plans",)), Block("paragraph", "before", path=("Plans",)),
              Block("paragraph", "after", path=("Plans",)))
    page = Page(1, blocks, pictures=(Picture(b"png", 2, ("Plans",)),))
    seen = Seen((line("Valve B", 0.1, 0.5), line("Valve A", 0.1, 0.1)))
    found = await looked_at(page, Eye(seen))
    assert [(block.kind, block.text, block.path) for block in found.blocks[1:]] == [
        ("paragraph", "before", ("Plans",)),
        ("image", "Valve A\nValve B", ("Plans",)),
        ("paragraph", "after", ("Plans",)),
    ]


async def test_what_a_page_says_of_a_picture_goes_with_what_is_seen_on_it() -> None:
    page = Page(1, (Block("paragraph", "before"),), 600, 800,
                (Picture(b"png", 1, ("Plans",), (60, 80, 540, 400), caption="Figure 2: Water"),))
    seen = Seen((line("Valve A", 0.1, 0.1),), charts=(SeenChart("Jan Feb", (0.1, 0.5, 0.9, 0.9)),))
    found = await looked_at(page, Eye(seen))
    assert [(block.kind, block.text, block.caption, block.path) for block in found.blocks[1:]] == [
        ("image", "Valve A", "Figure 2: Water", ("Plans",)), ("chart", "Jan Feb", "Figure 2: Water", ("Plans",)),
    ]
    nothing = await looked_at(page, Eye(Seen()))
    assert [(block.kind, block.text) for block in nothing.blocks[1:]] == [("paragraph", "Figure 2: Water")]


async def test_nothing_seen_adds_nothing() -> None:
    page = await looked_at(WHOLE, Eye(Seen()))
    assert page.blocks == ()


async def test_two_pictures_keep_their_order() -> None:
    page = Page(1, (Block("paragraph", "x"),), pictures=(Picture(b"png", 0), Picture(b"png", 1)))
    found = await looked_at(page, Eye(Seen((line("seen", 0.1, 0.1),))))
    assert [block.text for block in found.blocks] == ["seen", "x", "seen"]
