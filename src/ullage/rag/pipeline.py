"""A question through the whole stack: rewrite, retrieve, rerank, weigh the evidence, generate, check, link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import structlog

from ullage.clients.llm import LlmClient, Told, Usage
from ullage.errors import DeadlineExceeded, InvalidRequest, RequestError, Unavailable
from ullage.rag.ahead import meanwhile, read_ahead
from ullage.rag.asked import Asked, Generation
from ullage.rag.connections import Clients, Connections
from ullage.rag.context import Context, around
from ullage.rag.events import Answer, Away, Event, Ordered, Retrieved, Token
from ullage.rag.evidence import (
    CANDIDATES_EMBEDDED,
    Evidence,
    candidates,
    with_vectors,
    without_vectors,
)
from ullage.rag.filter_writer import written_filter
from ullage.rag.guard import REFUSED, answer_allowed, question_allowed
from ullage.rag.judge import groundedness, relevance
from ullage.rag.question import LONGEST_IN_PASSING, Question, read_question, without_each_term
from ullage.rag.rerank import Reranked, as_found, rerank
from ullage.rag.rests import Rests, unavailable
from ullage.rag.retrieve import Found, Retriever
from ullage.rag.rewrite import parts_of, reworded, standing_alone
from ullage.rag.speak import DECLINED, FAILURES, Ground, Speaker, spoken
from ullage.rag.stopwatch import Stopwatch
from ullage.rag.thoughts import Aloud
from ullage.settings import Settings
from ullage.settings.rag import BUNDLED_LLM
from ullage.store import MetadataField

log = structlog.get_logger("ullage.rag")

CONTEXT_CHARACTERS = 60_000
CONTEXT_CHARACTERS_BUNDLED = 4_000
"""Of whole pages before the LLM; the bundled one has a small context."""

WEIGHED_AT_ONCE = 6_000
"""Characters of passages that are weighed on the event loop, in some 3 ms; more, or a longer question than there
are, goes to a thread, whose turns at the interpreter cost every other question about as much."""


class Rag:
    """Raises NotFound for a missing collection, InvalidRequest for a filter at fault, DependencyDown or
    DeadlineExceeded when the vector database is away. Without any other service it answers all the same, and says so;
    with `degrade` off it raises DependencyDown in the blueprint's words."""

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self.settings = settings
        self.clients = clients
        self.connections = Connections(settings, clients)
        self.rests = Rests()
        self._retriever = Retriever(settings, self.rests)

    def asked(self, question: str) -> Asked:
        """The question with every setting at its default."""
        settings = self.settings
        return Asked(
            question=question,
            collections=(settings.collection,),
            retrieve_top_k=settings.retrieve_top_k,
            rerank_top_k=min(settings.rerank_top_k, settings.retrieve_top_k),
            rerank=settings.enable_reranker,
            least_score=settings.confidence_threshold if settings.enable_reranker else 0.0,
            generate_filter=settings.enable_filter_generator,
            rewrite=settings.enable_query_rewriting,
            decompose=settings.enable_query_decomposition,
            reflect=settings.enable_reflection,
            guardrails=settings.enable_guardrails,
            full_pages=settings.full_page_context,
            neighbour_pages=settings.neighbour_pages,
            speech=Generation(settings.llm_max_tokens, settings.llm_temperature, settings.llm_top_p),
        )

    async def search(
        self, asked: Asked, watch: Stopwatch | None = None, *, weighed: bool = False
    ) -> AsyncIterator[Retrieved | Ordered]:
        """What was found, then what was kept of it, best first. `weighed`: the evidence will be, so that the embedder
        is asked once for all that is made of the question."""
        watch = watch or Stopwatch()
        clients = self.connections.of(asked.endpoints)
        judge = self._judge(clients)
        question = await standing_alone(asked, judge)
        if asked.history:
            watch.lap("rewrite")
        wanted, parts = asked.filter, list[str]()
        if asked.generate_filter or asked.decompose:
            wanted, parts = await asyncio.gather(
                self._filter(asked, clients, question, judge), self._parts(asked, question, judge))
            watch.lap("filter")
        beside = list(without_each_term(question).values()) if weighed or asked.reflect else None
        found, wanted = await self._find(asked, clients, [question, *parts], wanted, watch, beside)
        if asked.decompose and judge is not None:
            found = await self._further(asked, clients, question, parts, found, wanted, judge, watch)
        yield Retrieved(len(found.candidates))
        ordered = await self._order(asked, clients, question, found, wanted, watch)
        if asked.reflect:
            ordered = await self._reflected(asked, clients, ordered, judge, watch)
        yield ordered

    def _judge(self, clients: Clients) -> LlmClient | None:
        """The LLM that rewrites and judges; None where rules do."""
        if not self.settings.llm_judges:
            return None
        return clients.judge or clients.llm

    async def _filter(self, asked: Asked, clients: Clients, question: str, judge: LlmClient | None) -> str:
        if not asked.generate_filter:
            return asked.filter
        schemas = await asyncio.gather(*(asyncio.to_thread(clients.vectors.schema, c) for c in asked.collections))
        fields: Sequence[MetadataField] = schemas[0] if all(schema == schemas[0] for schema in schemas) else ()
        written = await written_filter(question, fields, judge)
        return " and ".join(f"({part})" for part in (asked.filter, written) if part)

    async def _parts(self, asked: Asked, question: str, judge: LlmClient | None) -> list[str]:
        return await parts_of(question, (), judge) if asked.decompose else []

    async def _find(
        self, asked: Asked, clients: Clients, texts: Sequence[str], wanted: str, watch: Stopwatch,
        beside: Sequence[str] | None,
    ) -> tuple[Found, str]:
        """A filter that we wrote ourselves and that leaves nothing is dropped, and that is told."""
        found = await self._retriever.find(clients, asked, texts, watch, wanted, beside)
        if found.candidates or wanted == asked.filter:
            return found, wanted
        again = await self._retriever.find(clients, asked, texts, watch, asked.filter, beside)
        note = f"the filter read out of the question matched nothing and was dropped: {wanted}"
        return replace(again, notes=(*again.notes, note)), asked.filter

    async def _further(
        self, asked: Asked, clients: Clients, question: str, parts: Sequence[str], found: Found, wanted: str,
        judge: LlmClient, watch: Stopwatch
    ) -> Found:
        """Rounds of questions that what was found so far leaves open."""
        tried = {question, *parts}
        for _ in range(self.settings.decomposition_depth - 1):
            seen = [candidate.text for candidate in found.candidates]
            open_yet = [part for part in await parts_of(question, seen, judge) if part not in tried]
            if not open_yet:
                break
            tried.update(open_yet)
            more = await self._retriever.find(clients, asked, open_yet, watch, wanted)
            known = {candidate.id for candidate in found.candidates}
            fresh = [candidate for candidate in more.candidates if candidate.id not in known]
            found = replace(found, candidates=(*found.candidates, *fresh))
        return found

    async def _order(
        self, asked: Asked, clients: Clients, question: str, found: Found, wanted: str, watch: Stopwatch
    ) -> Ordered:
        if asked.rerank:
            rests = None if "ranking" in asked.endpoints else self.rests
            ranking = rerank(clients.ranking, question, found.candidates, rests, most=asked.rerank_top_k,
                             least_score=asked.least_score)
            weighed = found.asking is not None and not asked.full_pages and len(question) <= LONGEST_IN_PASSING
            ranked = await (meanwhile(ranking, read_ahead(question, found.candidates)) if weighed else ranking)
            if ranked.degraded and not self.settings.degrade:
                raise unavailable("Reranker", clients.ranking.base_url)
            watch.lap("rerank")
        else:
            ranked = Reranked(as_found(found.candidates[: asked.rerank_top_k]))
        degraded = (*found.degraded, *ranked.degraded)
        return Ordered(ranked.passages, degraded, question, wanted, found.notes, found.asking)

    async def _reflected(
        self, asked: Asked, clients: Clients, ordered: Ordered, judge: LlmClient | None, watch: Stopwatch
    ) -> Ordered:
        """Searched for in other words until the passages speak to the question; the best try counts."""
        best, best_score, text = ordered, -1, ordered.question
        for _ in range(self.settings.reflection_loops + 1):
            question, evidence = await self._weigh(clients, ordered, Context(ordered.passages))
            score = await relevance(question.text, ordered.passages, evidence, judge)
            if score > best_score:
                best, best_score = ordered, score
            if score >= self.settings.relevance_threshold or not (text := await reworded(text, judge)):
                break
            watch.lap("reflect")
            found = await self._retriever.find(clients, asked, [text], watch, best.filter)
            found = replace(found, asking=best.asking)
            ordered = await self._order(asked, clients, best.question, found, best.filter, watch)
        watch.lap("reflect")
        if best_score >= self.settings.relevance_threshold:
            return best
        return replace(best, notes=(*best.notes, f"relevance of the passages was judged {best_score} of 2"))

    async def answer(self, asked: Asked) -> AsyncIterator[Event]:
        """Every event of one answer. Text in Token events has been checked."""
        watch = Stopwatch()
        clients = self.connections.of(asked.endpoints)
        guarding = [asyncio.create_task(question_allowed(clients, asked))] if asked.guardrails else []
        try:
            ordered = Ordered(())
            async with aclosing(self.search(asked, watch, weighed=True)) as searching:  # type: ignore[type-var]
                async for event in searching:
                    ordered = event if isinstance(event, Ordered) else ordered
                    yield event
            ground = await self._ground(asked, clients, ordered, watch)
            allowed = all(await asyncio.gather(*guarding))
        finally:
            for allowing in guarding:
                allowing.cancel()
            await asyncio.gather(*guarding, return_exceptions=True)
        if asked.guardrails:
            watch.lap("guard")
        if not allowed:
            yield replace(ordered, passages=())
            for said in _refusal(ordered.degraded, watch):
                yield said
        elif not ground.speaks and not (asked.sight and (asked.sight.images or ordered.passages)):
            watch.first_text()
            yield Token(DECLINED)
            yield Answer(declined=True, degraded=ordered.degraded, notes=ordered.notes)
        else:
            async with aclosing(self._answered(asked, clients, ground, watch)) as answering:
                async for told in answering:
                    yield told
        watch.lap("check")
        yield watch.timings()

    async def _ground(self, asked: Asked, clients: Clients, ordered: Ordered, watch: Stopwatch) -> Ground:
        context = Context(ordered.passages)
        if asked.full_pages:
            bundled = self.settings.llm_model == BUNDLED_LLM
            characters = CONTEXT_CHARACTERS_BUNDLED if bundled else CONTEXT_CHARACTERS
            context = await around(clients.vectors, ordered.passages, self.settings.context_top_k,
                                   asked.neighbour_pages, characters)
            watch.lap("context")
        question, evidence = await self._weigh(clients, ordered, context)
        watch.lap("evidence")
        return Ground(question, ordered, context, evidence)

    async def _weigh(
        self, clients: Clients, ordered: Ordered, context: Context
    ) -> tuple[Question, list[Evidence]]:
        def read() -> tuple[Question, list[Evidence]]:
            question = read_question(ordered.question, [passage.text for passage in ordered.passages])
            return question, candidates(question, context.read, context.ranks)[:CANDIDATES_EMBEDDED]

        characters = sum(len(passage.text) for passage in context.read)
        short = characters <= WEIGHED_AT_ONCE and len(ordered.question) <= LONGEST_IN_PASSING
        question, found = read() if short else await asyncio.to_thread(read)
        if not found:
            return question, []
        if ordered.asking is None or "embedding" in ordered.degraded:
            return question, without_vectors(found)
        try:
            saying = await clients.embedding.embed([item.embedded_text for item in found], "passage")
        except (Unavailable, DeadlineExceeded, RequestError) as error:
            if not self.settings.degrade:
                raise unavailable("Embedding", clients.embedding.base_url) from None
            log.warning("weighing the evidence by words alone", reason=error.message)
            return question, without_vectors(found)
        if short:
            return question, with_vectors(question, found, ordered.asking, saying)
        return question, await asyncio.to_thread(with_vectors, question, found, ordered.asking, saying)

    async def _answered(
        self, asked: Asked, clients: Clients, ground: Ground, watch: Stopwatch
    ) -> AsyncGenerator[Away | Ordered | Token | Answer, None]:
        """Streamed, or at once where the whole of it must be judged first."""
        speaker = Speaker(self.settings, clients, self.rests, watch)
        if not (asked.guardrails or asked.reflect):
            async with aclosing(speaker.speak(asked, ground)) as speaking:
                async for said in speaking:
                    yield said
            return
        text, answer = await self._written(speaker, asked, clients, ground, watch)
        allowed = await answer_allowed(clients, asked, text) if asked.guardrails else True
        if asked.guardrails:
            watch.lap("guard")
        if not allowed:
            yield replace(ground.ordered, passages=())
            for said in _refusal(answer.degraded, watch):
                yield said
            return
        for service in answer.degraded:
            if service not in ground.ordered.degraded:
                yield Away(service)
        yield Token(text)
        yield answer

    async def _written(
        self, speaker: Speaker, asked: Asked, clients: Clients, ground: Ground, watch: Stopwatch
    ) -> tuple[str, Answer]:
        """With reflection, written again until it stands on the passages; the best try counts."""
        best: tuple[int, str, Answer] = (-1, DECLINED, Answer(declined=True, degraded=ground.ordered.degraded))
        for loop in range(self.settings.reflection_loops if asked.reflect else 1):
            heat = asked.speech.temperature if loop == 0 else min(1.0, asked.speech.temperature + 0.3 * loop)
            text, answer = "", Answer()
            async with aclosing(speaker.speak(replace(asked, speech=replace(asked.speech, temperature=heat)),
                                              ground)) as speaking:
                async for said in speaking:
                    text += said.text if isinstance(said, Token) else ""
                    answer = said if isinstance(said, Answer) else answer
            text = text or DECLINED
            judge = self._judge(clients)
            score = await groundedness(answer, text, ground.ordered.passages, judge) if asked.reflect else 2
            watch.lap("reflect" if asked.reflect else "check")
            if score > best[0]:
                best = (score, text, answer)
            if score >= self.settings.groundedness_threshold or answer.degraded != ground.ordered.degraded:
                break
        return best[1], best[2]

    async def chat(self, asked: Asked, chat: list[dict[str, Any]]) -> AsyncIterator[Event]:
        """The model alone, without documents: nothing can be checked, and the answer says so."""
        watch = Stopwatch()
        clients = self.connections.of(asked.endpoints)
        if not await question_allowed(clients, asked):
            watch.lap("guard")
            for said in _refusal((), watch):
                yield said
            yield watch.timings()
            return
        client = clients.vlm if asked.sight and asked.sight.images and clients.vlm else clients.llm
        text, aloud, told = "", Aloud(), Told()
        try:
            async with client.stream_chat(chat, **spoken(asked)) as stream:
                told = stream.told
                async for piece in stream:
                    said_aloud = aloud.hear(piece)
                    text += said_aloud
                    if said_aloud and not asked.guardrails:
                        watch.first_text()
                        yield Token(said_aloud)
        except FAILURES as error:
            if isinstance(error, RequestError):
                raise InvalidRequest(error.message) from None
            raise unavailable("VLM" if client is clients.vlm else "LLM", client.base_url) from None
        rest = aloud.end()
        watch.lap("generate")
        if asked.guardrails:
            rest = text + rest if await answer_allowed(clients, asked, text + rest) else REFUSED
            watch.lap("guard")
        if rest:
            watch.first_text()
            yield Token(rest)
        yield Answer(usage=told.usage or Usage(0, 0), first_token_s=told.first_token_s, checked=False,
                     refused=rest == REFUSED)
        yield watch.timings()


def _refusal(degraded: Sequence[str], watch: Stopwatch) -> list[Token | Answer]:
    watch.first_text()
    return [Token(REFUSED), Answer(refused=True, degraded=tuple(degraded))]
