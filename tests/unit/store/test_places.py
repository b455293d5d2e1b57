"""Each ledger has its place, in the state folder or in a database that several machines reach."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ullage.errors import SettingsError
from ullage.settings import Settings
from ullage.store.database import Shared
from ullage.store.places import bulk_place, summary_place, task_place

PLACES = (task_place, summary_place, bulk_place)
URL = "postgresql://u:geheim@db/tasks"


def test_without_a_url_each_is_the_file_that_it_was_in_earlier_versions(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    assert [place(settings) for place in PLACES] == [
        tmp_path / "ingest" / "ledger.db", tmp_path / "ingest" / "summaries.db", tmp_path / "ingest-ray" / "ledger.db"]


def test_with_a_url_each_has_tables_and_a_writer_of_its_own() -> None:
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'ullage[postgres]'")
    from ullage.store.database_postgres import lock_key

    found = [place(Settings(ingest_ledger_url=URL)) for place in PLACES]
    schemas = [place.schema for place in found if isinstance(place, Shared)]
    assert schemas == ["ullage_ingest", "ullage_ingest_summaries", "ullage_ingest_ray"]
    assert len({lock_key(schema) for schema in schemas}) == len(PLACES)
    assert [str(place) for place in found[:1]] == ["postgresql://db:5432/tasks (schema ullage_ingest)"]
    assert "geheim" not in repr(found)


@pytest.mark.parametrize("place", PLACES)
def test_a_url_whose_driver_is_missing_is_refused_with_what_to_install(place, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"^ingest_ledger_url needs .* pip install 'ullage\[postgres\]'$"):
        place(Settings(ingest_ledger_url=URL))
    assert isinstance(place(Settings()), Path), "and nobody else needs it"
