"""Where each ledger is: in the state folder, or in tables of its own in the database that `ingest_ledger_url` names."""

from __future__ import annotations

from importlib import import_module

from ullage.errors import SettingsError
from ullage.settings import Settings
from ullage.store.database import Place, Shared


def task_place(settings: Settings) -> Place:
    """Of the ingestor's tasks. Raises SettingsError, as the others do, for a URL whose driver is not installed."""
    return _place(settings, "ingest/ledger.db", "ullage_ingest")


def summary_place(settings: Settings) -> Place:
    """Of the ingestor's summaries."""
    return _place(settings, "ingest/summaries.db", "ullage_ingest_summaries")


def bulk_place(settings: Settings) -> Place:
    """Of `ullage ingest --ray`, whose files the ingestor does not know."""
    return _place(settings, "ingest-ray/ledger.db", "ullage_ingest_ray")


def _place(settings: Settings, file: str, schema: str) -> Place:
    if (url := settings.ledger_url) is None:
        return settings.state_dir / file
    try:
        import_module("psycopg")
    except ImportError as error:
        said = " ".join(str(error).split())[:100]
        raise SettingsError(f"ingest_ledger_url needs PostgreSQL's driver ({said}): pip install 'ullage[postgres]'"
                            ) from None
    return Shared(url, schema)
