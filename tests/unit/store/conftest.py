"""Ledgers in SQLite and in a real PostgreSQL server."""

from postgres_server import place, postgres_server, postgres_url

__all__ = ["place", "postgres_server", "postgres_url"]
