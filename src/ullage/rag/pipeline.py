"""A question through the whole stack: embed, retrieve, rerank, weigh the evidence, generate, check."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
import structlog

from ullage.clients.embedding import EmbeddingClient
from ullage.clients.llm import LlmClient, Told, Usage
from ullage.clients.ranking import RankingClient
from ullage.errors import DeadlineExceeded, RequestError, Unavailable
from ullage.rag.draft import Draft
from ullage.rag.events import Answer, Asked, Event, Ordered, Retrieved, Token
from ullage.rag.evidence import CANDIDATES_EMBEDDED, Evidence, candidates, texts_to_embed, with_vectors
from ullage.rag.passage import Passage, from_hit
from ullage.rag.prompt import excerpts, messages
from ullage.rag.question import Question, read_question
from ullage.rag.rerank import rerank, shown_score
from ullage.rag.stopwatch import Stopwatch
from ullage.settings import Settings
from ullage.store import VectorStore

log = structlog.get_logger("ullage.rag")

DECLINED = "The documents do not contain an answer to this question."


@dataclass(frozen=True, slots=True)
class Clients:
    """Everything the pipeline talks to."""

    vectors: VectorStore
    embedding: EmbeddingClient
    ranking: RankingClient
    llm: LlmClient

    async def close(self) -> None:
        await self.embedding.close()
        await self.ranking.close()
        await self.llm.close()
        await asyncio.to_thread(self.vectors.close)


def connect(settings: Settings) -> Clients:
    """Clients of the services that the settings name; nothing is sent yet."""
    timeout_s = settings.request_timeout_s
    return Clients(
        vectors=VectorStore(settings.url("vectors")),
        embedding=EmbeddingClient(settings.url("embedding"), timeout_s=timeout_s),
        ranking=RankingClient(settings.url("ranking"), timeout_s=min(settings.ranking_timeout_s, timeout_s)),
        llm=LlmClient(settings.url("llm"), settings.llm_model, timeout_s),
    )


class Rag:
    """Raises NotFound for a missing collection, DependencyDown or DeadlineExceeded when the vector database or the
    embedder is away. Without the ranking service or the language model it answers all the same, and says so."""

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self.settings = settings
        self.clients = clients

    def asked(self, question: str) -> Asked:
        """The question with every setting at its default."""
        settings = self.settings
        return Asked(
            question=question,
            collections=(settings.collection,),
            retrieve_top_k=settings.retrieve_top_k,
            rerank_top_k=min(settings.rerank_top_k, settings.retrieve_top_k),
            rerank=settings.enable_reranker,
            max_tokens=settings.llm_max_tokens,
        )

    async def search(self, asked: Asked, watch: Stopwatch | None = None) -> AsyncIterator[Retrieved | Ordered]:
        """What was found, then what was kept of it, best first."""
        watch = watch or Stopwatch()
        [vector] = await self.clients.embedding.embed([asked.question], "query")
        watch.lap("embed")
        found = await asyncio.gather(*(self._retrieve(asked, name, vector) for name in asked.collections))
        passages = sorted((p for part in found for p in part), key=lambda p: -p.retrieval_score)
        watch.lap("retrieve")
        yield Retrieved(tuple(passages))
        ordered = Ordered(tuple(passages))
        if asked.rerank:
            ranked = await rerank(self.clients.ranking, asked.question, passages)
            ordered = Ordered(ranked.passages, ranked.degraded)
            watch.lap("rerank")
        yield Ordered(_kept(ordered, asked), ordered.degraded)

    async def _retrieve(self, asked: Asked, collection: str, vector: np.ndarray) -> list[Passage]:
        hits = await asyncio.to_thread(
            self.clients.vectors.search_hybrid, collection, asked.question, vector, asked.retrieve_top_k
        )
        return [from_hit(hit, rank, collection) for rank, hit in enumerate(hits)]

    async def answer(self, asked: Asked) -> AsyncIterator[Event]:
        """Every event of one answer. Text in Token events has been checked."""
        watch = Stopwatch()
        ordered = Ordered(())
        async with aclosing(self.search(asked, watch)) as searching:  # type: ignore[type-var]
            async for event in searching:
                ordered = event if isinstance(event, Ordered) else ordered
                yield event
        question = read_question(asked.question, [passage.text for passage in ordered.passages])
        evidence = await self._weigh(question, ordered.passages)
        watch.lap("evidence")
        if not evidence or evidence[0].score <= 0:
            watch.first_text()
            yield Token(DECLINED)
            yield Answer(declined=True, degraded=ordered.degraded)
        else:
            async for said in self._speak(asked, question, ordered, evidence, watch):
                yield said
        watch.lap("check")
        yield watch.timings()

    async def _weigh(self, question: Question, passages: Sequence[Passage]) -> list[Evidence]:
        found = await asyncio.to_thread(candidates, question, passages)
        found = found[:CANDIDATES_EMBEDDED]
        if not found:
            return []
        asking, saying = texts_to_embed(question, found)
        vectors = await asyncio.gather(
            self.clients.embedding.embed(asking, "query"), self.clients.embedding.embed(saying, "passage")
        )
        return with_vectors(question, found, *vectors)

    async def _speak(
        self, asked: Asked, question: Question, ordered: Ordered, evidence: Sequence[Evidence], watch: Stopwatch
    ) -> AsyncIterator[Token | Answer]:
        draft = Draft(question, ordered.passages, evidence)
        told = Told()
        degraded = list(ordered.degraded)
        chosen = excerpts(ordered.passages, evidence, self.settings.context_top_k)
        try:
            async with self._stream(asked, messages(asked.question, chosen, asked.system)) as stream:
                told = stream.told
                async for piece in stream:
                    watch.lap("generate")
                    for text in draft.hear(piece):
                        watch.first_text()
                        yield Token(text)
                    watch.lap("check")
                    if draft.finished:
                        break
            texts = list(draft.end())
        except (Unavailable, DeadlineExceeded, RequestError) as error:
            log.warning("answering without the language model", reason=error.message)
            degraded.append("llm")
            texts = []
        watch.lap("generate")
        if not draft.answered:
            texts += draft.quote()
        for text in texts:
            watch.first_text()
            yield Token(text)
        yield Answer(
            sentences=tuple(draft.sentences),
            citations=tuple(draft.citations),
            withheld=tuple(draft.withheld),
            degraded=tuple(degraded),
            usage=told.usage or Usage(0, 0),
            first_token_s=told.first_token_s,
        )

    def _stream(self, asked: Asked, chat: list[dict[str, str]]):  # type: ignore[no-untyped-def]
        return self.clients.llm.stream_chat(
            chat, max_tokens=asked.max_tokens, temperature=asked.temperature, top_p=asked.top_p, stop=asked.stop
        )

    async def chat(self, asked: Asked, chat: list[dict[str, str]]) -> AsyncIterator[Event]:
        """The language model alone, without documents: nothing can be checked, and the answer says so."""
        watch = Stopwatch()
        async with self._stream(asked, chat) as stream:
            async for piece in stream:
                watch.first_text()
                yield Token(piece)
            told: Told = stream.told
        watch.lap("generate")
        yield Answer(usage=told.usage or Usage(0, 0), first_token_s=told.first_token_s, checked=False)
        yield watch.timings()


def _kept(ordered: Ordered, asked: Asked) -> tuple[Passage, ...]:
    """The first passages; below `least_score` none that was reranked."""
    passages = [p for p in ordered.passages if p.logit is None or shown_score(p.logit) >= asked.least_score]
    return tuple(passages[: asked.rerank_top_k])
