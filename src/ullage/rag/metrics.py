"""The blueprint's Prometheus series of the RAG server, and our own of its stages."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ullage.rag.events import Answer, Timings
from ullage.rag.passage import Passage
from ullage.rag.wire import metrics

_BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000)
_BUCKETS_TOKENS = (16, 64, 256, 1024, 4096, 16_384, 65_536)
_TIMES = {
    "rag_ttft_ms": "Until the first text, in ms",
    "llm_ttft_ms": "Until the language model's first token, in ms",
    "context_reranker_time_ms": "Reranking, in ms",
    "retrieval_time_ms": "Embedding the question and searching, in ms",
    "llm_generation_time_ms": "Generating, in ms",
}
_LAST = {
    "input_tokens": "Tokens of the last prompt",
    "output_tokens": "Tokens of the last answer",
    "total_tokens": "Tokens of the last prompt and answer",
    "avg_words_per_chunk": "Words of a passage, on average over those of the last answer",
}
"""The replaced server shows them of its last answer."""


class RagMetrics:
    """Counted once an answer, or a search, has ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("api_requests", "Answers given", registry=registry)
        self._last = {name: Gauge(name, text, registry=registry) for name, text in _LAST.items()}
        self._usage = Histogram("token_usage_distribution", "Tokens of prompt and answer", registry=registry,
                                buckets=_BUCKETS_TOKENS)
        self._tokens = Counter("ullage_rag_tokens", "Tokens of prompts and answers", ["kind"], registry=registry)
        self._declined = Counter("ullage_rag_declined", "Questions the documents do not answer", registry=registry)
        self._refused = Counter("ullage_rag_refused", "Stopped by guardrails", registry=registry)
        self._withheld = Counter("ullage_rag_withheld_sentences", "Sentences nothing supports", registry=registry)
        self._broken = Counter("ullage_rag_broken_answers", "Ended by an error after they began", registry=registry)
        self._degraded = Counter("ullage_rag_degraded", "Answers and searches without a service", ["service"],
                                 registry=registry)
        self._stages = Histogram("ullage_rag_stage_seconds", "Time by stage", ["stage"], registry=registry)
        self._times = {
            name: Histogram(name, text, registry=registry, buckets=_BUCKETS_MS) for name, text in _TIMES.items()
        }

    def observe(self, answer: Answer, timings: Timings, passages: Sequence[Passage] = ()) -> None:
        self._requests.inc()
        self._count_tokens(answer)
        if passages:
            words = sum(len(passage.text.split()) for passage in passages)
            self._last["avg_words_per_chunk"].set(words / len(passages))
        self._declined.inc(answer.declined)
        self._refused.inc(answer.refused)
        self._withheld.inc(len(answer.withheld))
        self.degraded(answer.degraded)
        for stage, seconds in timings.stages.items():
            self._stages.labels(stage).observe(seconds)
        for name, value in metrics(answer, timings).items():
            if value is not None:
                self._times[name].observe(value)

    def degraded(self, services: Sequence[str]) -> None:
        for service in services:
            self._degraded.labels(service).inc()

    def broken(self) -> None:
        self._broken.inc()

    def _count_tokens(self, answer: Answer) -> None:
        prompt, completion = answer.usage.prompt_tokens, answer.usage.completion_tokens
        for name, value in (("input_tokens", prompt), ("output_tokens", completion),
                            ("total_tokens", prompt + completion)):
            self._last[name].set(value)
        self._usage.observe(prompt + completion)
        self._tokens.labels("prompt").inc(prompt)
        self._tokens.labels("completion").inc(completion)
