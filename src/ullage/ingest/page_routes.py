"""A page of a stored document as it looks: for those who want to see where a citation points."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ullage.ingest.service import IngestService
from ullage.ingest.shown import shown_page

PIXELS = 1200


def page_routes(service: IngestService) -> APIRouter:
    router = APIRouter(tags=["pages"])

    @router.get("/pages", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    async def page(
        document_name: str,
        collection_name: str | None = None,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        pixels: Annotated[int, Query(ge=16, le=4096)] = PIXELS,
    ) -> Response:
        """PNG, its longer side of at most `pixels`. Not in the replaced stack.

        `X-Ullage-Page-Size` is WIDTHxHEIGHT in the units of a passage's `location`, `X-Ullage-Page-Source` whether it
        was made from the `original` or is the kept `thumbnail`.
        """
        collection = collection_name or service.settings.collection
        found = await shown_page(service, collection, document_name, page, pixels)
        return Response(found.png, media_type="image/png", headers={
            "X-Ullage-Page-Size": f"{found.width}x{found.height}",
            "X-Ullage-Page-Source": found.source,
        })

    return router
