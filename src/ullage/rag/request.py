"""From a request's body to what the pipeline is asked; what cannot be honoured is refused by name, in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ullage.errors import RequestError
from ullage.rag.asked import Asked, Endpoint, Generation, Sight, Turn
from ullage.rag.pipeline import Rag
from ullage.rag.schema import DocumentSearch, Message, Prompt, Retrieval, has_image, images_of, texts_of
from ullage.settings import Settings

MOST_COLLECTIONS = 5
PER_REQUEST = {
    "vdb_endpoint": ("vectors", "", "vectors_uri"),
    "embedding_endpoint": ("embedding", "embedding_model", "embedding_url"),
    "reranker_endpoint": ("ranking", "reranker_model", "ranking_url"),
    "llm_endpoint": ("llm", "model", "llm_url"),
    "vlm_endpoint": ("vlm", "vlm_model", "vlm_url"),
}
"""Field of the request -> service, field with its model, setting of ours."""


def asked_to_answer(rag: Rag, body: Prompt) -> Asked:
    """Raises RequestError naming the field that cannot be honoured, or the bound of the contract."""
    settings = rag.settings
    for fault in _refused(body, settings):
        raise RequestError(fault)
    last = body.messages[-1]
    asked = _retrieval(rag, body, texts_of(last.content), body.messages[:-1])
    system = "\n".join(texts_of(m.content) for m in body.messages if m.role == "system")
    return replace(
        asked,
        system=system,
        speech=_speech(body, asked.speech),
        sight=_sight(body, settings, images_of(last.content)),
        guardrails=_said(body.enable_guardrails, asked.guardrails),
        decompose=_said(body.enable_query_decomposition, asked.decompose),
        reflect=_said(body.enable_reflection, asked.reflect),
        full_pages=_said(body.fetch_full_page_context, asked.full_pages),
        neighbour_pages=asked.neighbour_pages if body.fetch_neighboring_pages is None else body.fetch_neighboring_pages,
    )


def asked_to_find(rag: Rag, body: DocumentSearch) -> Asked:
    content, before = body.query, body.messages
    if content is None:
        users = [at for at, message in enumerate(body.messages) if message.role in ("user", None)]
        content = body.messages[users[-1]].content if users else ""
        before = body.messages[: users[-1]] if users else []
    if has_image(content):
        raise RequestError("query: the embedder reads no pictures; send text")
    text = texts_of(content)
    if not text.strip():
        raise RequestError("query: give a text to search for, here or in the last user message")
    return _retrieval(rag, body, text, before)


def chat_of(body: Prompt) -> list[dict[str, Any]]:
    """The messages as an OpenAI-compatible model takes them."""
    return [{"role": message.role or "user", "content": message.content if isinstance(message.content, str)
             else [part.model_dump() for part in message.content] if has_image(message.content)
             else texts_of(message.content)} for message in body.messages]


def _retrieval(rag: Rag, body: Retrieval, question: str, before: Sequence[Message]) -> Asked:
    asked = rag.asked(question.strip())
    collections = tuple(dict.fromkeys(body.collection_names or asked.collections))
    rerank = _said(body.enable_reranker, asked.rerank)
    retrieve = body.vdb_top_k or max(asked.retrieve_top_k, body.reranker_top_k or 0)
    keep = body.reranker_top_k or min(asked.rerank_top_k, retrieve)
    if keep > retrieve:
        raise RequestError(f"reranker_top_k={keep} must be less than or equal to vdb_top_k={retrieve}")
    if len(collections) > MOST_COLLECTIONS:
        raise RequestError(f"Only {MOST_COLLECTIONS} collections are supported at a time.")
    if len(collections) > 1 and not rerank:
        raise RequestError("Reranking is not enabled but multiple collection names are provided.")
    if isinstance(body.filter_expr, list) and body.filter_expr:
        raise RequestError("Invalid filter expression: filter_expr is a list of Elasticsearch clauses, and the store "
                           'is Milvus: send a string such as content_metadata["field"] == "value"')
    threshold = rag.settings.confidence_threshold if body.confidence_threshold is None else body.confidence_threshold
    return replace(
        asked,
        collections=collections,
        retrieve_top_k=retrieve,
        rerank_top_k=keep,
        rerank=rerank,
        least_score=threshold if rerank else 0.0,
        filter=body.filter_expr if isinstance(body.filter_expr, str) else "",
        generate_filter=_said(body.enable_filter_generator, asked.generate_filter),
        history=_history(before, rag.settings.conversation_turns),
        rewrite=_said(body.enable_query_rewriting, asked.rewrite),
        endpoints=dict(_endpoints(body, rag.settings)),
    )


def _said(given: bool | None, usual: bool) -> bool:
    return usual if given is None else given


def _history(before: Sequence[Message], turns: int) -> tuple[Turn, ...]:
    """The last `turns` questions before this one, and what was said to them."""
    spoken = [Turn(m.role or "user", texts_of(m.content)) for m in before if m.role != "system"]
    users = [at for at, turn in enumerate(spoken) if turn.role == "user"]
    return tuple(spoken[users[-turns:][0] :]) if turns and users else ()


def _speech(body: Prompt, usual: Generation) -> Generation:
    """`min_tokens` goes to an LLM of somebody else's as it is; ours goes on to `max_tokens` with `ignore_eos`."""
    extra: dict[str, object] = {}
    if body.ignore_eos:
        extra["ignore_eos"] = True
    if body.min_tokens and not (body.ignore_eos and body.min_tokens == body.max_tokens):
        extra["min_tokens"] = body.min_tokens
    for name in ("min_thinking_tokens", "max_thinking_tokens"):
        if getattr(body, name):
            extra[name] = getattr(body, name)
    return Generation(
        max_tokens=body.max_tokens or usual.max_tokens,
        temperature=usual.temperature if body.temperature is None else body.temperature,
        top_p=usual.top_p if body.top_p is None else body.top_p,
        stop=tuple(body.stop),
        extra=extra,
        whole=bool(body.ignore_eos or body.min_tokens),
    )


