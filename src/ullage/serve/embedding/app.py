"""The embedding service over HTTP, and gRPC where a port is set."""

from __future__ import annotations

from fastapi import FastAPI

from ullage.errors import UnknownModel
from ullage.http import ServiceInfo, build_app
from ullage.http.documented import document_faults
from ullage.http.door import Door
from ullage.http.metrics import Inferences, PhaseMetrics
from ullage.http.names import Names, plain
from ullage.plan import ServicePlan
from ullage.serve.embedding.grpc import EmbeddingModel
from ullage.serve.embedding.routes import add_openai_routes, add_tei_routes
from ullage.serve.embedding.service import EmbeddingService
from ullage.serve.embedding.vectors import Vectors, embed
from ullage.serve.encoder import Encoder, EncoderLifecycle, add_scheduler_metrics
from ullage.settings import Settings


async def _prove(encoder: Encoder) -> Vectors:
    return await embed(encoder, ["is it ready?"])


def create_app(settings: Settings, planned: ServicePlan) -> FastAPI:
    """Every dialect of embedding and the routes every service has."""
    card = planned.card
    if card is None:
        raise UnknownModel("the embedding service needs a model: set embedding_model")
    door = Door.of(settings, "embedding")
    names = Names.of((*card.names, settings.embedding_served_name))
    lifecycle = EncoderLifecycle(settings, planned, _prove)
    info = ServiceInfo(
        service="embedding",
        models=names.listed,
        revision=card.revision,
        licence=card.licence,
        profile=planned.profile_id,
        ledger=planned.ledger.as_dict(),
        model_fields={
            "max_model_len": planned.profile.max_sequence if planned.profile else 0,
            "ullage": {"kind": card.kind, "dimensions": card.shape.hidden},
        },
    )
    app = build_app(info, lifecycle, max_body=int(settings.max_body), door=door)
    add_scheduler_metrics(app.state.registry, lifecycle)

    def batches() -> float:
        return float(lifecycle.encoder.scheduler.counters.batches) if lifecycle.encoder else 0.0

    phases = PhaseMetrics(app.state.registry)
    inferences = Inferences(app.state.registry, plain(names.listed[0]), batches)
    service = EmbeddingService(card, names, lifecycle, app.state.health, phases, inferences, settings.request_timeout_s)
    add_openai_routes(app, service)
    add_tei_routes(app, service)
    document_faults(app)
    app.state.kserve = EmbeddingModel(service)
    return app
