"""Everything the pipeline talks to: the services of the settings, and those that a request may name instead."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from ullage.clients.embedding import EmbeddingClient
from ullage.clients.guardrails import GuardrailsClient
from ullage.clients.llm import LlmClient
from ullage.clients.ranking import RankingClient
from ullage.rag.asked import Endpoint
from ullage.settings import Service, Settings
from ullage.store import VectorStore

MOST_NAMED = 16
"""Other endpoints that are kept open; each was permitted by `request_endpoints`."""


@dataclass(frozen=True, slots=True)
class Clients:
    """`judge` rewrites questions and judges answers. `vlm` and `guardrails` are None where no URL is set."""

    vectors: VectorStore
    embedding: EmbeddingClient
    ranking: RankingClient
    llm: LlmClient
    vlm: LlmClient | None = None
    judge: LlmClient | None = None
    guardrails: GuardrailsClient | None = None

    async def close(self) -> None:
        for client in (self.embedding, self.ranking, self.llm, self.vlm, self.judge, self.guardrails):
            if client is not None:
                await client.close()
        await asyncio.to_thread(self.vectors.close)


def connect(settings: Settings) -> Clients:
    """Clients of the services that the settings name; nothing is sent yet."""
    services: tuple[Service, ...] = ("vectors", "embedding", "ranking", "llm")
    made = {service: _client(settings, service, Endpoint(settings.url(service), _model(settings, service)))
            for service in services}
    guardrails = GuardrailsClient(
        settings.guardrails_url, model=settings.llm_model, config=settings.guardrails_config,
        timeout_s=settings.guardrails_timeout_s) if settings.guardrails_url else None
    vlm = _client(settings, "vlm", Endpoint(settings.vlm_url, settings.vlm_model)) if settings.vlm_url else None
    return Clients(**made, vlm=vlm, judge=_judge(settings), guardrails=guardrails)


def _judge(settings: Settings) -> LlmClient | None:
    if not (settings.reflection_llm_url or settings.reflection_llm_model):
        return None
    return LlmClient(settings.reflection_llm_url or settings.url("llm"),
                     settings.reflection_llm_model or settings.llm_model, settings.request_timeout_s,
                     silence_s=settings.llm_silence_s, api_key=_secret(settings.llm_api_key))


def _model(settings: Settings, service: str) -> str:
    """The embedder and the ranker are asked for what they list first: a folder of ours has another name there."""
    return settings.llm_model if service == "llm" else ""


def _client(settings: Settings, service: str, at: Endpoint) -> Any:
    timeout_s = settings.request_timeout_s
    model = at.model or None
    if service == "vectors":
        return VectorStore(at.url, waits=False)
    if service == "embedding":
        return EmbeddingClient(at.url, model=model, timeout_s=min(settings.embedding_timeout_s, timeout_s),
                               api_key=_secret(settings.embedding_api_key), calls_at_once=None)
    if service == "ranking":
        return RankingClient(at.url, model=model, timeout_s=min(settings.ranking_timeout_s, timeout_s),
                             api_key=_secret(settings.ranking_api_key))
    key = settings.vlm_api_key if service == "vlm" else settings.llm_api_key
    return LlmClient(at.url, model, timeout_s, silence_s=settings.llm_silence_s, api_key=_secret(key))


def _secret(key: SecretStr | None) -> str:
    return key.get_secret_value() if key is not None else ""


class Connections:
    """Clients for each request: the usual ones, with those it names itself in their place. Keys of the settings go
    to permitted endpoints too: whoever permits one trusts it."""

    def __init__(self, settings: Settings, usual: Clients) -> None:
        self._settings = settings
        self._usual = usual
        self._named: dict[tuple[str, Endpoint], Any] = {}

    def of(self, endpoints: Mapping[str, Endpoint]) -> Clients:
        if not endpoints:
            return self._usual
        return replace(self._usual, **{service: self._at(service, at) for service, at in endpoints.items()})

    def _at(self, service: str, at: Endpoint) -> Any:
        key = (service, at)
        if key not in self._named:
            if len(self._named) >= MOST_NAMED:
                at = Endpoint(at.url)  # a caller who makes up model names opens no more connections
                key = (service, at)
            if key not in self._named:
                self._named[key] = _client(self._settings, service, at)
        return self._named[key]

    async def close(self) -> None:
        for client in self._named.values():
            if isinstance(client, VectorStore):
                await asyncio.to_thread(client.close)
            else:
                await client.close()
        await self._usual.close()
