"""The ranking service over HTTP."""

from __future__ import annotations

from fastapi import FastAPI, Response

from ullage.errors import NotReady, UnknownModel
from ullage.http import ServiceInfo, build_app
from ullage.http.telling import tell
from ullage.plan import ServicePlan
from ullage.serve.encoder import Encoder, EncoderLifecycle, add_scheduler_metrics, within
from ullage.serve.ranking.ranker import Ranker, Scores
from ullage.serve.ranking.schema import Ranking, RankingRequest, RankingResponse, Usage
from ullage.settings import Settings


async def _prove(encoder: Encoder) -> Scores:
    return await ranker_of(encoder).score("is it ready?", ["ready", "not ready"])


def ranker_of(encoder: Encoder) -> Ranker:
    return Ranker(encoder.card, encoder.tokenizer, encoder.scheduler, limit=encoder.profile.max_sequence)


def create_app(settings: Settings, planned: ServicePlan) -> FastAPI:
    """`POST /v1/ranking` and the routes every service has."""
    card = planned.card
    if card is None:
        raise UnknownModel("the ranking service needs a model: set ranking_model")
    names = tuple(filter(None, (*card.names, settings.ranking_served_name)))
    lifecycle = EncoderLifecycle(settings, planned, _prove)
    kind = {"kind": card.kind, "scores": "relative" if card.kind == "fusion" else "absolute"}
    info = ServiceInfo(
        service="ranking",
        models=names,
        revision=card.revision,
        licence=card.licence,
        profile=planned.profile_id,
        ledger=planned.ledger.as_dict(),
        model_fields={"max_model_len": planned.profile.max_sequence if planned.profile else 0, "ullage": kind},
    )
    app = build_app(info, lifecycle, max_body=int(settings.max_body))
    add_scheduler_metrics(app.state.registry, lifecycle)

    @app.post("/v1/ranking", response_model=RankingResponse, tags=["ranking"])
    async def ranking(request: RankingRequest, response: Response) -> RankingResponse:
        if request.model not in names:
            raise UnknownModel(f"model {request.model!r} is not served here: {', '.join(names)} is")
        if lifecycle.encoder is None or not app.state.health.ready:
            raise NotReady(f"ranking is not ready: {app.state.health.reason}", retry_after_s=2)
        passages = [passage.text for passage in request.passages]
        work = ranker_of(lifecycle.encoder).score(request.query.text, passages, request.truncate)
        scores = await within(settings.request_timeout_s, work)
        seconds = {"tokenize": scores.tokenize_s, "queue": scores.queue_s, "compute": scores.compute_s}
        tell(response, seconds, scores.cut)
        return _answer(scores)

    return app


def _answer(scores: Scores) -> RankingResponse:
    return RankingResponse(
        rankings=[Ranking(index=i, logit=float(scores.logits[i])) for i in scores.order()],
        usage=Usage(prompt_tokens=scores.prompt_tokens, total_tokens=scores.prompt_tokens),
    )
