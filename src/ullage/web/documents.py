"""Collections and their documents: upload, watch, cancel, retry, delete, search, look."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from ullage.errors import DeadlineExceeded, DependencyDown, NotReady, UllageError
from ullage.web.chat import Chat
from ullage.web.cites import THUMB_PIXELS, of_result, picture
from ullage.web.visit import Polled, Told, Visit, part, redraw

POLL_S = 1.0
RECENT_TASKS = 30
SHOWN_AT_FIRST = 24
FOUND = 10
OVER = ("FINISHED", "FAILED", "CANCELLED")


class Documents(Polled):
    """One collection is in front. What is being ingested is asked for while this part of the page is seen."""

    def __init__(self, visit: Visit, chat: Chat) -> None:
        super().__init__(visit, "documents")
        self._desk = visit.desk
        self._chat = chat
        self._name = visit.kept.collections[0] if visit.kept.collections else visit.desk.default_collection
        self._collections: list[dict[str, Any]] = []
        self._documents: list[dict[str, Any]] = []
        self._files: list[dict[str, Any]] = []
        self._settled: dict[str, dict[str, Any]] = {}
        self._hidden: set[tuple[str, str]] = set()
        self._found: dict[str, Any] | None = None
        self._fault = ""
        self._more = SHOWN_AT_FIRST
        self._seen: set[tuple[str, str]] = set()

    def build(self) -> None:
        with ui.element("aside").classes("scope"):
            self._side = part("collections.html", collections=[], name=self._name, fault="")
            part("new_collection.html")
        with ui.element("div").classes("shelf"):
            self._drop = part("drop.html", name=self._name, most=self._desk.max_upload_bytes)
            self._work = part("nothing.html", files=[]).props('aria-live="polite"')
            part("find.html")
            self._hits = part("nothing.html").props('aria-live="polite"')
            self._list = part("waiting.html")
        self._timer = ui.timer(POLL_S, self._watch, active=False)

    async def act(self, name: str, told: Told) -> None:
        match name:
            case "choose":
                await self._choose(told.value)
            case "create":
                await self._create(told.form.get("new_name", "").strip())
            case "drop-collection":
                await self._drop_collection(told.value)
            case "sent" | "refresh":
                self._desk.collections.forget()
                await self._refresh()
            case "cancel" | "retry" | "dismiss":
                await self._on_file(name, told.value)
            case "delete":
                self._visit.toast(await self._desk.ingest.delete_documents(self._name, [told.value]), "good")
                self._desk.collections.forget()
                await self._refresh()
            case "find":
                await self._find(told.form.get("query", "").strip())
            case "found":
                self._show_found(told.value)
            case "look":
                self._look(told.value)
            case "more":
                self._more += 4 * SHOWN_AT_FIRST
                self._draw_list()

    async def _refresh(self) -> None:
        try:
            self._collections = await self._desk.collections.get()
            self._documents = await self._desk.ingest.documents(self._name)
            await self._look_up_files()
            self._fault = ""
        except UllageError as error:
            self._fault = error.message
        self._draw()

    async def _watch(self) -> None:
        """What is being ingested now. When a file is done, the list is read again."""
        try:
            await self._look_up_files()
        except UllageError as error:
            self._fault = error.message
            self._draw_list()
            return
        over = {(f["task"], f["name"]) for f in self._files if f["state"] in OVER}
        if over - self._seen or self._fault:
            self._seen |= over
            self._desk.collections.forget()
            await self._refresh()
        else:
            self._draw_files()

    async def _look_up_files(self) -> None:
        """Every file of a recent upload into this collection that is not simply done."""
        tasks = [task for task in await self._desk.ingest.tasks(RECENT_TASKS) if task["collection_name"] == self._name]
        told = await asyncio.gather(*(self._status(task) for task in tasks))
        files: list[dict[str, Any]] = []
        for task, status in zip(tasks, told, strict=True):
            documents = status.get("nv_ingest_status", {}).get("document_wise_status", {})
            files += [{"task": task["task_id"], "name": name, **file} for name, file in documents.items()]
        self._files = files

    async def _status(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task that is over does not change any more unless it is tried again."""
        stamp = f"{task['task_id']} {task['last_updated']}"
        if stamp not in self._settled:
            status = await self._desk.ingest.status(task["task_id"])
            if task["state"] not in OVER:
                return status
            if len(self._settled) > 4 * RECENT_TASKS:
                self._settled.clear()
            self._settled[stamp] = status
        return self._settled[stamp]

    async def _choose(self, name: str) -> None:
        self._name, self._more, self._found, self._documents, self._files = name, SHOWN_AT_FIRST, None, [], []
        self._seen.clear()
        redraw(self._drop, "drop.html", name=name, most=self._desk.max_upload_bytes)
        redraw(self._hits, "nothing.html")
        redraw(self._work, "nothing.html")
        await self._refresh()

    async def _create(self, name: str) -> None:
        if name:
            self._visit.toast(await self._desk.ingest.create_collection(name), "good")
            self._desk.collections.forget()
            await self._choose(name)

    async def _drop_collection(self, name: str) -> None:
        await self._desk.ingest.delete_collection(name)
        self._visit.toast(f"Collection {name} is deleted.", "good")
        self._desk.collections.forget()
        await self._choose(self._desk.default_collection if name == self._name else self._name)

    async def _on_file(self, what: str, value: str) -> None:
        """`value` is the place in the list that was shown and the name, so that a moved list does no harm."""
        task, _, name = value.partition("/")
        if what == "dismiss":
            self._hidden.add((task, name))
            self._draw_files()
        elif what == "cancel":
            self._visit.toast(await self._desk.ingest.cancel(task, name))
        else:
            done = await self._desk.ingest.retry(task, name)
            for refused in done.get("failed_documents", ()):
                self._visit.toast(f"{refused['document_name']}: {refused['error_message']}", "bad")
            self._seen.discard((task, name))
            self._hidden.discard((task, name))
        await self._watch()

    async def _find(self, query: str) -> None:
        self._found = None
        if not query:
            redraw(self._hits, "nothing.html")
            return
        redraw(self._hits, "waiting.html")
        body = {"query": query, "collection_names": [self._name], "reranker_top_k": FOUND, "enable_citations": True}
        try:
            self._found = await self._desk.rag.search(body)
        except (NotReady, DependencyDown, DeadlineExceeded) as error:
            redraw(self._hits, "fault.html", fault=error.message)
            return
        finally:
            if self._found is None:
                redraw(self._hits, "nothing.html")
        cites = [of_result(result, n, self._name) for n, result in enumerate(self._found["results"], 1)]
        redraw(self._hits, "found.html", cites=cites, query=query, degraded=self._found.get("degraded") or [])

    def _show_found(self, value: str) -> None:
        results = (self._found or {}).get("results", [])
        if value.isdecimal() and 0 < int(value) <= len(results):
            self._chat.show(of_result(results[int(value) - 1], int(value), self._name))

    def _look(self, value: str) -> None:
        """`PAGE/NAME`: a page of a document, as it looks."""
        number, _, name = value.partition("/")
        if number.isdecimal() and int(number) > 0:
            result = {"document_name": name, "metadata": {"page_number": int(number), "collection_name": self._name}}
            self._chat.show(of_result(result, 0, self._name))

    def _draw(self) -> None:
        redraw(self._side, "collections.html", collections=self._collections, name=self._name, fault=self._fault)
        self._draw_files()
        self._draw_list()

    def _draw_files(self) -> None:
        shown = [file for file in self._files
                 if file["state"] != "FINISHED" and (file["task"], file["name"]) not in self._hidden]
        redraw(self._work, "files.html", files=shown)

    def _draw_list(self) -> None:
        there = any(collection["collection_name"] == self._name for collection in self._collections)
        pictures = {d["document_name"]: picture(self._name, d["document_name"], 1, THUMB_PIXELS)
                    for d in self._documents[: self._more]}
        redraw(self._list, "documents.html", documents=self._documents[: self._more], pictures=pictures,
               total=len(self._documents), name=self._name, fault=self._fault, there=there)
