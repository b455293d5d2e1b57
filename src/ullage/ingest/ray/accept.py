"""What a run is asked to ingest, written down before anything is read: from then on no kill loses it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ullage.clients.embedding import EmbedderInfo, EmbeddingClient
from ullage.errors import DocumentRefused, InvalidRequest, SettingsError
from ullage.ingest.ray.patience import patiently_here
from ullage.ingest.readers import extension
from ullage.ingest.uploads import safe_name
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.models.tokenize import Tokenizer
from ullage.settings import Settings
from ullage.store import FileRecord, VectorStore
from ullage.store.ledger_bulk import BulkLedger

FEW_NAMES = 1000
"""Up to so many are looked for by name; beyond, all documents of the collection are listed."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Tasks of a run: those it goes on with and its own. `resumed` files were open in the ledger, `there` are in the
    collection already and are not ingested again."""

    tasks: tuple[str, ...]
    files: int
    resumed: int
    there: int


def open_collection(store: VectorStore, settings: Settings) -> EmbedderInfo:
    """Made if it is not there. Raises SettingsError for one that another embedder made, DependencyDown."""
    made_by = asyncio.run(_describe(settings))
    name = settings.collection
    patiently_here(store.ping, settings.request_timeout_s)
    if not store.create_collection(name, embedder=made_by.name, dimension=made_by.dimension):
        store.check_embedder(name, embedder=made_by.name, dimension=made_by.dimension)
        if store.schema(name):
            raise InvalidRequest(f"collection {name} asks for metadata of every document, and files of a folder have "
                                 "none: ingest them without --ray")
    return made_by


async def _describe(settings: Settings) -> EmbedderInfo:
    client = EmbeddingClient(settings.url("embedding"), timeout_s=settings.request_timeout_s)
    try:
        return await client.describe()
    finally:
        await client.close()


def accept(ledger: BulkLedger, store: VectorStore, settings: Settings, paths: Sequence[Path], *,
           update: bool) -> Accepted:
    """Everything open of the collection, and a new task of what is not known yet; `update` takes known ones too.

    A file of a kind that is not read is FAILED in the task. Names are those of the paths, each once.
    """
    collection = settings.collection
    before = ledger.open_tasks(collection)
    names = [path.name for path in paths]
    waiting = ledger.open_names(collection, names)
    listed = set() if update else _listed(store, collection, names) - waiting
    files = [_record(path, strict=settings.strict_compatibility) for path in paths
             if path.name not in waiting and path.name not in listed]
    tasks = list(before)
    if files:
        options = {**_cut(settings), "update": update, "by": "ray"}
        tasks.append(ledger.accept(collection, files, options))
    resumed = sum(states.get("RUNNING", 0) + states.get("PENDING", 0) for states in before.values())
    return Accepted(tuple(tasks), len(files), resumed, len(listed & set(names)))


def _listed(store: VectorStore, collection: str, names: Sequence[str]) -> set[str]:
    return {document.name for document in store.documents(collection, names if len(names) <= FEW_NAMES else None)}


def _record(path: Path, *, strict: bool) -> FileRecord:
    try:
        name = safe_name(path.name)
        extension(name, strict=strict)
        return FileRecord(name, bytes=path.stat().st_size, wish={"path": str(path.absolute())})
    except DocumentRefused as refusal:
        return FileRecord(path.name, error=refusal.message)


def _cut(settings: Settings) -> dict[str, Any]:
    """Raises SettingsError for chunks that the embedder would cut off unread, as the ingestor does."""
    card = resolve(settings.embedding_model, "embedding")
    tokenizer = Tokenizer(locate(card, settings.cache_dir)["tokenizer"])
    most = min(card.max_sequence, settings.max_sequence or card.max_sequence) - len(tokenizer.encode([""])[0])
    if settings.chunk_tokens > most:
        raise SettingsError(f"chunk_tokens={settings.chunk_tokens} is more than {card.name} reads of a text: {most} at "
                            "most")
    if settings.chunk_overlap * 2 > settings.chunk_tokens:
        raise SettingsError(f"chunk_overlap={settings.chunk_overlap} is more than half of chunk_tokens="
                            f"{settings.chunk_tokens}: {settings.chunk_tokens // 2} at most")
    return {"chunk_tokens": settings.chunk_tokens, "chunk_overlap": settings.chunk_overlap}
