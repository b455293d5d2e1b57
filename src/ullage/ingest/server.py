"""The ingestor over HTTP."""

from __future__ import annotations

from fastapi import FastAPI

from ullage.http import ServiceInfo, build_app
from ullage.ingest.routes import collection_routes, document_routes, health_routes
from ullage.ingest.service import IngestService
from ullage.plan import ServicePlan
from ullage.settings import Settings


def create_app(settings: Settings, planned: ServicePlan | None = None) -> FastAPI:
    """The ingestor API of the RAG Blueprint at `/x` and `/v1/x`, and the routes every server has.

    Raises SettingsError or ModelError when the settings could never work.
    """
    service = IngestService(settings)
    info = ServiceInfo(
        service="ingest",
        profile=planned.profile_id if planned else "",
        ledger=planned.ledger.as_dict() if planned else {},
    )
    app = build_app(info, service, max_body=int(settings.max_upload) + int(settings.max_body))
    for router in (document_routes(service), collection_routes(service), health_routes(service)):
        app.include_router(router, prefix="/v1")
        app.include_router(router, include_in_schema=False)
    return app
