"""`GET /summary`: what the ingestor wrote of a document, read from its ledger."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from fastapi.responses import JSONResponse

from ullage.settings import Settings
from ullage.store import Summary
from ullage.store.database import Place
from ullage.store.places import summary_place
from ullage.store.summaries import summary_answer
from ullage.store.summary_reader import read_summary

LONGEST_WAIT_S = 3600.0
LOOK_AGAIN_S = 0.25


async def summary_response(
    settings: Settings, collection: str, document: str, *, blocking: bool, timeout_s: float
) -> JSONResponse:
    """200, 202, 400, 404, 408 or 500, as the contract has them. `blocking` waits until it is over."""
    if timeout_s <= 0:
        return JSONResponse({"message": f"timeout={timeout_s:g} must be more than 0 seconds"}, 400)
    wait_s = min(timeout_s, LONGEST_WAIT_S) if blocking else 0.0
    found = await _found(summary_place(settings), collection, document, wait_s)
    body, status = summary_answer(collection, document, found, _written)
    if blocking and status == 202:
        body, status = {**body, "message": f"Timed out after {wait_s:g} s: {body['message']}"}, 408
    return JSONResponse(body, status)


async def _found(ledger: Place, collection: str, document: str, wait_s: float) -> Summary | None:
    deadline = time.monotonic() + wait_s
    while True:
        found = await asyncio.to_thread(read_summary, ledger, collection, document)
        left = deadline - time.monotonic()
        if found is None or found.over or left <= 0:
            return found
        await asyncio.sleep(min(LOOK_AGAIN_S, left))


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
