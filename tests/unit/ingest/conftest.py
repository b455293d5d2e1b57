"""Ingestors with a hashing embedding service and a real Milvus Lite, for every test here."""

from ingesting import embedder, ingest

__all__ = ["embedder", "ingest"]
