"""The pipeline's events as the blueprint's bodies: SSE chunks, search results, errors as streams."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from ullage.clients.line import encoded
from ullage.rag.events import Answer, Citation, Sentence, Timings
from ullage.rag.passage import Passage
from ullage.rag.rerank import shown_score

ERROR_CHARACTERS = 5
"""A validation error is streamed in pieces of this many characters."""

_METRICS = ("rag_ttft_ms", "llm_ttft_ms", "context_reranker_time_ms", "retrieval_time_ms", "llm_generation_time_ms")
_NO_USAGE = {"total_tokens": 0, "prompt_tokens": 0, "completion_tokens": 0}


def source_result(passage: Passage) -> dict[str, Any]:
    """One SourceResult. `logit` and `retrieval_score` are ours: the raw scores behind `score`."""
    page = passage.page if passage.page is not None else 1
    when = datetime.fromtimestamp(passage.created_s, UTC).isoformat() if passage.created_s else ""
    width, height = passage.page_size or (0, 0)
    return {
        "document_id": "",
        "content": passage.text,
        "document_name": PurePath(passage.document).name,
        "document_type": passage.kind if passage.kind in ("image", "text", "table", "chart", "audio") else "text",
        "score": shown_score(passage.logit),
        "stage": "rag",
        "metadata": {
            "language": "",
            "date_created": when,
            "last_modified": when,
            "page_number": page,
            "description": passage.text,
            "height": round(height),
            "width": round(width),
            "location": list(passage.box),
            "location_max_dimensions": list(passage.page_size),
            "content_metadata": {
                **passage.own_metadata,
                "type": passage.kind,
                "page_number": page,
                "headings": list(passage.headings),
            },
            "collection_name": passage.collection,
            "content_hash": passage.content_hash,
            "logit": passage.logit,
            "retrieval_score": passage.retrieval_score,
        },
    }


def citations(passages: Sequence[Passage]) -> dict[str, Any]:
    results = [source_result(passage) for passage in passages]
    return {"total_results": len(results), "results": results}


def event_of(body: Any) -> str:
    """One server-sent event."""
    return f"data: {encoded(body).decode()}\n\n"


@dataclass(slots=True)
class Chunks:
    """Makes the chunks of one answer: same id, model and time in each."""

    model: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: int = field(default_factory=lambda: int(time.time()))

    def first(self, passages: Sequence[Passage], text: str) -> str:
        """The first chunk with text carries the passages."""
        return self.chunk(text, citations=citations(passages))

    def chunk(self, text: str, *, finish: str | None = None, **more: Any) -> str:
        """One SSE event. The same text stands in `message` and in `delta`."""
        return event_of({
            "id": self.id,
            "object": "chat.completion.chunk",
            "model": self.model,
            "created": self.created,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "reasoning_content": None},
                    "delta": {"role": None, "content": text, "reasoning_content": None},
                    "finish_reason": finish,
                }
            ],
            "usage": _NO_USAGE,
            "citations": citations(()),
            "metrics": dict.fromkeys(_METRICS),
            "event_type": None,
            "stage": None,
            **more,
        })

    def last(self, answer: Answer, timings: Timings, passages: Sequence[Passage] = ()) -> list[str]:
        """The closing chunk: no text, usage, metrics, and what the answer rests on."""
        return [self.chunk("", finish="stop", usage=usage(answer), **told(answer, timings, passages))]

    def error(self, message: str, *, pieces: bool = False) -> list[str]:
        """An error as a stream; a validation error comes in small pieces."""
        size = ERROR_CHARACTERS if pieces else max(1, len(message))
        parts = [message[at : at + size] for at in range(0, len(message), size)]
        return [*(self.chunk(part) for part in parts), self.chunk("", finish="stop")]


def usage(answer: Answer) -> dict[str, int]:
    prompt, completion = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return {"total_tokens": prompt + completion, "prompt_tokens": prompt, "completion_tokens": completion}


def told(answer: Answer, timings: Timings, passages: Sequence[Passage]) -> dict[str, Any]:
    """What is said of an answer at its end, whatever the shape of its chunks."""
    return {
        "metrics": metrics(answer, timings),
        "degraded": list(answer.degraded),
        "notes": list(answer.notes),
        "grounding": grounding(answer, passages),
        "timings_ms": {name: _ms(seconds) for name, seconds in timings.stages.items()},
    }


def metrics(answer: Answer, timings: Timings) -> dict[str, float | None]:
    """Milliseconds; null for what did not happen."""
    stages = timings.stages
    seconds = {
        "rag_ttft_ms": timings.first_text_s,
        "llm_ttft_ms": answer.first_token_s,
        "context_reranker_time_ms": stages.get("rerank"),
        "retrieval_time_ms": stages["embed"] + stages["retrieve"] if "retrieve" in stages else None,
        "llm_generation_time_ms": stages.get("generate"),
    }
    return {name: None if value is None else _ms(value) for name, value in seconds.items()}


def grounding(answer: Answer, passages: Sequence[Passage] = ()) -> dict[str, Any]:
    """What each sentence rests on. Withheld sentences are counted and never shown. `passage` and the `index` of a link
    count in the list of citations on the first chunk."""
    return {
        "checked": answer.checked,
        "declined": answer.declined,
        "refused": answer.refused,
        "quoted": answer.quoted,
        "withheld": len(answer.withheld),
        "sentences": [_sentence(sentence, passages) for sentence in answer.sentences],
        "citations": [_citation(citation, len(passages)) for citation in answer.citations],
    }


def _sentence(sentence: Sentence, passages: Sequence[Passage]) -> dict[str, Any]:
    said = {name: value for name, value in asdict(sentence).items() if name != "links"}
    return {**said, "passages": [
        {"index": link.passage, "document_name": passages[link.passage].document,
         "page_number": passages[link.passage].page, "logit": link.logit, "score": shown_score(link.logit)}
        for link in sentence.links if link.passage < len(passages)
    ]}


def _citation(citation: Citation, passages: int) -> dict[str, Any]:
    return {
        "number": citation.number,
        "document_name": citation.document,
        "page_number": citation.page,
        "place": citation.place,
        "text": citation.text,
        "score": citation.score,
        "passage": citation.passage if citation.passage < passages else None,
        "location": list(citation.box),
        "location_max_dimensions": list(citation.page_size),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
