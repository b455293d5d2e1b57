"""From a request's body to what the pipeline is asked; what is not supported is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ullage.errors import RequestError
from ullage.rag.events import Asked
from ullage.rag.pipeline import Rag
from ullage.rag.schema import DocumentSearch, Prompt, Retrieval, has_image, texts_of
from ullage.settings import Settings

MOST_COLLECTIONS = 5


def asked_to_answer(rag: Rag, body: Prompt) -> Asked:
    """Raises RequestError naming the field that cannot be honoured, or InvalidRequest-like bounds of the contract."""
    _refuse_unsupported(body, rag.settings)
    asked = _retrieval(rag, body, texts_of(body.messages[-1].content))
    system = "\n".join(texts_of(m.content) for m in body.messages if m.role == "system")
    return replace(
        asked,
        system=system,
        max_tokens=body.max_tokens or asked.max_tokens,
        temperature=asked.temperature if body.temperature is None else body.temperature,
        top_p=body.top_p,
        stop=tuple(body.stop),
    )


def asked_to_find(rag: Rag, body: DocumentSearch) -> Asked:
    content = body.query
    if content is None:
        users = [message.content for message in body.messages if message.role in ("user", None)]
        content = users[-1] if users else ""
    if has_image(content):
        raise RequestError("query: image parts are not supported yet; send text")
    text = texts_of(content)
    if not text.strip():
        raise RequestError("query: give a text to search for, here or in the last user message")
    for field in _refused_retrieval(body, rag.settings):
        raise RequestError(field)
    return _retrieval(rag, body, text)


def _retrieval(rag: Rag, body: Retrieval, question: str) -> Asked:
    asked = rag.asked(question.strip())
    collections = tuple(dict.fromkeys(body.collection_names or asked.collections))
    rerank = asked.rerank if body.enable_reranker is None else body.enable_reranker
    retrieve = body.vdb_top_k or max(asked.retrieve_top_k, body.reranker_top_k or 0)
    keep = body.reranker_top_k or min(asked.rerank_top_k, retrieve)
    if keep > retrieve:
        raise RequestError(f"reranker_top_k={keep} must be less than or equal to vdb_top_k={retrieve}")
    if len(collections) > MOST_COLLECTIONS:
        raise RequestError(f"Only {MOST_COLLECTIONS} collections are supported at a time.")
    if len(collections) > 1 and not rerank:
        raise RequestError("Reranking is not enabled but multiple collection names are provided.")
    return replace(
        asked,
        collections=collections,
        retrieve_top_k=retrieve,
        rerank_top_k=keep,
        rerank=rerank,
        least_score=(body.confidence_threshold or 0.0) if rerank else 0.0,
    )


def _refuse_unsupported(body: Prompt, settings: Settings) -> None:
    for field in (*_refused_generation(body, settings), *_refused_retrieval(body, settings)):
        raise RequestError(field)


def _refused_generation(body: Prompt, settings: Settings) -> Iterator[str]:
    if any(has_image(message.content) for message in body.messages):
        yield "messages: image parts are not supported yet; send text"
    switches = ("enable_guardrails", "enable_vlm_inference", "agentic", "ignore_eos")
    yield from (f"{name}=true is not supported yet; leave it out" for name in switches if getattr(body, name))
    for name in ("min_tokens", "min_thinking_tokens", "max_thinking_tokens"):
        if getattr(body, name):
            yield f"{name}={getattr(body, name)} is not supported yet; leave it out"
    if _elsewhere(body.llm_endpoint, settings.url("llm")):
        yield _endpoint("llm_endpoint", body.llm_endpoint, settings.url("llm"), "llm_url")
    if body.vlm_endpoint:
        yield "vlm_endpoint is not supported yet; leave it out"


def _refused_retrieval(body: Retrieval, settings: Settings) -> Iterator[str]:
    for name in ("enable_query_rewriting", "enable_filter_generator"):
        if getattr(body, name):
            yield f"{name}=true is not supported yet; leave it out"
    if body.filter_expr:
        yield "filter_expr is not supported yet; leave it out or send an empty one"
    served = {
        "vdb_endpoint": ("vectors", "vectors_uri"),
        "embedding_endpoint": ("embedding", "embedding_url"),
        "reranker_endpoint": ("ranking", "ranking_url"),
    }
    for name, (service, setting) in served.items():
        url = settings.url(service)  # type: ignore[arg-type]
        if _elsewhere(getattr(body, name), url):
            yield _endpoint(name, getattr(body, name), url, setting)


def _elsewhere(given: str | None, ours: str) -> bool:
    """Is another address meant than the one we are set to? Scheme and `/v1` may be left out."""

    def plain(url: str) -> str:
        return url.split("://", 1)[-1].rstrip("/").removesuffix("/v1")

    return bool(given) and plain(given or "") != plain(ours)


def _endpoint(name: str, given: str | None, ours: str, setting: str) -> str:
    return f"{name}={given} is not supported per request; this server uses {ours} ({setting})"
