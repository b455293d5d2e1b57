"""How often the right page is found and the right thing is said: questions with known facts, through the pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ullage.errors import InvalidRequest
from ullage.rag.asked import Turn
from ullage.rag.events import Answer, Ordered, Timings, Token
from ullage.rag.passage import Passage
from ullage.rag.pipeline import Rag

TOP = 5


@dataclass(frozen=True, slots=True)
class TestQuestion:
    """`facts` is a list of lists: a right answer contains one form from every inner list. An unanswerable question has
    no facts. `history` holds earlier questions with their answers. `page` is None for documents without pages, where
    `section` is the heading above the answer."""

    __test__ = False

    id: str
    question: str
    facts: tuple[tuple[str, ...], ...] = ()
    document: str | None = None
    page: int | None = None
    section: str | None = None
    history: tuple[tuple[str, str], ...] = ()

    @property
    def answerable(self) -> bool:
        return bool(self.facts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ranks count from 1; None: not among the passages kept. `right` is None for an unanswerable question.

    `searched` is the question as it was searched for. `first_cited`: is the first citation of the expected page (or
    under the expected heading)? None where nothing is cited or nothing expected.
    """

    id: str
    question: str
    answer: str
    searched: str
    first_cited: bool | None
    rank_without: int | None
    rank_with: int | None
    right: bool | None
    declined: bool
    quoted: bool
    withheld: int
    degraded: tuple[str, ...]
    seconds: dict[str, float]
    total_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """`summary` holds counts and shares; `outcomes` one entry a question."""

    summary: dict[str, float]
    outcomes: tuple[Outcome, ...]

    def as_json(self) -> dict[str, Any]:
        return {"summary": self.summary, "outcomes": [asdict(item) for item in self.outcomes]}

    def table(self) -> str:
        """One line a figure, for a terminal."""
        width = max(len(name) for name in self.summary)
        return "\n".join(f"{name:<{width}}  {value:g}" for name, value in self.summary.items())


def read_questions(path: Path) -> list[TestQuestion]:
    """One JSON object a line. Raises InvalidRequest naming the line that is not one."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            said = json.loads(line)
            facts = tuple(tuple(forms) for forms in said["facts"])
            place = {name: said.get(name) for name in ("document", "page", "section")}
            history = tuple((str(asked), str(answered)) for asked, answered in said.get("history", ()))
            found.append(TestQuestion(said["id"], said["question"], facts, **place, history=history))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(f"{path}, line {number}: no question with id, question, facts ({error})") from None
    return found


async def evaluate(rag: Rag, questions: Iterable[TestQuestion]) -> Report:
    """Ask every question twice for passages (with and without the reranker) and once for an answer, in turn."""
    outcomes = tuple([await _outcome(rag, question) for question in questions])
    return Report(_summary(outcomes), outcomes)


async def _outcome(rag: Rag, question: TestQuestion) -> Outcome:
    turns = [turn for said, answered in question.history for turn in (Turn("user", said), Turn("assistant", answered))]
    asked = replace(rag.asked(question.question), history=tuple(turns))
    without = await _passages(rag, replace(asked, rerank=False))
    kept = Ordered(())
    text, answer, timings = "", Answer(), Timings({}, 0.0)
    async for event in rag.answer(asked):
        match event:
            case Ordered():
                kept = event
            case Token():
                text += event.text
            case Answer():
                answer = event
            case Timings():
                timings = event
    return Outcome(
        id=question.id,
        question=question.question,
        answer=text,
        searched=kept.question,
        first_cited=first_cited(question, answer, kept.passages),
        rank_without=rank_of(question, without),
        rank_with=rank_of(question, kept.passages),
        right=has_facts(text, question.facts) if question.answerable else None,
        declined=answer.declined,
        quoted=answer.quoted,
        withheld=len(answer.withheld),
        degraded=answer.degraded,
        seconds=timings.stages,
        total_s=timings.total_s,
    )


async def _passages(rag: Rag, asked: Any) -> tuple[Passage, ...]:
    kept: tuple[Passage, ...] = ()
    async for event in rag.search(asked):
        if isinstance(event, Ordered):
            kept = event.passages
    return kept


def rank_of(question: TestQuestion, passages: Sequence[Passage]) -> int | None:
    """Rank of the first passage of the expected page, or under the expected heading where there are no pages."""
    for rank, passage in enumerate(passages, start=1):
        if passage.document != question.document:
            continue
        if question.page is not None:
            if passage.page == question.page:
                return rank
        elif question.section is None or any(question.section in heading for heading in passage.headings):
            return rank
    return None


def first_cited(question: TestQuestion, answer: Answer, passages: Sequence[Passage]) -> bool | None:
    """Is the passage of the first citation one that was expected?"""
    if not question.answerable or not answer.citations:
        return None
    at = answer.citations[0].passage
    return at < len(passages) and rank_of(question, [passages[at]]) == 1


def has_facts(text: str, facts: Sequence[Sequence[str]]) -> bool:
    """One form of every fact, ignoring case, and not inside a longer number."""
    plain = " ".join(text.lower().split())

    def stands(form: str) -> bool:
        wanted = re.escape(" ".join(form.lower().split()))
        return re.search(rf"(?<![\d.,]){wanted}(?!\d)", plain) is not None

    return all(any(stands(form) for form in forms) for forms in facts)


def _summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    answerable = [item for item in outcomes if item.right is not None]
    unanswerable = [item for item in outcomes if item.right is None]
    seconds = sorted(item.total_s for item in outcomes)
    return {
        "answerable": len(answerable),
        "facts contained": sum(bool(item.right) for item in answerable),
        "facts contained, share": _mean([bool(item.right) for item in answerable]),
        "declined though answerable": sum(item.declined for item in answerable),
        "cited": sum(item.first_cited is not None for item in answerable),
        "cited page of the first citation right (%)": 100 * _mean(
            [item.first_cited for item in answerable if item.first_cited is not None]),
        "unanswerable": len(unanswerable),
        "unanswerable declined": sum(item.declined for item in unanswerable),
        "unanswerable declined (%)": 100 * _mean([item.declined for item in unanswerable]),
        f"hit@{TOP} without reranker": _mean([_hit(item.rank_without) for item in answerable]),
        f"hit@{TOP} with reranker": _mean([_hit(item.rank_with) for item in answerable]),
        "MRR without reranker": _mean([_reciprocal(item.rank_without) for item in answerable]),
        "MRR with reranker": _mean([_reciprocal(item.rank_with) for item in answerable]),
        "answers quoted": sum(item.quoted for item in outcomes),
        "sentences withheld": sum(item.withheld for item in outcomes),
        "degraded": sum(bool(item.degraded) for item in outcomes),
        "median seconds": seconds[len(seconds) // 2] if seconds else 0.0,
    }


def _hit(rank: int | None) -> bool:
    return rank is not None and rank <= TOP


def _reciprocal(rank: int | None) -> float:
    return 1 / rank if rank else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
