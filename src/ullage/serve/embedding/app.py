"""The embedding service over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from fastapi import FastAPI, Response

from ullage.engines.base import Float32
from ullage.errors import InvalidRequest, NotReady, UnknownModel
from ullage.http import ServiceInfo, build_app
from ullage.http.telling import tell
from ullage.models.card import Card
from ullage.plan import ServicePlan
from ullage.serve.embedding.schema import Embedding, EmbeddingRequest, EmbeddingResponse, Usage
from ullage.serve.embedding.vectors import InputType, Vectors, embed
from ullage.serve.encoder import Encoder, EncoderLifecycle, add_scheduler_metrics, within
from ullage.settings import Settings

SUFFIXES = ("-query", "-passage")


async def _prove(encoder: Encoder) -> Vectors:
    return await embed(encoder, ["is it ready?"])


def create_app(settings: Settings, planned: ServicePlan) -> FastAPI:
    """`POST /v1/embeddings` and the routes every service has."""
    card = planned.card
    if card is None:
        raise UnknownModel("the embedding service needs a model: set embedding_model")
    names = tuple(filter(None, (*card.names, settings.embedding_served_name)))
    lifecycle = EncoderLifecycle(settings, planned, _prove)
    info = ServiceInfo(
        service="embedding",
        models=names,
        revision=card.revision,
        licence=card.licence,
        profile=planned.profile_id,
        ledger=planned.ledger.as_dict(),
        model_fields={
            "max_model_len": planned.profile.max_sequence if planned.profile else 0,
            "ullage": {"kind": card.kind, "dimensions": card.shape.hidden},
        },
    )
    app = build_app(info, lifecycle, max_body=int(settings.max_body))
    add_scheduler_metrics(app.state.registry, lifecycle)

    @app.post("/v1/embeddings", response_model=EmbeddingResponse, tags=["embedding"])
    async def embeddings(request: EmbeddingRequest, response: Response) -> EmbeddingResponse:
        _check(request, card, names)
        if lifecycle.encoder is None or not app.state.health.ready:
            raise NotReady(f"embedding is not ready: {app.state.health.reason}", retry_after_s=2)
        texts = [request.input] if isinstance(request.input, str) else request.input
        work = embed(lifecycle.encoder, texts, request.truncate, _input_type(request))
        vectors = await within(settings.request_timeout_s, work)
        seconds = {"tokenize": vectors.tokenize_s, "queue": vectors.queue_s, "compute": vectors.compute_s}
        tell(response, seconds, vectors.cut)
        return _answer(vectors, request, card)

    return app


def _check(request: EmbeddingRequest, card: Card, names: Sequence[str]) -> None:
    name = request.model
    for suffix in SUFFIXES:
        if name not in names:
            name = request.model.removesuffix(suffix)
    if name not in names:
        raise UnknownModel(f"model {request.model!r} is not served here: {', '.join(names)} is")
    if request.dimensions not in (None, card.shape.hidden):
        raise InvalidRequest(f"dimensions={request.dimensions}: {card.name} gives {card.shape.hidden} and no other")


def _input_type(request: EmbeddingRequest) -> InputType:
    """The field, else the model name's suffix, else a passage."""
    if request.input_type is not None:
        return request.input_type
    return "query" if request.model.endswith("-query") else "passage"


def _answer(vectors: Vectors, request: EmbeddingRequest, card: Card) -> EmbeddingResponse:
    encode = _base64 if request.encoding_format == "base64" else _floats
    return EmbeddingResponse(
        data=[Embedding(index=index, embedding=encode(row)) for index, row in enumerate(vectors.rows)],
        model=card.name,
        usage=Usage(prompt_tokens=vectors.prompt_tokens, total_tokens=vectors.prompt_tokens),
    )


def _floats(row: Float32) -> list[float]:
    return [float(value) for value in row]


def _base64(row: Float32) -> str:
    """Little-endian fp32, as OpenAI's clients read it."""
    return base64.b64encode(row.astype(np.dtype("<f4")).tobytes()).decode("ascii")
