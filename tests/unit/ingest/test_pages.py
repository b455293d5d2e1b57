"""Pages as they look, from uploads that are kept as long as a document needs them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageDraw

from hashing import RunIngest
from hostile import pdf
from ullage.errors import DocumentRefused, NotFound
from ullage.ingest.readers import read, rendered
from ullage.ingest.readers.source import Source, Wish
from ullage.ingest.sandbox import ReadLimits, Sandbox
from ullage.ingest.sandbox_wire import BrokenFrame, Frame, rendering_of_frame
from ullage.store import VectorStore


async def taken(client: httpx.AsyncClient, files: dict[str, bytes]) -> None:
    await client.post("/collection", json={"collection_name": "c"})
    parts = [("documents", (name, content)) for name, content in files.items()]
    answer = await client.post("/documents", files=parts, data={"data": json.dumps({"blocking": True})})
    assert answer.status_code == 200, answer.text


def two_pages() -> bytes:
    return pdf(lambda canvas: (canvas.drawString(60, 700, "One."), canvas.showPage(),
                               canvas.setFillColorRGB(1, 0, 0), canvas.rect(100, 400, 200, 100, fill=1),
                               canvas.drawString(60, 700, "Two.")))


def uploads(folder: Path) -> list[Path]:
    return [path for path in (folder / "ingest" / "uploads").rglob("*") if path.is_file()]


async def shown(client: httpx.AsyncClient, name: str, **query: object) -> httpx.Response:
    return await client.get("/v1/pages", params={"collection_name": "c", "document_name": name, **query})


async def test_a_page_is_shown_with_the_measures_of_the_boxes_on_it(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        await taken(client, {"a.pdf": two_pages(), "b.md": b"# B\n\nText.\n"})
        answer = await shown(client, "a.pdf", page=2, pixels=421)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers["x-ullage-page-source"] == "original"
        image = Image.open(io.BytesIO(answer.content))
        assert max(image.size) == 421
        x, y = (round(at * 421 / 842) for at in (200, 842 - 450))
        assert image.convert("RGB").getpixel((x, y)) == (255, 0, 0)
        missing = await shown(client, "a.pdf", page=3)
        assert (missing.status_code, missing.json()["message"]) == (404, "a.pdf: has no page 3: it has 2")
        unknown = await shown(client, "none.pdf")
        assert unknown.status_code == 404
        assert "Document none.pdf does not exist in collection c" in unknown.json()["message"]
        nowhere = await client.get("/v1/pages", params={"collection_name": "n", "document_name": "a.pdf"})
        assert nowhere.status_code == 404
        without = await shown(client, "b.md")
        assert (without.status_code, without.json()["message"]) == (
            422, "b.md: pages of .md files cannot be shown, only of PDFs and pictures")
        assert (await shown(client, "a.pdf", page=0)).status_code == 422
        width, height = answer.headers["x-ullage-page-size"].split("x")
    store = VectorStore(str(tmp_path / "vectors.db"))
    [chunk] = [chunk for chunk in store.chunks("c", "a.pdf")[0] if chunk.page == 2]
    store.close()
    assert chunk.metadata["location_max_dimensions"] == [float(width), float(height)]


async def test_uploads_are_kept_as_long_as_a_document_has_their_bytes(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        await taken(client, {"a.md": b"# A\n\nOne.\n", "b.md": b"# B\n\nTwo.\n"})
        await taken(client, {"c.md": b"# A\n\nOne.\n", "b.md": b"# B\n\nOf a name that is taken.\n"})
        assert len(uploads(tmp_path)) == 2
        await client.request("DELETE", "/documents", params={"collection_name": "c"}, json=["a.md"])
        assert len(uploads(tmp_path)) == 2
        parts = [("documents", ("b.md", b"# B\n\nOther bytes.\n"))]
        changed = await client.patch("/documents", files=parts, data={"data": json.dumps({"blocking": True})})
        assert changed.json()["documents_completed"] == 1
        assert sorted(path.read_bytes() for path in uploads(tmp_path)) == [b"# A\n\nOne.\n", b"# B\n\nOther bytes.\n"]
    async with ingest() as client:
        assert len(uploads(tmp_path)) == 2
        await client.request("DELETE", "/collections", json=["c"])
        assert uploads(tmp_path) == []


async def test_without_its_upload_a_page_is_shown_small(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest(keep_uploads=False, thumbnail_pixels=64) as client:
        await taken(client, {"a.pdf": pdf()})
        assert uploads(tmp_path) == []
        answer = await shown(client, "a.pdf")
        assert (answer.status_code, answer.headers["x-ullage-page-source"]) == (200, "thumbnail")
        assert Image.open(io.BytesIO(answer.content)).height == 64
        [width, height] = map(float, answer.headers["x-ullage-page-size"].split("x"))
        assert (round(width), round(height)) == (595, 842)
        for path in (tmp_path / "ingest" / "pages").rglob("*.jpg"):
            path.unlink()
        gone = await shown(client, "a.pdf")
        assert (gone.status_code, "neither its file nor a picture of page 1 is kept" in gone.text) == (404, True)


def test_a_picture_is_shown_upright_and_measured_so(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 99, 199), fill="blue")
    exif = image.getexif()
    exif[0x0112] = 6
    path = tmp_path / "photo.jpg"
    image.save(path, exif=exif, dpi=(72, 72))
    [page] = read(path, wish=Wish(look=True)).pages
    made = rendered(Source("photo.jpg", path), 1, 150)
    assert (page.width, page.height) == (made.width, made.height) == (200, 300)
    shown = Image.open(io.BytesIO(made.png)).convert("RGB")
    assert shown.size == (100, 150)
    assert shown.getpixel((50, 10))[2] > 200 > 100 > shown.getpixel((50, 10))[0]
    with pytest.raises(NotFound, match=r"^photo\.jpg: has no page 2: it has 1$"):
        rendered(Source("photo.jpg", path), 2, 150)


async def test_a_reader_is_not_trusted_with_a_rendering(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"%PDF-1.4 nothing")
    sandbox = Sandbox(ReadLimits())
    with pytest.raises(DocumentRefused, match=r"^x\.pdf: is a broken PDF"):
        await sandbox.render(path, "x.pdf", 1, 100)
    with pytest.raises(DocumentRefused, match=r"^x\.png: "):
        await sandbox.render(path, "x.png", 1, 100)
    await sandbox.close()
    for said in ({}, {"kind": "rendering"}, {"kind": "page", "size": [1, 2]}, {"kind": "rendering", "size": ["a", 1]}):
        with pytest.raises(BrokenFrame):
            rendering_of_frame(Frame(said))
