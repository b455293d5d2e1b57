"""Figures of the LLM service: what was asked, what was generated, how long it took, who waits."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from ullage.serve.llm.generations import Ended

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


class LlmMetrics:
    """Called once for each generation that ended, however it ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._generations = Counter(
            "ullage_llm_generations", "Generations by how they ended", ["outcome"], registry=registry
        )
        self._prompt = Counter("ullage_llm_prompt_tokens", "Prompt tokens of finished generations", registry=registry)
        self._cached = Counter("ullage_llm_cached_tokens", "Prompt tokens found in the cache", registry=registry)
        self._completion = Counter("ullage_llm_completion_tokens", "Tokens generated", registry=registry)
        self._seconds = Histogram(
            "ullage_llm_generation_seconds", "Seconds of one generation", registry=registry, buckets=_SECONDS
        )
        self._first = Histogram(
            "ullage_llm_first_token_seconds", "Seconds to the first token", registry=registry, buckets=_SECONDS
        )

    def observe(self, ended: Ended) -> None:
        self._generations.labels(ended.outcome).inc()
        self._prompt.inc(ended.prompt_tokens)
        self._cached.inc(ended.cached_tokens)
        self._completion.inc(ended.completion_tokens)
        self._seconds.observe(ended.seconds)
        if ended.first_token_s is not None:
            self._first.observe(ended.first_token_s)
