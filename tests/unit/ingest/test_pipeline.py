"""From upload to chunks: places for citations, thumbnails, long files, sound, and hostile files among others."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from hashing import RunIngest
from hostile import corpus, pdf
from ullage.http.run import claim_port
from ullage.store import Chunk, VectorStore

MANUAL = b"# Pumps\n\nServiced every six months.\n"


async def taken(client: httpx.AsyncClient, files: dict[str, bytes]) -> dict:
    await client.post("/collection", json={"collection_name": "c"})
    parts = [("documents", (name, content)) for name, content in files.items()]
    answer = await client.post("/documents", files=parts, data={"data": json.dumps({"blocking": True})})
    assert answer.status_code == 200, answer.text
    return answer.json()


def stored(tmp_path: Path, document: str) -> list[Chunk]:
    store = VectorStore(str(tmp_path / "vectors.db"))
    try:
        return store.chunks("c", document)[0]
    finally:
        store.close()


async def test_chunks_say_where_they_stand_and_documents_do_not(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        body = await taken(client, {"a.pdf": pdf(), "b.md": MANUAL})
        assert [document["metadata"] for document in body["documents"]] == [{"filename": "a.pdf"}, {"filename": "b.md"}]
        copied = await taken(client, {"copy.pdf": pdf()})
        assert copied["documents_completed"] == 1
    for name in ("a.pdf", "copy.pdf"):
        [chunk] = stored(tmp_path, name)
        left, top, right, bottom = chunk.metadata["location"]
        assert (left, right > left, 130 < top < bottom < 150) == (60, True, True)
        assert [round(side) for side in chunk.metadata["location_max_dimensions"]] == [595, 842]
        assert (chunk.page, chunk.metadata["filename"]) == (1, name)
    assert "location" not in stored(tmp_path, "b.md")[0].metadata


async def test_thumbnails_live_as_long_as_their_document(ingest: RunIngest, tmp_path: Path) -> None:
    folder = tmp_path / "ingest" / "pages"
    async with ingest(thumbnail_pixels=64) as client:
        await taken(client, {"a.pdf": pdf(), "b.pdf": pdf(lambda canvas: canvas.drawString(9, 9, "Another line."))})
        kept = sorted(folder.rglob("*.jpg"))
        assert [path.name for path in kept] == ["1.jpg", "1.jpg"]
        assert Image.open(io.BytesIO(kept[0].read_bytes())).height == 64
        await client.request("DELETE", "/documents", params={"collection_name": "c"}, json=["a.pdf"])
        assert len(list(folder.rglob("*.jpg"))) == 1
        await client.request("DELETE", "/collections", json=["c"])
        assert list(folder.rglob("*.jpg")) == []
    async with ingest(thumbnail_pixels=0) as client:
        await taken(client, {"a.pdf": pdf()})
        assert list(folder.rglob("*.jpg")) == []


async def test_tables_are_told_from_text(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        await taken(client, {"a.md": b"# T\n\ntext here\n", "b.csv": b"Pump,Flow\nP-1,3\nP-2,4\n"})
    assert [chunk.type for chunk in stored(tmp_path, "a.md")] == ["text"]
    assert [chunk.type for chunk in stored(tmp_path, "b.csv")] == ["table"]


async def test_a_long_file_comes_in_whole(ingest: RunIngest, tmp_path: Path) -> None:
    rows = "".join(f"P-{n},{n} m3/h\n" for n in range(2000))
    async with ingest() as client:
        body = await taken(client, {"a.csv": f"Pump,Flow\n{rows}".encode()})
        info = body["documents"][0]["document_info"]
    chunks = stored(tmp_path, "a.csv")
    assert info["total_elements"] == len(chunks) > 64
    lines = [line for chunk in chunks for line in chunk.text.splitlines()]
    assert lines == [f"P-{n} — Flow: {n} m3/h" for n in range(2000)]
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))


async def test_strict_compatibility(ingest: RunIngest) -> None:
    async with ingest(strict_compatibility=True) as client:
        body = await taken(client, {"a.csv": b"a,b\n1,2\n", "a.gif": b"GIF89a", "a.md": MANUAL})
        failed = {file["document_name"]: file["error_message"] for file in body["failed_documents"]}
        assert set(failed) == {"a.csv", "a.gif"}
        assert all("Unsupported file type, supported file types are: " in line for line in failed.values())


async def test_hostile_files_fail_by_name_and_the_others_go_in(ingest: RunIngest) -> None:
    chosen = ("laughs.docx", "outside.epub", "endless-tree.pdf", "deep.json", "cut.xlsx", "talk.mp3", "unset.png")
    files = {file.name: file.make() for file in corpus() if file.name in chosen}
    async with ingest() as client:
        body = await taken(client, {"first.md": MANUAL, **files, "last.md": MANUAL + b"\nmore\n"})
        assert [document["document_name"] for document in body["documents"]] == ["first.md", "last.md"]
        failed = {file["document_name"]: file["error_message"] for file in body["failed_documents"]}
        assert set(failed) == set(chosen)
        assert all(line.startswith(f"{name}: ") and "\n" not in line for name, line in failed.items())


class Transcriber:
    """OpenAI's transcription route, which heard what it was told."""

    def __init__(self) -> None:
        self.status = 200
        self.body: dict = {}
        self.asked: dict = {}
        self.app = FastAPI()
        self.app.post("/v1/audio/transcriptions")(self._transcribe)

    async def _transcribe(self, request: Request) -> JSONResponse:
        async with request.form() as form:
            sent = form["file"].filename
            self.asked = {"model": form["model"], "name": sent, "key": request.headers["authorization"]}
        return JSONResponse(self.body, self.status)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    listener = claim_port("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def transcriber() -> Iterator[tuple[Transcriber, str]]:
    service = Transcriber()
    with served(service.app) as url:
        yield service, url


@pytest.fixture
def wordless() -> Iterator[str]:
    """A vision service that finds no letter on any picture."""
    app = FastAPI()

    @app.post("/v1/ocr")
    async def ocr(request: Request) -> dict:
        count = len((await request.json())["input"])
        return {"data": [{"index": number, "text_detections": []} for number in range(count)]}

    with served(app) as url:
        yield url


def png(*shades: int) -> bytes:
    """Stripes of these shades."""
    image = Image.new("L", (100 * len(shades), 100), shades[0])
    for number, shade in enumerate(shades):
        image.paste(shade, (100 * number, 0, 100 * number + 100, 100))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


async def test_what_shows_a_picture_and_no_word_is_found_by_its_name(
    ingest: RunIngest, tmp_path: Path, wordless: str
) -> None:
    def drawing(canvas: Canvas) -> None:
        canvas.rect(100, 100, 300, 300, fill=1)

    files = {"valve_chamber-plan.pdf": pdf(drawing), "harbour.png": png(0, 200), "white.png": png(255, 250)}
    async with ingest(vision_url=wordless) as client:
        body = await taken(client, files)
    failed = [file["error_message"] for file in body["failed_documents"]]
    assert failed == ["white.png: holds no text that could be searched; give a file with text in it"]
    [chunk] = stored(tmp_path, "valve_chamber-plan.pdf")
    assert (chunk.text, chunk.page, chunk.type) == ("valve chamber plan", 1, "image")
    assert [round(side) for side in chunk.metadata["location_max_dimensions"]] == [595, 842]
    assert chunk.metadata["document"]["warnings"] == [
        "valve_chamber-plan.pdf: shows a picture without a word, so it is found by its name only"]
    assert [chunk.text for chunk in stored(tmp_path, "harbour.png")] == ["harbour"]


SOUND = b"ID3\x04" + bytes(500)


async def test_sound_is_transcribed_where_a_service_is_set(
    ingest: RunIngest, tmp_path: Path, transcriber: tuple[Transcriber, str]
) -> None:
    service, url = transcriber
    service.body = {"text": "all", "segments": [{"text": " The pump runs.", "start": 1, "end": 4},
                                                {"text": " It stops.", "start": 3661, "end": 3665}]}
    async with ingest(transcription_url=f"{url}/v1", transcription_model="ears", transcription_api_key="k") as client:
        body = await taken(client, {"talk.mp3": SOUND, "film.mp4": b"no film"})
        assert body["documents_completed"] == 1
        assert body["failed_documents"][0]["error_message"].startswith("film.mp4: is not an MP4 video")
        service.status = 400
        refused = await taken(client, {"other.mp3": SOUND + b"x"})
        assert "other.mp3: transcription at" in refused["failed_documents"][0]["error_message"]
    assert service.asked == {"model": "ears", "name": "other.mp3", "key": "Bearer k"}
    assert [(chunk.text, chunk.path) for chunk in stored(tmp_path, "talk.mp3")] == [
        ("0:00:00 to 0:01:00\nThe pump runs.", ("0:00:00 to 0:01:00",)),
        ("1:01:00 to 1:02:00\nIt stops.", ("1:01:00 to 1:02:00",)),
    ]


async def test_a_transcription_service_that_is_away_is_waited_for(ingest: RunIngest) -> None:
    async with ingest(transcription_url="http://127.0.0.1:9", request_timeout_s=1) as client:
        body = await taken(client, {"talk.mp3": SOUND})
        assert "transcription at http://127.0.0.1:9 cannot be reached" in body["failed_documents"][0]["error_message"]


def test_a_thumbnail_is_never_left_half_written(tmp_path: Path) -> None:
    from ullage.store import PageFolder

    pages = PageFolder(tmp_path)
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "JPEG")
    path = pages.put("a" * 64, 3, stream.getvalue())
    assert path == pages.path("a" * 64, 3)
    assert [p.name for p in path.parent.iterdir()] == ["3.jpg"]
    pages.put("b" * 64, 1, b"x")
    assert pages.hashes() == ["a" * 64, "b" * 64]
    pages.remove("a" * 64)
    assert not path.exists()
    assert pages.path("b" * 64, 1).exists()