def _sight(body: Prompt, settings: Settings, images: tuple[str, ...]) -> Sight | None:
    if not (images or _said(body.enable_vlm_inference, settings.enable_vlm_inference)):
        return None
    if body.enable_vlm_inference is False:
        raise RequestError("messages: pictures need the VLM, and enable_vlm_inference=false is asked for: send text")
    extra: dict[str, object] = {}
    if body.vlm_enable_thinking is not None:
        extra["chat_template_kwargs"] = {"enable_thinking": body.vlm_enable_thinking}
    if body.vlm_thinking_token_budget:
        extra["thinking_token_budget"] = body.vlm_thinking_token_budget
    return Sight(
        images=images,
        most_images=settings.vlm_max_images if body.vlm_max_total_images is None else body.vlm_max_total_images,
        max_tokens=body.vlm_max_tokens or settings.vlm_max_tokens,
        temperature=settings.vlm_temperature if body.vlm_temperature is None else body.vlm_temperature,
        top_p=settings.vlm_top_p if body.vlm_top_p is None else body.vlm_top_p,
        extra=extra,
    )


def _refused(body: Prompt, settings: Settings) -> Iterator[str]:
    if body.agentic:
        yield "agentic=true is refused: there is no agentic pipeline here; leave it out"
    if body.enable_guardrails and not settings.guardrails_url:
        yield "enable_guardrails=true is refused: guardrails_url is not set on this server"
    sees = bool(settings.vlm_url or body.vlm_endpoint)
    if body.enable_vlm_inference and not sees:
        yield "enable_vlm_inference=true is refused: vlm_url is not set on this server"
    if has_image(body.messages[-1].content) and not sees:
        yield "messages: a picture needs a model that sees, and vlm_url is not set on this server: send text"
    if body.vlm_filter_thinking_tokens is False:
        yield "vlm_filter_thinking_tokens=false is refused: what a model thinks is never shown"
    if body.fetch_neighboring_pages and not _said(body.fetch_full_page_context, settings.full_page_context):
        yield f"fetch_neighboring_pages={body.fetch_neighboring_pages} needs fetch_full_page_context=true"
    ours = not settings.llm_url and not body.llm_endpoint
    for name in ("min_thinking_tokens", "max_thinking_tokens"):
        if getattr(body, name) and ours:
            yield (f"{name}={getattr(body, name)} is refused: {settings.llm_model} does not think; set llm_url to one "
                   "that does")
    if body.min_tokens and ours and not (body.ignore_eos and body.min_tokens == body.max_tokens):
        yield (f"min_tokens={body.min_tokens} is refused: {settings.llm_model} knows it only with ignore_eos=true and "
               "max_tokens of the same number")


def _endpoints(body: Retrieval, settings: Settings) -> Iterator[tuple[str, Endpoint]]:
    """Services that the request names itself: refused, unless the operator permits their URLs."""
    for field, (service, model_field, setting) in PER_REQUEST.items():
        if not (given := getattr(body, field, None)):
            continue
        ours = settings.vlm_url if service == "vlm" else settings.url(service)  # type: ignore[arg-type]
        if _plain(given) == _plain(ours):
            continue
        if _plain(given) not in map(_plain, settings.permitted_endpoints):
            uses = f"this server uses {ours} ({setting})" if ours else f"{setting} is not set on this server"
            raise RequestError(f"{field}={given} is refused: {uses}; request_endpoints lists what a request may name")
        url = given if "://" in given or given.endswith(".db") else f"http://{given}"
        yield service, Endpoint(url, getattr(body, model_field, None) or "" if model_field else "")


def _plain(url: str) -> str:
    """Scheme and `/v1` may be left out."""
    return url.split("://", 1)[-1].rstrip("/").removesuffix("/v1")
