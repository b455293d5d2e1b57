"""`GET /summary`: what the ingestor wrote of a document, read from its ledger."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse

from ullage.settings import Settings
from ullage.store import Summary
from ullage.store.summary_reader import read_summary

LONGEST_WAIT_S = 3600.0
LOOK_AGAIN_S = 0.25


async def summary_answer(
    settings: Settings, collection: str, document: str, *, blocking: bool, timeout_s: float
) -> JSONResponse:
    """200, 202, 400, 404, 408 or 500, as the contract has them. `blocking` waits until it is over."""
    if timeout_s <= 0:
        return JSONResponse({"message": f"timeout={timeout_s:g} must be more than 0 seconds"}, 400)
    ledger = settings.state_dir / "ingest" / "summaries.db"
    wait_s = min(timeout_s, LONGEST_WAIT_S) if blocking else 0.0
    found = await _found(ledger, collection, document, wait_s)
    body, status = _body(collection, document, found)
    if blocking and status == 202:
        body, status = {**body, "message": f"Timed out after {wait_s:g} s: {body['message']}"}, 408
    return JSONResponse(body, status)


async def _found(ledger: Path, collection: str, document: str, wait_s: float) -> Summary | None:
    deadline = time.monotonic() + wait_s
    while True:
        found = await asyncio.to_thread(read_summary, ledger, collection, document)
        left = deadline - time.monotonic()
        if found is None or found.over or left <= 0:
            return found
        await asyncio.sleep(min(LOOK_AGAIN_S, left))


def _body(collection: str, document: str, found: Summary | None) -> tuple[dict[str, Any], int]:
    body: dict[str, Any] = {"file_name": document, "collection_name": collection, "summary": None, "error": None,
                            "started_at": None, "updated_at": None, "completed_at": None, "progress": None}
    if found is None:
        said = (f"Summary for {document} not found in collection {collection}: upload the document with "
                "generate_summary=true")
        return {**body, "message": said, "status": "NOT_FOUND", "error": said}, 404
    for name, seconds in (("started_at", found.started_s), ("updated_at", found.updated_s),
                          ("completed_at", found.completed_s)):
        body[name] = None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    body |= {"status": found.state, "summary": found.text or None, "error": found.error or None}
    if found.state == "SUCCESS":
        return {**body, "message": "Summary retrieved successfully."}, 200
    if found.state == "FAILED":
        return {**body, "message": f"Summary generation failed: {found.error}"}, 500
    doing = found.message or "waiting for its turn"
    progress = {"current": found.done, "total": found.total, "message": doing}
    return {**body, "message": f"Summary generation is in progress: {doing}", "progress": progress}, 202
