"""What the pipeline tells while it works, in this order: Retrieved, Reranked, Token..., Answer, Timings."""

from __future__ import annotations

from dataclasses import dataclass, field

from ullage.clients.llm import Usage
from ullage.rag.passage import Passage

STAGES = ("embed", "retrieve", "rerank", "evidence", "generate", "check")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with everything that may differ from request to request. `system` is added to the system message."""

    question: str
    collections: tuple[str, ...]
    retrieve_top_k: int
    rerank_top_k: int
    rerank: bool = True
    least_score: float = 0.0
    system: str = ""
    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retrieved:
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The passages kept, best first. `degraded` names services that did not take part."""

    passages: tuple[Passage, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """Text that has been checked and may be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """What a mark [number] in the answer stands for: one sentence or table row of a passage.

    `score` is the evidence's log odds of answering the question.
    """

    number: int
    document: str
    page: int | None
    place: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """`support` is the share [0, 1] of the sentence that its citation carries; 1 for a quotation."""

    text: str
    citation: int
    support: float
    quoted: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """`declined`: the documents do not say. `withheld` are sentences of the model that nothing supports: not to be
    shown. `checked` is False only for an answer without documents."""

    sentences: tuple[Sentence, ...] = ()
    citations: tuple[Citation, ...] = ()
    declined: bool = False
    withheld: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    first_token_s: float | None = None
    checked: bool = True

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


Event = Retrieved | Ordered | Token | Answer | Timings
