"""Summaries as another process than their writer reads them: nothing is made, nothing is locked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ullage.errors import DependencyDown
from ullage.store.summaries import Summary, summary_of

BUSY_S = 5.0


def read_summary(ledger: Path, collection: str, document: str) -> Summary | None:
    """None where there is none, or no ledger yet. Raises DependencyDown for a file that cannot be read."""
    if not ledger.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as database:
            database.row_factory = sqlite3.Row
            row = database.execute(
                "SELECT * FROM summaries WHERE collection = ? AND document = ?", (collection, document)).fetchone()
    except sqlite3.Error as error:
        raise DependencyDown(f"the ingestor's summaries at {ledger} cannot be read ({error})") from None
    return None if row is None else summary_of(row)
