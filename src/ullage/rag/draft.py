"""The model's text as it streams in: sentences are let through one by one, each with what it rests on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ullage.rag.events import Citation, Sentence
from ullage.rag.evidence import Evidence
from ullage.rag.ground import Support, states_answer, support
from ullage.rag.passage import Passage
from ullage.rag.question import Question
from ullage.rag.sentences import split

MOST_SENTENCES = 4
MOST_WITHHELD = 2
"""A model that has said so much without support will not find back to the documents."""

LONGEST_SENTENCE = 400
"""Characters; beyond that a small model is going in circles."""

SURE_SUPPORT = 0.8
"""Support that lets a sentence stand for the answer where no kind of value is wanted; below it a quotation follows."""

SUPPORT_WITHIN = 1.0
"""Where no kind of value is wanted, a sentence may rest on evidence this much worse than the best, in log odds; else
only on the best: true but beside the question is no answer."""

SECOND_QUOTE_ABOVE = -1.1
"""A second sentence is quoted when it has a chance of about one in four to be the answer (log odds)."""

_LABEL = re.compile(r"^(?:answer|a|response|excerpt)\s*:\s*", re.I)
_MARKS = re.compile(r"\s*\[\d+\]")
_MAY_END = re.compile(r"[.!?…][\"'”’)\]]*\s+\S|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""What stands where a sentence ends and another begins: without it there is one sentence, and it goes on."""


UNSUPPORTED = " [unsupported]"
"""Stands after a sentence of the model that no passage supports, where such are shown."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A sentence of the model; `found` is None when nothing supports it."""

    text: str
    found: Support | None


class Draft:
    """Collects one answer. `evidence` is sorted, best first. `all_said`: whatever the model says is part of the answer,
    supported or marked; else it is left once the question is answered."""

    def __init__(
        self, question: Question, passages: Sequence[Passage], evidence: Sequence[Evidence], *, all_said: bool = False
    ) -> None:
        self._all_said = all_said
        self._question = question
        self._passages = passages
        self._evidence = evidence
        self._pending = ""
        self.sentences: list[Sentence] = []
        self.citations: list[Citation] = []
        self.withheld: list[str] = []
        self.answered = False

    @property
    def finished(self) -> bool:
        """Has the model said enough, or too much that nothing supports?"""
        if self._all_said:
            return False
        enough = self.answered or len(self.sentences) >= MOST_SENTENCES
        return enough or len(self.withheld) >= MOST_WITHHELD or len(self._pending) > LONGEST_SENTENCE

    @property
    def _near_best(self) -> list[Evidence]:
        least = max(0.0, self._evidence[0].score - (0.0 if self._question.wanted else SUPPORT_WITHIN))
        return [item for item in self._evidence if item.score >= least]

    def hear(self, piece: str) -> Iterator[str]:
        """Take in a piece of the stream; give the sentences that are complete."""
        self._pending += piece
        if _MAY_END.search(self._pending) is None:
            return
        units = split(self._pending)
        complete = units[:-1] if not self._pending.endswith("\n") else units
        if complete:
            self._pending = self._pending[complete[-1].end :]
            yield from (unit.text for unit in complete)

    def end(self) -> Iterator[str]:
        """The stream has ended: what is left is the last sentence."""
        pending, self._pending = self._pending, ""
        yield from (unit.text for unit in split(pending))

    def quote(self) -> Iterator[str]:
        """The best sentences of the documents, word for word."""
        best = self._evidence[0]
        for item in self._evidence[:2]:
            if item is best or item.score > SECOND_QUOTE_ABOVE:
                passage = self._passages[item.passage]
                yield self._keep(f'According to {passage.place}: "{item.text}"', item, 1.0, quoted=True)
        self.answered = True

    def rehearse(self) -> None:
        """Judge the best sentence of the documents as if the model had said it: what is found in it is kept, and a
        model that begins to speak is waited for anyway."""
        if self._evidence:
            self.judge(self._evidence[0].text)

    def judge(self, text: str) -> Judged | None:
        """None for what is no sentence, was said before, or comes after the answer."""
        sentence = " ".join(_MARKS.sub("", _LABEL.sub("", text.strip())).split())
        if not any(letter.isalnum() for letter in sentence) or (self.answered and not self._all_said):
            return None
        if any(sentence == kept.text for kept in self.sentences):
            return None
        found = support(self._question, sentence, self._near_best) if self._evidence else None
        if found is not None and not self._all_said and not self._states_answer(sentence):
            found = None
        return Judged(sentence, found)

    def _states_answer(self, sentence: str) -> bool:
        return states_answer(self._question, sentence, self._evidence[0])

    def keep(self, sentence: str, found: Support) -> str:
        """Its text as it is shown, with its mark."""
        self.answered = bool(self._question.wanted) or found.score >= SURE_SUPPORT
        return self._keep(sentence, found.evidence, found.score, quoted=False)

    def mark(self, sentence: str) -> str:
        """A sentence that nothing supports, and says so."""
        self.answered = True
        return self._add(Sentence(sentence, 0, 0.0, quoted=False, supported=False), UNSUPPORTED)

    def _keep(self, sentence: str, item: Evidence, score: float, *, quoted: bool) -> str:
        number = self._cite(item.passage, item.text, item.score)
        return self._add(Sentence(sentence, number, score, quoted), f" [{number}]")

    def _add(self, sentence: Sentence, mark: str) -> str:
        gap = " " if self.sentences else ""
        self.sentences.append(sentence)
        return f"{gap}{sentence.text}{mark}"

    def _cite(self, at: int, text: str, score: float) -> int:
        passage = self._passages[at]
        for citation in self.citations:
            if (citation.document, citation.text) == (passage.document, text):
                return citation.number
        number = len(self.citations) + 1
        self.citations.append(Citation(number, passage.document, passage.page, passage.place, text, score, at,
                                       passage.box, passage.page_size))
        return number
