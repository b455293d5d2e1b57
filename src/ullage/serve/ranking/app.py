"""The ranking service over HTTP, and gRPC where a port is set."""

from __future__ import annotations

from fastapi import FastAPI

from ullage.errors import UnknownModel
from ullage.http import ServiceInfo, build_app
from ullage.http.dialects import EITHER_TEI
from ullage.http.documented import document_faults
from ullage.http.door import Door
from ullage.http.metrics import Inferences, PhaseMetrics
from ullage.http.names import Names, plain
from ullage.plan import ServicePlan
from ullage.serve.encoder import Encoder, EncoderLifecycle, add_scheduler_metrics
from ullage.serve.ranking.grpc import RankingModel
from ullage.serve.ranking.ranker import Scores
from ullage.serve.ranking.routes import add_nim_routes, add_rerank_routes, add_tei_routes
from ullage.serve.ranking.service import RankingService, ranker_of
from ullage.settings import Settings


async def _prove(encoder: Encoder) -> Scores:
    return await ranker_of(encoder).score("is it ready?", ["ready", "not ready"])


def create_app(settings: Settings, planned: ServicePlan) -> FastAPI:
    """Every dialect of ranking and the routes every service has."""
    card = planned.card
    if card is None:
        raise UnknownModel("the ranking service needs a model: set ranking_model")
    door = Door.of(settings, "ranking")
    names = Names.of((*card.names, settings.ranking_served_name))
    lifecycle = EncoderLifecycle(settings, planned, _prove)
    kind = {"kind": card.kind, "scores": "relative" if card.kind == "fusion" else "absolute"}
    info = ServiceInfo(
        service="ranking",
        models=names.listed,
        revision=card.revision,
        licence=card.licence,
        profile=planned.profile_id,
        ledger=planned.ledger.as_dict(),
        model_fields={"max_model_len": planned.profile.max_sequence if planned.profile else 0, "ullage": kind},
    )
    app = build_app(info, lifecycle, max_body=int(settings.max_body), door=door)
    add_scheduler_metrics(app.state.registry, lifecycle)

    def batches() -> float:
        return float(lifecycle.encoder.scheduler.counters.batches) if lifecycle.encoder else 0.0

    phases = PhaseMetrics(app.state.registry)
    inferences = Inferences(app.state.registry, plain(names.listed[0]), batches)
    service = RankingService(card, names, lifecycle, app.state.health, phases, inferences, settings.request_timeout_s)
    add_nim_routes(app, service)
    add_rerank_routes(app, service)
    add_tei_routes(app, service)
    document_faults(app, also={"/rerank": EITHER_TEI})
    app.state.kserve = RankingModel(service)
    return app
