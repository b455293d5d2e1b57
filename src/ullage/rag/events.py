"""What the pipeline tells while it works, in this order: Retrieved, Ordered, Away, Token..., Answer, Timings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ullage.clients.llm import Usage
from ullage.rag.passage import Passage

Float32 = npt.NDArray[np.float32]

STAGES = (
    "rewrite", "filter", "embed", "retrieve", "rerank", "reflect", "context", "evidence", "guard", "generate", "check",
    "link",
)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """So many passages were found, which are now put in order."""

    candidates: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """The passages kept, best first. `degraded` names services that did not take part.

    `question` is what was searched for, `filter` the metadata filter in force, `notes` what else is to be told.
    `asking` are the vectors of the question and of what `without_each_term` makes of it, where they were asked for.
    """

    passages: tuple[Passage, ...]
    degraded: tuple[str, ...] = ()
    question: str = ""
    filter: str = ""
    notes: tuple[str, ...] = ()
    asking: Float32 | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Away:
    """A service that the answer has to do without, since the passages were ordered."""

    service: str


@dataclass(frozen=True, slots=True)
class Token:
    """Text that has been checked and may be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """What a mark [number] in the answer stands for: one sentence or table row of a passage.

    `score` is the evidence's log odds of answering the question, `passage` the number of the passage from 0, `box` and
    `page_size` its place on the page in points (see Passage).
    """

    number: int
    document: str
    page: int | None
    place: str
    text: str
    score: float
    passage: int = 0
    box: tuple[float, ...] = ()
    page_size: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """What the ranking service gives a sentence of the answer with a passage (its number, from 0)."""

    passage: int
    logit: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """`support` is the share [0, 1] of the sentence that its citation carries; 1 for a quotation. `citation` is 0 for a
    sentence that is not `supported`. `links` are the passages nearest to it by the ranking service, best first."""

    text: str
    citation: int
    support: float
    quoted: bool
    supported: bool = True
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`declined`: the documents do not say. `withheld` are sentences of the model that nothing supports: not to be
    shown. `checked` is False only for an answer without documents, `refused` is what guardrails did not let through."""

    sentences: tuple[Sentence, ...] = ()
    citations: tuple[Citation, ...] = ()
    declined: bool = False
    withheld: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    first_token_s: float | None = None
    checked: bool = True
    refused: bool = False
    notes: tuple[str, ...] = ()

    @property
    def quoted(self) -> bool:
        return any(sentence.quoted for sentence in self.sentences)


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by stage; they sum to `total_s`. A stage that did not run is missing. `first_text_s`: until the first
    text was ready to be shown."""

    stages: dict[str, float]
    total_s: float
    first_text_s: float | None = None


Event = Retrieved | Ordered | Away | Token | Answer | Timings
