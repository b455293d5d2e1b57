"""Summaries as another process than their writer reads them: nothing is made, nothing is locked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ullage.errors import DependencyDown
from ullage.store.database import Place, Shared
from ullage.store.summaries import Summary, summary_of

BUSY_S = 5.0
_QUERY = "SELECT * FROM summaries WHERE collection = ? AND document = ?"


def read_summary(ledger: Place, collection: str, document: str) -> Summary | None:
    """None where there is none, or no ledger yet. Raises DependencyDown for a ledger that cannot be read."""
    if isinstance(ledger, Path):
        return _of_file(ledger, collection, document)
    return _of_server(ledger, collection, document)


def _of_file(ledger: Path, collection: str, document: str) -> Summary | None:
    if not ledger.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as database:
            database.row_factory = sqlite3.Row
            row = database.execute(_QUERY, (collection, document)).fetchone()
    except sqlite3.Error as error:
        raise DependencyDown(f"the ingestor's summaries at {ledger} cannot be read ({error})") from None
    return None if row is None else summary_of(row)


def _of_server(ledger: Shared, collection: str, document: str) -> Summary | None:
    from psycopg import Error
    from psycopg.errors import UndefinedTable

    from ullage.store.database_postgres import away, connected, placed, plain

    with closing(connected(ledger)) as connection:
        try:
            row = connection.execute(placed(_QUERY), plain((collection, document))).fetchone()
        except UndefinedTable:
            return None
        except Error as error:
            raise away(ledger, error) from None
    return None if row is None else summary_of(row)
