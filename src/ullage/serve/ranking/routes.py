"""Routes of NIM, its hosted alias, Cohere, Jina and text-embeddings-inference (TEI), over one service."""

from __future__ import annotations

import math
import uuid
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Request, Response
from pydantic.json_schema import SkipJsonSchema

from ullage.http.dialects import COHERE, EITHER, EITHER_TEI, TEI
from ullage.serve.ranking.ranker import Scores
from ullage.serve.ranking.rerank_schema import (
    MAX_DOCUMENTS,
    EitherRequest,
    RerankRequest,
    RerankResponse,
    RerankUsage,
    Result,
    TeiRank,
    TeiRequest,
)
from ullage.serve.ranking.schema import HostedRequest, Ranking, RankingRequest, RankingResponse, Usage
from ullage.serve.ranking.service import RankingService, relevance
from ullage.version import __version__

Long = Annotated[Literal["window"] | SkipJsonSchema[None], Header(alias="X-Ullage-Long", description=(
    "`window`: a passage over the limit is read in overlapping windows, and its best counts"))]
COHERE_PATHS = ("/v1/rerank", "/v2/rerank")
DOCUMENTS_A_UNIT = 100
"""What Cohere counts as one unit of search."""


def add_nim_routes(app: FastAPI, service: RankingService) -> None:
    """`POST /v1/ranking`, and the path of the hosted service, which alone takes `top_k`."""

    @app.post("/v1/ranking", response_model=RankingResponse, tags=["ranking"])
    async def ranking(body: RankingRequest, response: Response, long: Long = None) -> RankingResponse:
        service.check(body.model)
        scores = await _nim_scores(service, body, long)
        service.tell(response, scores)
        return _rankings(scores)

    @app.post("/v1/retrieval/{org}/{model}/reranking", response_model=RankingResponse, tags=["ranking"])
    async def hosted(
        org: str, model: str, body: HostedRequest, response: Response, long: Long = None
    ) -> RankingResponse:
        for named in (f"{org}/{model}", body.model):
            if named is not None and not service.names.knows_plain(named):
                raise service.unknown(named)
        scores = await _nim_scores(service, body, long)
        service.tell(response, scores)
        return _rankings(scores, body.top_k)


async def _nim_scores(service: RankingService, body: RankingRequest, long: str | None) -> Scores:
    passages = [passage.text for passage in body.passages]
    return await service.score(body.query.text, passages, "WINDOW" if long else body.truncate or "NONE")


def _rankings(scores: Scores, top: int | None = None) -> RankingResponse:
    return RankingResponse(
        rankings=[Ranking(index=i, logit=float(scores.logits[i])) for i in scores.order()[:top]],
        usage=Usage(prompt_tokens=scores.prompt_tokens, total_tokens=scores.prompt_tokens),
    )


def add_rerank_routes(app: FastAPI, service: RankingService) -> None:
    """Cohere's and Jina's paths, and `/rerank`, which is TEI's too: the body's fields tell them apart. A body at fault
    is answered with Jina's code."""
    app.state.dialects |= dict.fromkeys(COHERE_PATHS, COHERE) | {"/rerank": EITHER}

    async def rerank(body: RerankRequest, request: Request, response: Response, long: Long = None) -> RerankResponse:
        return await _cohere(service, body, request, response, long)

    for path in COHERE_PATHS:
        app.post(path, response_model=RerankResponse, response_model_exclude_none=True, tags=["rerank"])(rerank)

    @app.post("/rerank", response_model=RerankResponse | list[TeiRank], response_model_exclude_none=True,
              tags=["rerank"])
    async def either(
        body: EitherRequest, request: Request, response: Response, long: Long = None
    ) -> RerankResponse | list[TeiRank]:
        if isinstance(body, TeiRequest):
            request.state.dialect = EITHER_TEI
            return await _tei(service, body, response, long)
        return await _cohere(service, body, request, response, long)


async def _cohere(
    service: RankingService, body: RerankRequest, request: Request, response: Response, long: str | None
) -> RerankResponse:
    service.check(body.model)
    windows = long is not None or body.max_chunks_per_doc is not None
    truncate: Any = "WINDOW" if windows else "NONE" if body.truncation is False else "END"
    scores = await service.score(
        body.query, body.texts, truncate,
        most_windows=body.max_chunks_per_doc, passage_tokens=body.max_tokens_per_doc,
    )
    service.tell(response, scores)
    version = "2" if request.url.path.startswith("/v2") else "1"
    return RerankResponse(
        id=str(uuid.uuid4()),
        model=body.model or service.card.name,
        results=[_result(i, scores, body) for i in scores.order()[: body.top_n]],
        usage=RerankUsage(prompt_tokens=scores.prompt_tokens, total_tokens=scores.prompt_tokens),
        meta={
            "api_version": {"version": version, "is_experimental": False},
            "billed_units": {"search_units": math.ceil(len(body.documents) / DOCUMENTS_A_UNIT)},
            "tokens": {"input_tokens": scores.prompt_tokens},
            "ullage": {"revision": service.card.revision},
        },
    )


def _result(index: int, scores: Scores, body: RerankRequest) -> Result:
    document = body.documents[index]
    shown = {"text": document} if isinstance(document, str) else document.model_dump()
    return Result(
        index=index,
        relevance_score=relevance(scores.logits[index]),
        logit=float(scores.logits[index]),
        tokens=scores.tokens[index],
        truncated=scores.cut[index] > 0,
        document=shown if body.return_documents else None,
    )


def add_tei_routes(app: FastAPI, service: RankingService) -> None:
    """`POST /` as TEI has it for rerankers, and `GET /info`."""
    app.state.dialects |= {"/": TEI, "/info": TEI}

    @app.post("/", response_model=list[TeiRank], response_model_exclude_none=True, tags=["tei"])
    async def root(body: TeiRequest, response: Response, long: Long = None) -> list[TeiRank]:
        return await _tei(service, body, response, long)

    @app.get("/info", tags=["tei"])
    async def info() -> dict[str, Any]:
        encoder = service.encoder()
        return {
            "model_id": service.card.name,
            "model_sha": service.card.revision,
            "model_dtype": service.card.precision,
            "served_model_name": service.names.listed[-1],
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_input_length": encoder.profile.max_sequence,
            "max_batch_tokens": encoder.profile.max_tokens,
            "max_batch_requests": None,
            "max_client_batch_size": MAX_DOCUMENTS,
            "auto_truncate": False,
            "version": __version__,
        }


async def _tei(service: RankingService, body: TeiRequest, response: Response, long: str | None) -> list[TeiRank]:
    scores = await service.score(body.query, body.texts, "WINDOW" if long else "END" if body.truncate else "NONE")
    service.tell(response, scores)
    read = float if body.raw_scores else relevance
    return [
        TeiRank(index=i, score=read(scores.logits[i]), text=body.texts[i] if body.return_text else None)
        for i in scores.order()
    ]
