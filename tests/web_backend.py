"""What the web page talks to, at its HTTP boundary: ingestor, RAG server, ranker and supervisor in one small app.

Tests of the page use it where the real services would be slow. A file called `bad...` cannot be read, one called
`slow...` is read until it is cancelled; a question with the word `slow` is answered until somebody stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image, ImageDraw
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

PAGE_SIZE = (612.0, 792.0)
BOX = [72.0, 150.0, 540.0, 210.0]
GIB = 1 << 30
NOTHING: dict[str, Any] = {"total_results": 0, "results": []}
PASSAGE = "The evacuation sirens in the terminals are tried out every first Thursday of the month at eleven o'clock."
ANSWER = "The sirens are tried out **every first Thursday** of the month [1]. Lifejackets are kept on deck two [2]."


class Backend:
    """`asked` are the bodies of questions, in order; `answer` replaces the text of answers and passages."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, dict[str, Any]]] = {"multimodal_data": {}, "handbook": {}}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.restarted: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer = ANSWER
        self.passage = PASSAGE
        self.document = "safety-and-emergency-plan.pdf"
        self.degraded: list[str] = []
        self.left_early = 0
        self.app = Starlette(routes=[
            Route("/v1/collections", self._collections), Route("/v1/collection", self._create, methods=["POST"]),
            Route("/v1/collections", self._drop, methods=["DELETE"]),
            Route("/v1/documents", self._documents), Route("/v1/documents", self._upload, methods=["POST"]),
            Route("/v1/documents", self._delete, methods=["DELETE"]),
            Route("/v1/tasks", self._tasks), Route("/v1/status", self._status),
            Route("/v1/tasks/{task}/cancel", self._cancel, methods=["POST"]),
            Route("/v1/tasks/{task}/retry", self._retry, methods=["POST"]),
            Route("/v1/pages", self._page), Route("/v1/generate", self._generate, methods=["POST"]),
            Route("/v1/search", self._search, methods=["POST"]), Route("/v1/rerank", self._rerank, methods=["POST"]),
            Route("/v1/metrics", self._metrics), Route("/v1/memory", self._memory),
            Route("/v1/health/ready", lambda _: JSONResponse({"ready": True})),
        ])
        self.control = Starlette(routes=[
            Route("/v1/status", lambda _: JSONResponse(self.stack())),
            Route("/v1/services/{service}/restart", self._restart, methods=["POST"]),
        ])

    async def _collections(self, _: Request) -> Response:
        shown = [{"collection_name": name, "num_entities": 3, "metadata_schema": [{"name": "department"}],
                  "collection_info": {"number_of_files": len(files)}} for name, files in self.collections.items()]
        return JSONResponse({"message": "", "collections": shown})

    async def _create(self, request: Request) -> Response:
        name = (await request.json())["collection_name"]
        self.collections.setdefault(name, {})
        return JSONResponse({"message": f"Collection {name} created successfully.", "collection_name": name})

    async def _drop(self, request: Request) -> Response:
        names = await request.json()
        missing = [name for name in names if name not in self.collections]
        failed = [{"collection_name": name, "error_message": "it is not there"} for name in missing]
        for name in names:
            self.collections.pop(name, None)
        return JSONResponse({"message": "", "successful": [], "failed": failed})

    async def _documents(self, request: Request) -> Response:
        found = self.collections.get(request.query_params["collection_name"], {})
        return JSONResponse({"message": "", "documents": list(found.values())})

    async def _delete(self, request: Request) -> Response:
        for name in await request.json():
            self.collections[request.query_params["collection_name"]].pop(name, None)
        return JSONResponse({"message": "Files deleted successfully", "documents": []})

    async def _upload(self, request: Request) -> Response:
        async with request.form() as form:
            wish = json.loads(str(form["data"]))
            file: Any = form["documents"]
            name, size = str(file.filename), len(await file.read())
        task = f"task-{len(self.tasks)}"
        self.tasks[task] = {"collection": wish["collection_name"], "name": name, "size": size, "updated": 0}
        self._read(task)
        return JSONResponse({"message": "Ingestion started in background", "task_id": task})

    def _read(self, task: str) -> None:
        entry = self.tasks[task]
        name = entry["name"]
        entry["state"] = "FAILED" if name.startswith("bad") else "RUNNING" if name.startswith("slow") else "FINISHED"
        entry["error"] = f"{name}: page 3 cannot be read: the file is cut off" if name.startswith("bad") else ""
        entry["updated"] += 1
        if entry["state"] == "FINISHED":
            self.add(entry["collection"], name, entry["size"])

    def add(self, collection: str, name: str, size: int = 20_480) -> None:
        self.collections.setdefault(collection, {})[name] = {
            "document_name": name, "metadata": {}, "document_info": {
                "document_type": name.rpartition(".")[2], "number_of_pages": 12, "total_elements": 34,
                "file_size": size, "warnings": []}}

    async def _tasks(self, _: Request) -> Response:
        return JSONResponse({"message": "", "tasks": [
            {"task_id": task, "collection_name": e["collection"], "state": e["state"], "last_updated": e["updated"]}
            for task, e in reversed(self.tasks.items())]})

    async def _status(self, request: Request) -> Response:
        entry = self.tasks[request.query_params["task_id"]]
        file = {"state": entry["state"], "pages_done": 4, "pages_total": 12, "chunks_done": 9, "chunks_total": 0,
                "error": entry["error"], "warnings": []}
        return JSONResponse({"state": entry["state"], "result": {},
                             "nv_ingest_status": {"document_wise_status": {entry["name"]: file}}})

    async def _cancel(self, request: Request) -> Response:
        entry = self.tasks[request.path_params["task"]]
        entry |= {"state": "CANCELLED", "error": "cancelled", "updated": entry["updated"] + 1}
        return JSONResponse({"message": "1 files cancelled.", "cancelled": [entry["name"]]})

    async def _retry(self, request: Request) -> Response:
        entry = self.tasks[request.path_params["task"]]
        entry["name"] = entry["name"].removeprefix("bad-").removeprefix("slow-")
        self._read(request.path_params["task"])
        return JSONResponse({"message": "", "retried": [entry["name"]], "failed_documents": []})

    async def _page(self, request: Request) -> Response:
        if not request.query_params["document_name"].endswith(".pdf"):
            return JSONResponse({"message": "pages of html files cannot be shown, only of PDFs and pictures"}, 422)
        pixels = int(request.query_params["pixels"])
        image = Image.new("RGB", (int(pixels * PAGE_SIZE[0] / PAGE_SIZE[1]), pixels), "white")
        draw, scale = ImageDraw.Draw(image), pixels / PAGE_SIZE[1]
        draw.rectangle((72 * scale, 60 * scale, 330 * scale, 84 * scale), fill="#33413c")
        for line in range(30):
            top = (110 + 20 * line) * scale
            draw.rectangle((72 * scale, top, (540 - 37 * line % 130) * scale, top + 7 * scale), fill="#b9c4bf")
        out = io.BytesIO()
        image.save(out, "PNG")
        return Response(out.getvalue(), media_type="image/png",
                        headers={"X-Ullage-Page-Size": f"{PAGE_SIZE[0]}x{PAGE_SIZE[1]}"})

    def results(self) -> list[dict[str, Any]]:
        texts = [self.passage, "Lifejackets for every guest are kept on deck two, next to the assembly stations.",
                 "The canteen serves lunch from noon."]
        return [{
            "content": text, "document_name": self.document, "document_type": "text", "score": 0.71 - 0.1 * n,
            "metadata": {"page_number": n + 3, "location": BOX, "location_max_dimensions": list(PAGE_SIZE),
                         "content_metadata": {"headings": ["Alarms"]}, "collection_name": "multimodal_data",
                         "retrieval_score": 0.5 + 0.1 * n},
        } for n, text in enumerate(texts)]

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        question = body["messages"][-1]["content"]
        if "broken" in question:
            pieces = [_chunk("Reranker NIM unavailable"), _chunk(" at http://x.", finish="stop")]
            return PlainTextResponse("".join(pieces), 503, media_type="text/event-stream")
        return StreamingResponse(self._stream(question), media_type="text/event-stream")

    async def _stream(self, question: str) -> AsyncIterator[str]:
        found = {"total_results": 3, "results": self.results()}
        try:
            if "slow" in question:
                for number in range(100_000):
                    yield _chunk(f"word{number} ", citations=found if number == 0 else None)
                    await asyncio.sleep(0.03)
            for place, piece in enumerate(self.answer.split(" ")):
                yield _chunk(piece + " ", citations=found if place == 0 else None)
            yield _chunk("", finish="stop", usage={"prompt_tokens": 412, "completion_tokens": 31, "total_tokens": 443},
                         metrics={"rag_ttft_ms": 182.0}, degraded=self.degraded,
                         timings_ms={"embed": 9.0, "retrieve": 24.0, "rerank": 88.0, "generate": 640.0, "check": 31.0},
                         grounding={"declined": False, "quoted": False, "withheld": 0, "citations": [
                             {"number": n + 1, "document_name": self.document, "page_number": n + 3, "place": "Alarms",
                              "text": one["content"], "score": 2.5} for n, one in enumerate(found["results"][:2])]})
        except (asyncio.CancelledError, GeneratorExit):
            self.left_early += 1
            raise

    async def _search(self, request: Request) -> Response:
        self.asked.append(await request.json())
        return JSONResponse({"total_results": 3, "results": self.results(), "degraded": []})

    async def _rerank(self, request: Request) -> Response:
        body = await request.json()
        words = set(body["query"].lower().split())
        logits = [float(len(words & set(text.lower().split()))) for text in body["documents"]]
        order = sorted(range(len(logits)), key=lambda n: -logits[n])
        return JSONResponse({"model": "ullage/minilm-fusion-ranker", "usage": {"prompt_tokens": 96}, "results": [
            {"index": n, "relevance_score": logits[n] / 10, "logit": logits[n], "tokens": 12 + n,
             "truncated": len(body["documents"][n]) > 5000} for n in order]})

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(
            'ullage_http_request_seconds_count{route="/v1/generate"} 40.0\n'
            'ullage_http_request_seconds_sum{route="/v1/generate"} 8.0\n'
            "# TYPE ullage_memory_out_of_memory counter\nullage_memory_out_of_memory_total 2.0\n")

    async def _memory(self, _: Request) -> Response:
        return JSONResponse({"profile": "cpu", "device": "cpu", "planned_bytes": 300 << 20,
                             "resident_bytes": 250 << 20})

    async def _restart(self, request: Request) -> Response:
        self.restarted.append(request.path_params["service"])
        return JSONResponse({"service": request.path_params["service"], "how": "begun", "why": ""}, 202)

    def stack(self) -> dict[str, Any]:
        services = [
            {"service": name, "state": "starting" if name in self.restarted else "ready", "reason": "",
             "profile": profile, "predicted_bytes": predicted << 20, "resident_bytes": measured << 20, "restarts": 0,
             "where": where,
             "url": f"http://127.0.0.1:{port}", "gpu_ledger": {"weights": 3 * GIB} if where != "cpu" else {}}
            for name, profile, predicted, measured, where, port in (
                ("vectors", "cpu", 300, 228, "cpu", 19530),
                ("ranking", "cuda-bf16-t16384-s8192", 336, 242, "cuda:0", 1976),
                ("embedding", "cpu-int8-t8192-s512", 308, 232, "cpu", 9080), ("rag", "cpu", 195, 189, "cpu", 8081))]
        return {
            "version": "0.1.0", "services": services, "notes": [],
            "plan": {"budget_bytes": 20 * GIB, "planned_bytes": 2 * GIB, "notes": [], "devices": [
                {"name": "host", "kind": "host", "total_bytes": 24 * GIB, "free_bytes": 19 * GIB,
                 "headroom_bytes": 1 * GIB, "budget_bytes": 20 * GIB, "planned_bytes": 2 * GIB},
                {"name": "cuda:0", "kind": "whole", "model": "NVIDIA A100-SXM4-80GB", "total_bytes": 80 * GIB,
                 "free_bytes": 9 * GIB, "headroom_bytes": 4 * GIB, "budget_bytes": 5 * GIB, "planned_bytes": 3 * GIB}]},
            "settings": [{"name": "memory", "value": 20 * GIB, "origin": "flag", "foreign": None,
                          "description": "budget"},
                         {"name": "host", "value": "127.0.0.1", "origin": "default", "foreign": None,
                          "description": "address every server binds to"}],
        }


def _chunk(text: str, *, finish: str | None = None, citations: Any = None, **more: Any) -> str:
    body = {"choices": [{"index": 0, "delta": {"content": text}, "message": {"content": text},
                         "finish_reason": finish}], "citations": citations or NOTHING, **more}
    return f"data: {json.dumps(body)}\n\n"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def listening(backend: Backend, state_dir: Path) -> Iterator[str]:
    """The backend at a free port, its supervisor at `state_dir/control.sock`; the base URL."""
    state_dir.mkdir(parents=True, exist_ok=True)
    front, control = socket.socket(), socket.socket(socket.AF_UNIX)
    front.bind(("127.0.0.1", 0))
    path = state_dir / "control.sock"
    control.bind(str(path))
    for opened in (front, control):
        opened.listen(128)
    servers = [_Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", http="h11",
                                      loop="asyncio", timeout_graceful_shutdown=1))
               for app in (backend.app, backend.control)]
    threads = [threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
               for server, opened in zip(servers, (front, control), strict=True)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while not all(server.started for server in servers):
        assert time.monotonic() < deadline, "the backend did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{front.getsockname()[1]}"
    finally:
        for server in servers:
            server.should_exit = True
        for thread in threads:
            thread.join(10)
        front.close()
        control.close()
