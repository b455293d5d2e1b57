"""From passages and evidence to the text of an answer: the model drafts, every sentence is checked, then shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from ullage.clients.llm import ChatStream, LlmClient, Told, Usage
from ullage.errors import DeadlineExceeded, DependencyDown, InvalidRequest, RequestError, Unavailable
from ullage.rag.asked import Asked
from ullage.rag.connections import Clients
from ullage.rag.context import Context
from ullage.rag.draft import Draft, Judged
from ullage.rag.events import Answer, Away, Ordered, Token
from ullage.rag.evidence import Evidence
from ullage.rag.link import links, with_links
from ullage.rag.prompt import excerpts, messages
from ullage.rag.question import Question
from ullage.rag.rests import Rests, unavailable
from ullage.rag.stopwatch import Stopwatch
from ullage.rag.thoughts import Aloud
from ullage.rag.vision import pictures, seeing_messages
from ullage.settings import Settings

log = structlog.get_logger("ullage.rag")

DECLINED = "The documents do not contain an answer to this question."
LLM_AWAY = "The language model is not available. These passages speak to the question: "
REHEARSAL_S = 0.01
"""After a model was asked: the request is out by then, and no model has spoken yet."""

FAILURES = (Unavailable, DeadlineExceeded, RequestError)


@dataclass(frozen=True, slots=True)
class Ground:
    """What an answer may stand on: the question read, passages and what is around them, evidence, best first."""

    question: Question
    ordered: Ordered
    context: Context
    evidence: Sequence[Evidence]

    @property
    def speaks(self) -> bool:
        """Do the documents say anything to the question?"""
        return bool(self.evidence) and self.evidence[0].score > 0


@dataclass(frozen=True, slots=True)
class _Voice:
    """The model that answers, what it is called in `degraded`, and what it is asked."""

    service: str
    client: LlmClient
    chat: list[dict[str, Any]]
    options: dict[str, Any]
    sees: bool = False

    @property
    def key(self) -> str:
        return f"{self.service} {self.client.base_url}"


class Speaker:
    """Answers one question. `degraded` grows while it speaks."""

    def __init__(self, settings: Settings, clients: Clients, rests: Rests, watch: Stopwatch) -> None:
        self._settings = settings
        self._clients = clients
        self._rests = rests
        self._watch = watch
        self._degraded: list[str] = []

    async def speak(self, asked: Asked, ground: Ground) -> AsyncGenerator[Away | Token | Answer, None]:
        self._degraded = list(ground.ordered.degraded)
        draft = Draft(ground.question, ground.context.read, ground.evidence)
        told, failed = Told(), False
        for voice in await self._voices(asked, ground):
            draft = Draft(ground.question, ground.context.read, ground.evidence, all_said=self._marks(voice))
            try:
                async with self._stream(voice) as stream:
                    told = stream.told
                    async for text in self._heard(stream, asked, draft, self._marks(voice)):
                        yield Token(text)
                failed = False
                break
            except FAILURES as error:
                self._refuse(voice, asked, error)
                self._note_failure(voice, error)
                failed = True
                yield Away(voice.service)
            if draft.sentences:
                break
        self._watch.lap("generate")
        for text in self._quoted(draft, ground, failed=failed) or ([] if draft.sentences else [DECLINED]):
            self._watch.first_text()
            yield Token(text)
        self._watch.lap("check")
        sentences = await self._linked(asked, ground, draft)
        self._watch.lap("link")
        yield Answer(
            sentences=sentences,
            citations=tuple(draft.citations),
            withheld=tuple(draft.withheld),
            declined=not sentences,
            degraded=tuple(self._degraded),
            usage=told.usage or Usage(0, 0),
            first_token_s=told.first_token_s,
            notes=ground.ordered.notes,
        )

    def _marks(self, voice: _Voice) -> bool:
        """What a model says of pictures cannot all stand in the text."""
        return voice.sees or self._settings.unsupported_sentences == "mark"

    def _refuse(self, voice: _Voice, asked: Asked, error: Exception) -> None:
        """Raises what is the caller's own fault, and any failure where nothing may stand in for the model."""
        if isinstance(error, InvalidRequest) and (asked.speech.extra or asked.speech.stop):
            raise RequestError(error.message) from None
        if not self._settings.degrade:
            raise unavailable(voice.service.upper(), voice.client.base_url) from None

    async def _voices(self, asked: Asked, ground: Ground) -> list[_Voice]:
        """The model that sees, where it was asked for and there is something to see; else, or when it fails, the
        language model, where the documents speak to the question."""
        text = ground.question.text
        chosen = ground.context.pages or excerpts(ground.context.read, ground.evidence, self._settings.context_top_k)
        seeing: list[_Voice] = []
        if asked.sight is not None and self._clients.vlm is not None:
            images = await pictures(self._settings, asked.sight, ground.ordered.passages)
            if images or not self._settings.vlm_to_llm_fallback:
                sight = asked.sight
                options = {"max_tokens": sight.max_tokens, "temperature": sight.temperature, "top_p": sight.top_p,
                           "stop": asked.speech.stop, "extra": sight.extra}
                shown = chosen or [(passage, passage.text) for passage in ground.ordered.passages[:3]]
                chat = seeing_messages(text, shown, images, asked.system)
                seeing.append(_Voice("vlm", self._clients.vlm, chat, options, sees=True))
        if not ground.speaks or (seeing and not self._settings.vlm_to_llm_fallback):
            return seeing
        return [*seeing, _Voice("llm", self._clients.llm, messages(text, chosen, asked.system), spoken(asked))]

    def _stream(self, voice: _Voice) -> ChatStream:
        if reason := self._rests.reason(voice.key):
            raise DependencyDown(reason)
        return voice.client.stream_chat(voice.chat, **voice.options)

    async def _heard(self, stream: ChatStream, asked: Asked, draft: Draft, marking: bool) -> AsyncIterator[str]:
        """Checked text, as soon as a sentence is complete."""
        aloud = Aloud()
        rehearsal = asyncio.get_running_loop().call_later(REHEARSAL_S, draft.rehearse)
        try:
            async for piece in stream:
                self._watch.lap("generate")
                for sentence in draft.hear(aloud.hear(piece)):
                    for text in self._shown(draft.judge(sentence), draft, marking):
                        yield text
                self._watch.lap("check")
                if draft.finished and not asked.speech.whole:
                    break
        finally:
            rehearsal.cancel()
        for sentence in (*draft.hear(aloud.end()), *draft.end()):
            for text in self._shown(draft.judge(sentence), draft, marking):
                yield text

    def _shown(self, judged: Judged | None, draft: Draft, marking: bool) -> Iterator[str]:
        if judged is None:
            return
        if judged.found is None and not marking:
            draft.withheld.append(judged.text)
            return
        self._watch.first_text()
        yield draft.mark(judged.text) if judged.found is None else draft.keep(judged.text, judged.found)

    def _note_failure(self, voice: _Voice, error: Exception) -> None:
        said = str(error)
        log.warning("answering without the model", service=voice.service, reason=said)
        self._degraded.append(voice.service)
        if isinstance(error, DependencyDown) and not self._rests.reason(voice.key):
            self._rests.failed(voice.key, said)

    def _quoted(self, draft: Draft, ground: Ground, *, failed: bool) -> list[str]:
        """The documents' own words where the model found none, with the reason when it is away."""
        if draft.answered or not ground.speaks:
            return []
        gap = " " if draft.sentences else ""
        quotes = list(draft.quote())
        if failed:
            return [f"{gap}{LLM_AWAY}{quotes[0].lstrip()}", *quotes[1:]]
        return quotes

    async def _linked(self, asked: Asked, ground: Ground, draft: Draft) -> tuple[Any, ...]:
        if not asked.rerank or "ranking" in self._degraded or not draft.sentences:
            return tuple(draft.sentences)
        cited = {citation.number: citation.text for citation in draft.citations}
        texts = [cited[one.citation] if one.quoted else one.text for one in draft.sentences]
        found = await links(self._clients.ranking, self._rests, texts, ground.ordered.passages)
        if found is None:
            self._degraded.append("ranking")
            return tuple(draft.sentences)
        return with_links(draft.sentences, found)


def spoken(asked: Asked) -> dict[str, Any]:
    """The options of `stream_chat` for the language model."""
    speech = asked.speech
    return {"max_tokens": speech.max_tokens, "temperature": speech.temperature, "top_p": speech.top_p,
            "stop": speech.stop, "extra": speech.extra}
