"""Routes of OpenAI and NIM, and of text-embeddings-inference (TEI), over one service."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import FastAPI, Response

from ullage.errors import InvalidRequest
from ullage.http.answer import answered
from ullage.http.dialects import TEI, openai
from ullage.http.quick import quick_post
from ullage.serve.embedding.schema import EmbeddingRequest, EmbeddingResponse, TeiEmbedRequest
from ullage.serve.embedding.service import EmbeddingService
from ullage.serve.embedding.shape import as_type, base64_of, cut_to, unit, wanted_dimensions
from ullage.serve.embedding.vectors import InputType, Truncate
from ullage.version import __version__


def add_openai_routes(app: FastAPI, service: EmbeddingService) -> None:
    """`POST /v1/embeddings`."""
    app.state.dialects |= {"/v1/embeddings": openai(app.state.dialect)}

    async def embeddings(body: EmbeddingRequest) -> Response:
        named = service.input_type_of(body.model)
        dimensions = wanted_dimensions(body.dimensions, service.card)
        kind = body.embedding_type or "float"
        as_type(np.empty((0, dimensions), np.float32), kind, service.card)  # refuses before it computes
        texts = [body.input] if isinstance(body.input, str) else body.input
        if isinstance(body.modality, list) and len(body.modality) not in (1, len(texts)):
            raise InvalidRequest(f"modality has {len(body.modality)} entries for {len(texts)} texts: give one for each")
        vectors = await service.embed(texts, body.truncate or "NONE", body.input_type or named)
        rows = as_type(cut_to(vectors.rows, dimensions, normalize=service.card.normalize), kind, service.card)
        shown = [base64_of(row) for row in rows] if body.encoding_format == "base64" else rows
        return answered({
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(shown)],
            "model": service.card.name,
            "usage": {"prompt_tokens": vectors.prompt_tokens, "total_tokens": vectors.prompt_tokens},
        }, service.told(vectors))

    quick_post(app, "/v1/embeddings", embeddings, answers=EmbeddingResponse, tag="embedding")


def add_tei_routes(app: FastAPI, service: EmbeddingService) -> None:
    """`POST /embed`, the same at `/`, and `GET /info`."""
    app.state.dialects |= dict.fromkeys(("/embed", "/", "/info"), TEI)

    async def embed(body: TeiEmbedRequest) -> Response:
        dimensions = wanted_dimensions(body.dimensions, service.card)
        if body.normalize is False and service.card.normalize:
            raise InvalidRequest(f"normalize=false: {service.card.name} gives unit vectors and no other")
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        kind: InputType = "query" if body.prompt_name == "query" else "passage"
        vectors = await service.embed(texts, _truncate(body), kind)
        rows = cut_to(vectors.rows, dimensions, normalize=service.card.normalize)
        if body.normalize is not False and not service.card.normalize:
            rows = unit(rows)
        return answered(rows, service.told(vectors))

    for path in ("/embed", "/"):
        quick_post(app, path, embed, answers=list[list[float]], tag="tei")

    @app.get("/info", tags=["tei"])
    async def info() -> dict[str, Any]:
        encoder = service.encoder()
        return {
            "model_id": service.card.name,
            "model_sha": service.card.revision,
            "model_dtype": service.card.precision,
            "served_model_name": service.names.listed[-1],
            "model_type": {"embedding": {"pooling": service.card.pooling}},
            "max_input_length": encoder.profile.max_sequence,
            "max_batch_tokens": encoder.profile.max_tokens,
            "max_batch_requests": None,
            "auto_truncate": False,
            "version": __version__,
        }


def _truncate(body: TeiEmbedRequest) -> Truncate:
    if not body.truncate:
        return "NONE"
    return "START" if (body.truncation_direction or "").lower() == "left" else "END"
