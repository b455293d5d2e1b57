"""The ingestor over HTTP."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from ullage.errors import UllageError
from ullage.http import ServiceInfo, build_app
from ullage.http.errors import describe_faults
from ullage.ingest.collection_routes import collection_routes
from ullage.ingest.health_routes import health_routes
from ullage.ingest.heap import keep_heap_small
from ullage.ingest.intake import UploadTurns, bound_memory_of_uploads
from ullage.ingest.page_routes import page_routes
from ullage.ingest.routes import document_routes, task_routes
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
    service.on_lost = partial(_end, app)
    app.add_exception_handler(RequestValidationError, _faults)
    bound_memory_of_uploads()
    keep_heap_small()
    app.add_middleware(UploadTurns)
    for router in (document_routes(service), task_routes(service), collection_routes(service), health_routes(service),
                   page_routes(service)):
        app.include_router(router, prefix="/v1")
        app.include_router(router, include_in_schema=False)
    return app


def _end(app: FastAPI, failure: UllageError) -> None:
    """As after SIGTERM, with the failure's exit code; who started the process starts another."""
    app.state.failure = failure
    if app.state.on_failure is not None:
        app.state.on_failure()


async def _faults(_: Request, error: Exception) -> JSONResponse:
    """The contract's `detail`, a list, and our one line."""
    assert isinstance(error, RequestValidationError)
    faults = [{"loc": fault["loc"], "msg": fault["msg"], "type": fault["type"]} for fault in error.errors()]
    return JSONResponse({"detail": faults, "message": describe_faults(error.errors())}, 422)
