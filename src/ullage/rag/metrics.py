"""The blueprint's Prometheus series of the RAG server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from ullage.rag.events import Answer, Timings
from ullage.rag.wire import metrics

_BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000)
_TIMES = {
    "rag_ttft_ms": "Until the first text, in ms",
    "llm_ttft_ms": "Until the language model's first token, in ms",
    "context_reranker_time_ms": "Reranking, in ms",
    "retrieval_time_ms": "Embedding the question and searching, in ms",
    "llm_generation_time_ms": "Generating, in ms",
}


class RagMetrics:
    """Counted once an answer has ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("api_requests", "Answers given", registry=registry)
        self._input = Counter("input_tokens", "Tokens of prompts", registry=registry)
        self._output = Counter("output_tokens", "Tokens generated", registry=registry)
        self._declined = Counter("ullage_rag_declined", "Questions the documents do not answer", registry=registry)
        self._withheld = Counter("ullage_rag_withheld_sentences", "Sentences nothing supports", registry=registry)
        self._degraded = Counter("ullage_rag_degraded", "Answers without a service", ["service"], registry=registry)
        self._times = {
            name: Histogram(name, text, registry=registry, buckets=_BUCKETS_MS) for name, text in _TIMES.items()
        }

    def observe(self, answer: Answer, timings: Timings) -> None:
        self._requests.inc()
        self._input.inc(answer.usage.prompt_tokens)
        self._output.inc(answer.usage.completion_tokens)
        self._declined.inc(answer.declined)
        self._withheld.inc(len(answer.withheld))
        for service in answer.degraded:
            self._degraded.labels(service).inc()
        for name, value in metrics(answer, timings).items():
            if value is not None:
                self._times[name].observe(value)
