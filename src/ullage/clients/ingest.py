"""Collections, documents, uploads and pages of the ingestor."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx

from ullage.clients.once import Once
from ullage.errors import DependencyDown

Body = dict[str, Any]


class IngestClient(Once):
    """The ingestor's API (docs/compatibility.md); errors are those of Once."""

    def __init__(
        self, base_url: str, *, timeout_s: float = 30.0, api_key: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, role="ingest", timeout_s=timeout_s, api_key=api_key, transport=transport)

    async def collections(self) -> list[Body]:
        return self._listed("/v1/collections", await self.ask("GET", "/v1/collections"), "collections")

    async def create_collection(self, name: str, description: str = "") -> str:
        """What the ingestor says of it: a collection that is there already is no error."""
        body = {"collection_name": name, "description": description}
        return str((await self.ask("POST", "/v1/collection", body=body))["message"])

    async def delete_collection(self, name: str) -> None:
        """Raises DependencyDown with the reason when it could not be deleted."""
        done = await self.ask("DELETE", "/v1/collections", body=[name])
        for failed in done.get("failed", ()):
            raise DependencyDown(f"collection {name} was not deleted: {failed['error_message']}")

    async def documents(self, collection: str) -> list[Body]:
        found = await self.ask("GET", "/v1/documents", collection_name=collection)
        return self._listed("/v1/documents", found, "documents")

    async def delete_documents(self, collection: str, names: Sequence[str]) -> str:
        done = await self.ask("DELETE", "/v1/documents", body=list(names), collection_name=collection)
        return str(done["message"])

    async def tasks(self, limit: int = 100) -> list[Body]:
        """The newest first."""
        return self._listed("/v1/tasks", await self.ask("GET", "/v1/tasks", limit=limit), "tasks")

    async def status(self, task_id: str) -> Body:
        found: Body = await self.ask("GET", "/v1/status", task_id=task_id)
        return found

    async def cancel(self, task_id: str, document: str | None = None) -> str:
        return str((await self.ask("POST", f"/v1/tasks/{quote(task_id, safe='')}/cancel",
                                   document_name=document))["message"])

    async def retry(self, task_id: str, document: str | None = None) -> Body:
        """`retried` names, and `failed_documents` with the reason of each that cannot be tried again."""
        done: Body = await self.ask("POST", f"/v1/tasks/{quote(task_id, safe='')}/retry", document_name=document)
        return done

    def upload(
        self, content: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """Hand a multipart body on as it comes in; `headers` are its type and length."""
        return self.stream("POST", "/v1/documents", content=content, headers=headers)

    async def send(self, files: Sequence[Path], data: Mapping[str, Any], *, update: bool = False) -> Body:
        """Upload files of this machine, read as they are sent; `data` is the contract's. Raises OSError for one that
        cannot be read."""
        method, path = "PATCH" if update else "POST", "/v1/documents"
        with ExitStack() as opened:
            parts = [("documents", (file.name, opened.enter_context(file.open("rb")))) for file in files]
            form = httpx.Request(method, self.base_url, files=parts, data={"data": json.dumps(data)})
            about = {name: form.headers[name] for name in ("content-type", "content-length")}
            async with self.stream(method, path, content=_pieces(form), headers=about) as answer:
                await answer.aread()
                try:
                    done: Body = answer.json()
                except ValueError:
                    raise self.wrong(path, "something that is not JSON") from None
                return done

    def page(
        self, collection: str, document: str, page: int, pixels: int
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """A page as PNG; see `GET /v1/pages`."""
        query = {"collection_name": collection, "document_name": document, "page": page, "pixels": pixels}
        return self.stream("GET", "/v1/pages", query=query)

    def _listed(self, path: str, answer: Any, name: str) -> list[Body]:
        found = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise self.wrong(path, f"no {name}")
        return found


async def _pieces(form: httpx.Request) -> AsyncIterator[bytes]:
    async for piece in cast("httpx.AsyncByteStream", form.stream):
        yield piece
