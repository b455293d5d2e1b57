"""Ingestors with a hashing embedding service and a real Milvus Lite, for every test here."""

from ingesting import embedder, ingest
from postgres_server import place, postgres_server, postgres_url

__all__ = ["embedder", "ingest", "place", "postgres_server", "postgres_url"]
