"""The pipeline's events as the blueprint's bodies: SSE chunks, search results, errors as streams."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from ullage.rag.events import Answer, Timings
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
            "height": 0,
            "width": 0,
            "location": [],
            "location_max_dimensions": [],
            "content_metadata": {
                **passage.metadata,
                "type": passage.kind,
                "page_number": page,
                "headings": list(passage.headings),
            },
            "collection_name": passage.collection,
            "logit": passage.logit,
            "retrieval_score": passage.retrieval_score,
        },
    }


def citations(passages: Sequence[Passage]) -> dict[str, Any]:
    results = [source_result(passage) for passage in passages]
    return {"total_results": len(results), "results": results}


@dataclass(slots=True)
class Chunks:
    """Makes the chunks of one answer: same id, model and time in each."""

    model: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: int = field(default_factory=lambda: int(time.time()))

    def chunk(self, text: str, *, finish: str | None = None, **more: Any) -> str:
        """One SSE event. The same text stands in `message` and in `delta`."""
        body = {
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
        }
        return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"

    def last(self, answer: Answer, timings: Timings) -> str:
        """The closing chunk: no text, usage, metrics, and what the answer rests on."""
        usage = answer.usage
        return self.chunk(
            "",
            finish="stop",
            usage={
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
            },
            metrics=metrics(answer, timings),
            degraded=list(answer.degraded),
            grounding=grounding(answer),
            timings_ms={name: _ms(seconds) for name, seconds in timings.stages.items()},
        )

    def error(self, message: str, *, pieces: bool = False) -> list[str]:
        """An error as a stream; a validation error comes in small pieces."""
        size = ERROR_CHARACTERS if pieces else max(1, len(message))
        parts = [message[at : at + size] for at in range(0, len(message), size)]
        return [*(self.chunk(part) for part in parts), self.chunk("", finish="stop")]


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


def grounding(answer: Answer) -> dict[str, Any]:
    """What each sentence rests on. Withheld sentences are counted and never shown."""
    return {
        "checked": answer.checked,
        "declined": answer.declined,
        "quoted": answer.quoted,
        "withheld": len(answer.withheld),
        "sentences": [asdict(sentence) for sentence in answer.sentences],
        "citations": [
            {"number": c.number, "document_name": c.document, "page_number": c.page, "place": c.place, "text": c.text,
             "score": c.score}
            for c in answer.citations
        ],
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
