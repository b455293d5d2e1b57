"""Charts are described by a model that sees, where one is set: an OpenAI-compatible server of a few lines."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from PIL import Image

from ullage.clients.vision import VisionClient
from ullage.errors import DependencyDown
from ullage.ingest.caption import Captions
from ullage.ingest.vision import VisionLook
from ullage.settings import Settings


class Seeing(ThreadingHTTPServer):
    """Answers a chat with `said` in two pieces, or with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.status, self.said, self.asked, self.keys = 200, ("A bar chart of ", "water."), [], []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/chat/completions"


class Handler(BaseHTTPRequestHandler):
    server: Seeing

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.keys.append(self.headers["Authorization"])
        events = [{"choices": [{"delta": {"content": piece}}]} for piece in self.server.said]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        body = "".join([*lines, "data: [DONE]\n\n"] if self.server.status == 200 else ['{"message": "no"}']).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def seeing() -> Iterator[Seeing]:
    server = Seeing()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def look(seeing: Seeing) -> VisionLook:
    """A vision service that finds one chart, and the model that describes it."""
    corners = [{"x": x, "y": y} for x, y in ((0.2, 0.2), (0.5, 0.2), (0.5, 0.25), (0.2, 0.25))]
    whole = {"x_min": 0.1, "y_min": 0.1, "x_max": 0.9, "y_max": 0.9, "confidence": 0.9}
    answers = {
        "ocr": {"text_detections": [{"text_prediction": {"text": "Jan", "confidence": 0.9},
                                     "bounding_box": {"points": corners}}]},
        "page-elements": {"bounding_boxes": {"chart": [whole]}}, "graphic-elements": {"bounding_boxes": {}},
    }
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={
        "data": [{"index": 0, **answers[request.url.path.rsplit("/", 1)[-1]]}]}))
    settings = Settings(caption_url=seeing.url, caption_model="eyes", caption_api_key="k-1", vision_url="http://vision")
    return VisionLook(VisionClient("http://vision", timeout_s=5, transport=transport), Captions.of(settings))


def page() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (400, 300), 255).save(stream, "PNG")
    return stream.getvalue()


async def test_a_chart_is_described_and_the_text_says_by_whom(seeing: Seeing) -> None:
    eye = look(seeing)
    [chart] = (await eye.read_page(page())).charts
    await eye.close()
    assert chart.text == "Jan\nDescribed by a model: A bar chart of water."
    [asked], [key] = seeing.asked, seeing.keys
    assert (asked["model"], key) == ("eyes", "Bearer k-1")
    _, shown = asked["messages"][0]["content"]
    png = base64.b64decode(shown["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(png)).size == (320, 240)


async def test_a_chart_that_the_model_refuses_keeps_its_words(seeing: Seeing) -> None:
    seeing.status = 400
    eye = look(seeing)
    [chart] = (await eye.read_page(page())).charts
    await eye.close()
    assert chart.text == "Jan"


@pytest.mark.parametrize("status", [500, 503])
async def test_a_file_waits_for_a_model_that_is_away_or_busy(seeing: Seeing, status: int) -> None:
    seeing.status = status
    eye = look(seeing)
    with pytest.raises(DependencyDown):
        await eye.read_page(page())
    await eye.close()


def test_without_a_vision_service_nothing_would_be_described() -> None:
    with pytest.raises(ValueError, match="caption_url needs a vision service"):
        Settings(caption_url="http://eyes")
    assert Captions.of(Settings()) is None
