"""Try the ranking service: a question and passages, before and after."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from ullage.errors import InvalidRequest
from ullage.web.chat import Chat
from ullage.web.visit import Told, Visit, part, redraw

MOST_PASSAGES = 512
LONGEST_CHARACTERS = 1_000_000
CANDIDATES = 25
_BLANK = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Ranked:
    """`share` [0, 1] places the logit between the lowest and the highest; `moved` is how many places it rose."""

    before: int
    after: int
    text: str
    logit: float
    score: float
    tokens: int | None
    truncated: bool
    share: float

    @property
    def moved(self) -> int:
        return self.before - self.after


class Rerank:
    """One comparison at a time."""

    def __init__(self, visit: Visit, chat: Chat) -> None:
        self._visit = visit
        self._chat = chat

    def build(self) -> None:
        self._form = part("rerank.html", query="", text="", offered=False).classes("rank-form")
        self._outcome = part("nothing.html").classes("rank-outcome").props('aria-live="polite"')

    def open(self) -> None:
        """What was typed stays."""
        self._visit.run("ullage.offer", self._chat.last_answer is not None)

    def close(self) -> None:
        pass

    async def act(self, name: str, told: Told) -> None:
        if name == "rank":
            await self._rank(told.form.get("query", "").strip(), split(told.form.get("passages", "")))
        elif name == "take":
            await self._take()

    async def _take(self) -> None:
        """The last question's candidates, in the order in which they were found."""
        answer = self._chat.last_answer
        if answer is None:
            self._visit.toast("Ask something in the chat first: its candidates come here.")
            return
        query = self._chat.question_of(answer)
        texts = await self._candidates(query, answer.collections) or _by_retrieval(answer.results)
        self._visit.run("ullage.fill", {"query": query, "passages": "\n\n".join(_one_piece(text) for text in texts)})
        await self._rank(query, [_one_piece(text) for text in texts])

    async def _candidates(self, query: str, collections: list[str]) -> list[str]:
        """Without the ranking service; of one collection, because several can be compared only by it."""
        if len(collections) != 1:
            return []
        found = await self._visit.desk.rag.search({
            "query": query, "collection_names": collections, "enable_reranker": False, "vdb_top_k": 40,
            "reranker_top_k": CANDIDATES})
        return [str(result["content"]) for result in found["results"]]

    async def _rank(self, query: str, texts: list[str]) -> None:
        fault = _fault(query, texts)
        if fault:
            redraw(self._outcome, "fault.html", fault=fault)
            return
        redraw(self._outcome, "waiting.html")
        begun = time.perf_counter()
        try:
            answer = await self._visit.desk.ranking.ask("POST", "/v1/rerank", body={"query": query, "documents": texts})
            ranked = read(answer, texts)
        except BaseException:
            redraw(self._outcome, "nothing.html")
            raise
        redraw(self._outcome, "ranked.html", ranked=ranked, before=sorted(ranked, key=lambda one: one.before),
               milliseconds=(time.perf_counter() - begun) * 1e3, model=str(answer.get("model", "")),
               tokens=(answer.get("usage") or {}).get("prompt_tokens"))


def split(text: str) -> list[str]:
    """Passages are separated by empty lines; where there is none, every line is one."""
    pieces = _BLANK.split(text.replace("\r\n", "\n").strip())
    if len(pieces) == 1:
        pieces = text.splitlines()
    return [piece.strip() for piece in pieces if piece.strip()]


def read(answer: Any, texts: list[str]) -> list[Ranked]:
    """Best first. Raises InvalidRequest for a body that does not rank `texts`."""
    try:
        results = answer["results"]
        logits = [float(result.get("logit", result["relevance_score"])) for result in results]
        low, high = min(logits), max(logits)
        return [
            Ranked(before=int(result["index"]) + 1, after=place, text=texts[int(result["index"])], logit=logit,
                   score=float(result["relevance_score"]), tokens=result.get("tokens"),
                   truncated=bool(result.get("truncated")),
                   share=(logit - low) / (high - low) if high > low else 1.0)
            for place, (result, logit) in enumerate(zip(results, logits, strict=True), 1)
        ]
    except (KeyError, TypeError, ValueError, IndexError):
        raise InvalidRequest(f"the ranking service answered with a body that does not rank {len(texts)} passages: "
                             "check ranking_url") from None


def _fault(query: str, texts: list[str]) -> str:
    if not query or not texts:
        return "Write a question, and passages with an empty line between them."
    if len(texts) > MOST_PASSAGES:
        return f"{len(texts)} passages are more than the {MOST_PASSAGES} that the ranking service takes at once."
    characters = sum(map(len, texts)) + len(query)
    if characters > LONGEST_CHARACTERS:
        return f"{characters:,} characters are more than this page sends at once ({LONGEST_CHARACTERS:,})."
    return ""


def _by_retrieval(results: list[dict[str, Any]]) -> list[str]:
    found = sorted(results, key=lambda one: -float((one.get("metadata") or {}).get("retrieval_score") or 0.0))
    return [str(one.get("content", "")) for one in found]


def _one_piece(text: str) -> str:
    """No empty line inside, so that it stays one passage."""
    return _BLANK.sub("\n", text.strip())
