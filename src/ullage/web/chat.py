"""Ask the documents: answers stream in, their numbers open the page that they rest on."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import aclosing
from typing import Any

import structlog
from markupsafe import Markup
from nicegui import ui

from ullage.clients.rag import Chunk, finished, text_of
from ullage.errors import UllageError
from ullage.web.cites import Cite, cited, passages
from ullage.web.kept import Turn
from ullage.web.looks import page, prose
from ullage.web.visit import Told, Visit, part, redraw

log = structlog.get_logger("ullage.web")

DRAW_S = 0.07
"""Between two pictures of an answer that streams."""

REMEMBERED_TURNS = 20
MOST_COLLECTIONS = 5
LONGEST_QUESTION = 20_000
CLOSING = ("usage", "metrics", "degraded", "grounding", "timings_ms")
SUGGESTIONS = (
    "What do these documents say about safety?",
    "Summarise the most important rules in three sentences.",
    "Which dates and deadlines are named?",
)


class Chat:
    """The conversation of one page; one answer at a time."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._kept = visit.kept
        self._drawn: list[tuple[Turn, ui.html]] = []
        self._answering: asyncio.Task[Any] | None = None
        self._collections: list[dict[str, Any]] = []
        self._fault = ""

    def build(self) -> None:
        self._scope = part("scope.html", "aside", **self._scope_values()).classes("scope")
        with ui.element("div").classes("talk"):
            self._thread = ui.element("div").classes("thread").props('role="log" aria-label="Conversation"')
            with self._thread:
                self._empty = part("empty.html", suggestions=SUGGESTIONS).classes("empty")
            self._composer = part("composer.html").classes("composer")
        for turn in self._kept.turns:
            self._draw_new(turn)

    def build_dialog(self) -> None:
        """Of what is cited; it stands beside the parts of the page, because all of them open it."""
        with ui.element("dialog").classes("cite-dialog").props('aria-label="Cited page"'):
            self._cite = part("nothing.html").classes("cite")

    def open(self) -> None:
        self._visit.begin(self._look_up_collections(), "collections")

    def close(self) -> None:
        """An answer goes on while another part of the page is in front."""

    async def act(self, name: str, told: Told) -> None:
        match name:
            case "ask":
                await self._ask(told.form.get("question", told.value))
            case "stop":
                self._stop()
            case "cite":
                self._open_cite(told.value)
            case "scope":
                await self._choose(told)
            case "again":
                await self._again()
            case "clear":
                await self._clear()

    @property
    def chosen(self) -> list[str]:
        chosen = self._kept.collections
        return [self._visit.desk.default_collection] if chosen is None else chosen

    @property
    def last_answer(self) -> Turn | None:
        return next((turn for turn in reversed(self._kept.turns) if turn.role == "assistant" and turn.results), None)

    def question_of(self, answer: Turn) -> str:
        place = self._kept.turns.index(answer)
        return next((turn.text for turn in reversed(self._kept.turns[:place]) if turn.role == "user"), "")

    async def _ask(self, text: str) -> None:
        question = text.strip()
        if not question:
            return
        if len(question) > LONGEST_QUESTION:
            self._visit.toast(f"A question may have {LONGEST_QUESTION:,} characters; this one has {len(question):,}.",
                              "bad")
            return
        if self._answering is not None:
            self._visit.toast("Wait for this answer, or stop it first.")
            return
        history = self._history()
        answer = Turn("assistant", "", "streaming", collections=self.chosen, asked_unix_s=time.time())
        for turn in (Turn("user", question), answer):
            self._kept.turns.append(turn)
            self._draw_new(turn)
        self._busy(True)
        self._visit.run("ullage.follow", True)
        messages = [*history, {"role": "user", "content": question}]
        self._answering = self._visit.begin(self._answer(answer, messages), "answer")

    def _history(self) -> list[dict[str, str]]:
        turns = [turn for turn in self._kept.turns if turn.text and turn.state == "done"]
        return [{"role": turn.role, "content": turn.text} for turn in turns[-REMEMBERED_TURNS:]]

    async def _answer(self, turn: Turn, messages: list[dict[str, str]]) -> None:
        request_id = uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)
        begun = time.perf_counter()
        body = {"messages": messages, "use_knowledge_base": True, "collection_names": turn.collections,
                "enable_citations": True, **({"filter_expr": self._kept.filter} if self._kept.filter else {})}
        try:
            async with aclosing(self._visit.desk.rag.generate(body)) as chunks:
                await self._take(turn, chunks)
            turn.state = "done"
        except UllageError as error:
            turn.state, turn.fault = "failed", error.message
        except asyncio.CancelledError:
            turn.state = "stopped"
        finally:
            self._answering = None
            self._draw(turn)
            self._busy(False)
            log.info("answered", state=turn.state, ms=round((time.perf_counter() - begun) * 1e3, 1))
            await self._visit.keep()

    async def _take(self, turn: Turn, chunks: Any) -> None:
        """Chunks into the turn, drawn now and then."""
        drawn = 0.0
        async for chunk in chunks:
            _add(turn, chunk)
            if time.monotonic() - drawn > DRAW_S:
                self._draw(turn)
                drawn = time.monotonic()

    def _stop(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    async def _again(self) -> None:
        """Ask the last question once more, in place of its answer."""
        if self._answering is not None or not self._kept.turns:
            return
        asked = next((turn for turn in reversed(self._kept.turns) if turn.role == "user"), None)
        if asked is None:
            return
        place = self._kept.turns.index(asked)
        for turn, element in self._drawn[place:]:
            element.delete()
            self._kept.turns.remove(turn)
        del self._drawn[place:]
        await self._ask(asked.text)

    async def _clear(self) -> None:
        self._stop()
        for _, element in self._drawn:
            element.delete()
        self._drawn.clear()
        self._kept.turns.clear()
        self._empty.set_visibility(True)
        await self._visit.keep()

    def _draw_new(self, turn: Turn) -> None:
        self._empty.set_visibility(False)
        with self._thread:
            element = part("nothing.html").classes(f"turn {turn.role}")
        self._drawn.append((turn, element))
        self._draw(turn)

    def _draw(self, turn: Turn) -> None:
        place = next((n for n, (drawn, _) in enumerate(self._drawn) if drawn is turn), None)
        if place is None:
            return
        element = self._drawn[place][1]
        cites = cited(turn) if turn.state != "streaming" else {}
        body = prose(turn.text, lambda number: _chip(place, number, cites)) if turn.role == "assistant" else turn.text
        redraw(element, "turn.html", turn=turn, body=body, place=place, cites=list(cites.values()),
               passages=passages(turn) if turn.state != "streaming" else [], stages=_stages(turn),
               grounding=turn.closing.get("grounding") or {}, degraded=turn.closing.get("degraded") or [],
               last=place == len(self._drawn) - 1)

    def _busy(self, busy: bool) -> None:
        self._composer.classes(add="busy" if busy else "", remove="" if busy else "busy")

    def _open_cite(self, value: str) -> None:
        """`turn.number`, or `turn.p.number` for a passage."""
        try:
            turn_text, *kind, number = value.split(".")
            turn = self._drawn[int(turn_text)][0]
            numbered = {cite.number: cite for cite in passages(turn)} if kind else cited(turn)
            cite = numbered[int(number)]
        except (ValueError, IndexError, KeyError):
            return
        self.show(cite)

    def show(self, cite: Cite) -> None:
        self._cite.set_content(page("cite.html", cite=cite))
        self._visit.run("ullage.dialog", ".cite-dialog")

    async def _look_up_collections(self) -> None:
        try:
            self._collections, self._fault = await self._visit.desk.collections.get(), ""
        except UllageError as error:
            self._collections, self._fault = [], error.message
        redraw(self._scope, "scope.html", **self._scope_values())

    async def _choose(self, told: Told) -> None:
        """The form holds `c:NAME` for each chosen collection, and the filter."""
        chosen = [name[2:] for name in told.form if name.startswith("c:")]
        if len(chosen) > MOST_COLLECTIONS:
            self._visit.toast(f"At most {MOST_COLLECTIONS} collections at a time.", "bad")
            redraw(self._scope, "nothing.html")
        else:
            self._kept.collections = chosen or None
            self._kept.filter = told.form.get("filter", "").strip()
        redraw(self._scope, "scope.html", **self._scope_values())
        await self._visit.keep()

    def _scope_values(self) -> dict[str, Any]:
        fields = sorted({str(field["name"]) for collection in self._collections
                         if collection["collection_name"] in self.chosen
                         for field in collection.get("metadata_schema") or ()})
        return {"collections": self._collections, "chosen": self.chosen, "filter": self._kept.filter,
                "fault": self._fault, "fields": fields}


def _add(turn: Turn, chunk: Chunk) -> None:
    turn.text += text_of(chunk)
    found = (chunk.get("citations") or {}).get("results")
    if found and not turn.results:
        turn.results = list(found)
    if finished(chunk):
        turn.closing = {name: chunk[name] for name in CLOSING if chunk.get(name)}


def _chip(place: int, number: int, cites: dict[int, Cite]) -> Markup:
    """A number of the answer: a button once what it stands for is known."""
    cite = cites.get(number)
    if cite is None:
        return Markup('<span class="mark">{}</span>').format(number)
    where = f"{cite.document}, page {cite.page}" if cite.page else cite.document
    return Markup('<button type="button" class="mark" data-act="chat.cite" data-value="{}.{}" title="{}" '
                  'aria-label="Citation {}: {}">{}</button>').format(place, number, where, number, where, number)


def _stages(turn: Turn) -> list[tuple[str, float, float]]:
    """(stage, milliseconds, share of the whole) of what took time."""
    told = {name: float(value) for name, value in (turn.closing.get("timings_ms") or {}).items() if value}
    whole = sum(told.values())
    return [(name, value, value / whole) for name, value in told.items()] if whole else []
