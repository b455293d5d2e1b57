"""Routes of NIM, its hosted alias, Cohere, Jina and text-embeddings-inference (TEI), over one service."""

from __future__ import annotations

import math
import uuid
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Request, Response
from pydantic.json_schema import SkipJsonSchema

from ullage.http.answer import answered
from ullage.http.dialects import COHERE, EITHER, EITHER_TEI, TEI
from ullage.http.quick import quick_post
from ullage.serve.ranking.ranker import Scores
from ullage.serve.ranking.rerank_schema import (
    MAX_DOCUMENTS,
    EitherRequest,
    RerankRequest,
    RerankResponse,
    TeiRank,
    TeiRequest,
)
from ullage.serve.ranking.schema import HostedRequest, RankingRequest, RankingResponse
from ullage.serve.ranking.service import RankingService, relevance
from ullage.version import __version__

Long = Annotated[Literal["window"] | SkipJsonSchema[None], Header(alias="X-Ullage-Long", description=(
    "`window`: a passage over the limit is read in overlapping windows, and its best counts"))]
COHERE_PATHS = ("/v1/rerank", "/v2/rerank")
DOCUMENTS_A_UNIT = 100
"""What Cohere counts as one unit of search."""


def add_nim_routes(app: FastAPI, service: RankingService) -> None:
    """`POST /v1/ranking`, and the path of the hosted service, which alone takes `top_k`."""

    async def ranking(body: RankingRequest, long: Long = None) -> Response:
        service.check(body.model)
        return _rankings(service, await _nim_scores(service, body, long))

    async def hosted(org: str, model: str, body: HostedRequest, long: Long = None) -> Response:
        for named in (f"{org}/{model}", body.model):
            if named is not None and not service.names.knows_plain(named):
                raise service.unknown(named)
        return _rankings(service, await _nim_scores(service, body, long), body.top_k)

    quick_post(app, "/v1/ranking", ranking, answers=RankingResponse, tag="ranking")
    quick_post(app, "/v1/retrieval/{org}/{model}/reranking", hosted, answers=RankingResponse, tag="ranking")


async def _nim_scores(service: RankingService, body: RankingRequest, long: str | None) -> Scores:
    passages = [passage.text for passage in body.passages]
    return await service.score(body.query.text, passages, "WINDOW" if long else body.truncate or "NONE")


def _rankings(service: RankingService, scores: Scores, top: int | None = None) -> Response:
    """A RankingResponse."""
    logits = scores.logits.tolist()
    return answered({"rankings": [{"index": i, "logit": logits[i]} for i in scores.order()[:top]],
                     "usage": _usage(scores)}, service.told(scores))


def _usage(scores: Scores) -> dict[str, int]:
    return {"prompt_tokens": scores.prompt_tokens, "total_tokens": scores.prompt_tokens}


def add_rerank_routes(app: FastAPI, service: RankingService) -> None:
    """Cohere's and Jina's paths, and `/rerank`, which is TEI's too: the body's fields tell them apart. A body at fault
    is answered with Jina's code."""
    app.state.dialects |= dict.fromkeys(COHERE_PATHS, COHERE) | {"/rerank": EITHER}

    async def rerank(body: RerankRequest, request: Request, long: Long = None) -> Response:
        return await _cohere(service, body, request, long)

    for path in COHERE_PATHS:
        quick_post(app, path, rerank, answers=RerankResponse, tag="rerank")

    async def either(body: EitherRequest, request: Request, long: Long = None) -> Response:
        if isinstance(body, TeiRequest):
            request.state.dialect = EITHER_TEI
            return await _tei(service, body, long)
        return await _cohere(service, body, request, long)

    quick_post(app, "/rerank", either, answers=RerankResponse | list[TeiRank], tag="rerank")


async def _cohere(service: RankingService, body: RerankRequest, request: Request, long: str | None) -> Response:
    """A RerankResponse."""
    service.check(body.model)
    windows = long is not None or body.max_chunks_per_doc is not None
    truncate: Any = "WINDOW" if windows else "NONE" if body.truncation is False else "END"
    scores = await service.score(
        body.query, body.texts, truncate,
        most_windows=body.max_chunks_per_doc, passage_tokens=body.max_tokens_per_doc,
    )
    version = "2" if request.url.path.startswith("/v2") else "1"
    return answered({
        "id": str(uuid.uuid4()),
        "object": "list",
        "model": body.model or service.card.name,
        "results": [_result(i, scores, body) for i in scores.order()[: body.top_n]],
        "usage": _usage(scores),
        "meta": {
            "api_version": {"version": version, "is_experimental": False},
            "billed_units": {"search_units": math.ceil(len(body.documents) / DOCUMENTS_A_UNIT)},
            "tokens": {"input_tokens": scores.prompt_tokens},
            "ullage": {"revision": service.card.revision},
        },
    }, service.told(scores))


def _result(index: int, scores: Scores, body: RerankRequest) -> dict[str, Any]:
    """A Result, without `document` where none was asked for."""
    logit = float(scores.logits[index])
    found: dict[str, Any] = {"index": index, "relevance_score": relevance(logit), "logit": logit,
                             "tokens": scores.tokens[index], "truncated": scores.cut[index] > 0}
    if body.return_documents:
        document = body.documents[index]
        found["document"] = {"text": document} if isinstance(document, str) else document.model_dump()
    return found


def add_tei_routes(app: FastAPI, service: RankingService) -> None:
    """`POST /` as TEI has it for rerankers, and `GET /info`."""
    app.state.dialects |= {"/": TEI, "/info": TEI}

    async def root(body: TeiRequest, long: Long = None) -> Response:
        return await _tei(service, body, long)

    quick_post(app, "/", root, answers=list[TeiRank], tag="tei")

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


async def _tei(service: RankingService, body: TeiRequest, long: str | None) -> Response:
    """A list of TeiRank, without `text` where none was asked for."""
    truncate: Any = "WINDOW" if long else "END" if body.truncate else "NONE"
    scores = await service.score(body.query, body.texts, truncate)
    read = float if body.raw_scores else relevance
    ranked = [(i, read(scores.logits[i])) for i in scores.order()]
    if body.return_text:
        found = [{"index": i, "score": score, "text": body.texts[i]} for i, score in ranked]
    else:
        found = [{"index": i, "score": score} for i, score in ranked]
    return answered(found, service.told(scores))
