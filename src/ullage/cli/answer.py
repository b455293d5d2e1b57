"""An answer of the RAG server, put together from its stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ullage.cli.remote import delta
from ullage.errors import EngineFailed


@dataclass(frozen=True, slots=True)
class Citation:
    """What a mark [number] in the text stands for. `page` is None where the format has none."""

    number: int
    document: str
    page: int | None
    place: str
    text: str


@dataclass(slots=True)
class Answer:
    """`declined`: the documents do not say. `degraded` names services that did not take part. `withheld` counts
    sentences of the model that nothing supports."""

    question: str
    text: str = ""
    citations: tuple[Citation, ...] = ()
    declined: bool = False
    quoted: bool = False
    withheld: int = 0
    degraded: tuple[str, ...] = ()
    stages_ms: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def gather(question: str, events: Iterable[Any], hear: Callable[[str], None]) -> Answer:
    """Read a stream to its end; `hear` gets the text as it comes. Raises EngineFailed when it breaks off."""
    answer = Answer(question)
    grounding: dict[str, Any] | None = None
    for event in events:
        text = delta(event)
        if text:
            hear(text)
            answer.text += text
        if "grounding" in event:
            grounding = event["grounding"]
            answer.stages_ms = {name: float(ms) for name, ms in event["timings_ms"].items()}
            answer.degraded = tuple(event["degraded"])
    if grounding is None:  # the server tells an error in a stream as the last of its text
        raise EngineFailed(f"the answer broke off; the last that was heard: {answer.text[-200:] or 'nothing'}")
    answer.declined, answer.quoted = grounding["declined"], grounding["quoted"]
    answer.withheld = grounding["withheld"]
    answer.citations = tuple(_citation(said) for said in grounding["citations"])
    return answer


def _citation(said: dict[str, Any]) -> Citation:
    return Citation(said["number"], said["document_name"], said["page_number"], said["place"], said["text"])
