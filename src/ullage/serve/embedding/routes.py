"""Routes of OpenAI and NIM, and of text-embeddings-inference (TEI), over one service."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import FastAPI, Response

from ullage.errors import InvalidRequest
from ullage.http.dialects import TEI, openai
from ullage.serve.embedding.schema import (
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    TeiEmbedRequest,
    Usage,
)
from ullage.serve.embedding.service import EmbeddingService
from ullage.serve.embedding.shape import as_type, base64_of, cut_to, numbers, unit, wanted_dimensions
from ullage.serve.embedding.vectors import InputType, Truncate
from ullage.version import __version__


def add_openai_routes(app: FastAPI, service: EmbeddingService) -> None:
    """`POST /v1/embeddings`."""
    app.state.dialects |= {"/v1/embeddings": openai(app.state.dialect)}

    @app.post("/v1/embeddings", response_model=EmbeddingResponse, tags=["embedding"])
    async def embeddings(body: EmbeddingRequest, response: Response) -> EmbeddingResponse:
        named = service.input_type_of(body.model)
        dimensions = wanted_dimensions(body.dimensions, service.card)
        kind = body.embedding_type or "float"
        as_type(np.empty((0, dimensions), np.float32), kind, service.card)  # refuses before it computes
        texts = [body.input] if isinstance(body.input, str) else body.input
        if isinstance(body.modality, list) and len(body.modality) not in (1, len(texts)):
            raise InvalidRequest(f"modality has {len(body.modality)} entries for {len(texts)} texts: give one for each")
        vectors = await service.embed(texts, body.truncate or "NONE", body.input_type or named)
        service.tell(response, vectors)
        rows = as_type(cut_to(vectors.rows, dimensions, normalize=service.card.normalize), kind, service.card)
        shown = base64_of if body.encoding_format == "base64" else numbers
        return EmbeddingResponse(
            data=[Embedding(index=index, embedding=shown(row)) for index, row in enumerate(rows)],
            model=service.card.name,
            usage=Usage(prompt_tokens=vectors.prompt_tokens, total_tokens=vectors.prompt_tokens),
        )


def add_tei_routes(app: FastAPI, service: EmbeddingService) -> None:
    """`POST /embed`, the same at `/`, and `GET /info`."""
    app.state.dialects |= dict.fromkeys(("/embed", "/", "/info"), TEI)

    async def embed(body: TeiEmbedRequest, response: Response) -> list[list[float]]:
        dimensions = wanted_dimensions(body.dimensions, service.card)
        if body.normalize is False and service.card.normalize:
            raise InvalidRequest(f"normalize=false: {service.card.name} gives unit vectors and no other")
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        kind: InputType = "query" if body.prompt_name == "query" else "passage"
        vectors = await service.embed(texts, _truncate(body), kind)
        service.tell(response, vectors)
        rows = cut_to(vectors.rows, dimensions, normalize=service.card.normalize)
        if body.normalize is not False and not service.card.normalize:
            rows = unit(rows)
        found: list[list[float]] = rows.tolist()
        return found

    for path in ("/embed", "/"):
        app.post(path, tags=["tei"])(embed)

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
