"""The address of a shared ledger: what is taken, what is refused, and that its password is never told."""

import pytest

from ullage.cli.invocation import SECRETS
from ullage.errors import SettingsError
from ullage.settings import Settings, load
from ullage.settings.ledger_url import LedgerUrl

NAME = "ULLAGE_INGEST_LEDGER_URL"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_nothing_is_sqlite(value):
    assert load(environ={} if value is None else {NAME: value}).settings.ledger_url is None


@pytest.mark.parametrize(("text", "parts", "shown"), [
    ("postgresql://u:p@db:6432/tasks", ("u", "p", "db", 6432, "tasks", ()), "postgresql://db:6432/tasks"),
    (" postgresql://u:p@db/tasks ", ("u", "p", "db", 5432, "tasks", ()), "postgresql://db:5432/tasks"),
    ("postgresql://u@[::1]/tasks", ("u", "", "::1", 5432, "tasks", ()), "postgresql://[::1]:5432/tasks"),
    ("postgresql://u%40x:p%2Fa%40s%3As%25@db/t%20s?sslmode=verify-full&sslrootcert=/ca.pem",
     ("u@x", "p/a@s:s%", "db", 5432, "t s", (("sslmode", "verify-full"), ("sslrootcert", "/ca.pem"))),
     "postgresql://db:5432/t s"),
])
def test_a_url_is_read_and_shown_without_who_logs_in(text, parts, shown):
    url = load(environ={NAME: text}).settings.ledger_url
    assert url == LedgerUrl(*parts)
    assert str(url) == shown
    assert not any(word in repr(url) for word in ("u@x", "p/a@s"))


@pytest.mark.parametrize(("text", "said"), [
    ("sqlite:///ledger.db", "write postgresql://user:password@host:port/name"),
    ("mysql://u:geheim@db/tasks", "or nothing, for SQLite"),
    ("postgres://u:geheim@db/tasks", "write postgresql://"),
    ("geheim", "write postgresql://"),
    ("postgresql://db/tasks", "write postgresql://"),
    ("postgresql://u:geheim@db", "write postgresql://"),
    ("postgresql://u:geheim@/tasks", "write postgresql://"),
    ("postgresql://u:geheim@db/tasks/more", "write postgresql://"),
    ("postgresql://u:geheim@db:port/tasks", "write postgresql://"),
    ("postgresql://u:geh/geheim@db/tasks", "odd letters as %XX"),
    ("postgresql://u:geh#geheim@db/tasks", "odd letters as %XX"),
    ("postgresql://u:geh?geheim@db/tasks", "odd letters as %XX"),
    ("postgresql://u:geheim%00@db/tasks", "write postgresql://"),
    ("postgresql://u@db/tasks?password=geheim", "only sslmode, sslrootcert, sslcert, sslkey may stand"),
    ("postgresql://u:geheim@db/tasks?sslmode=geheim", "sslmode is one of disable"),
    ("postgresql://u:geheim@db/tasks?sslmode", "write postgresql://"),
])
def test_anything_else_is_refused_by_name_with_what_would_be_right(text, said):
    with pytest.raises(SettingsError) as refused:
        load(environ={NAME: text})
    assert refused.value.message.startswith(f"ingest_ledger_url=(not shown) (from env {NAME}): ")
    assert said in refused.value.message
    assert "geheim" not in refused.value.message


def test_it_is_a_secret_wherever_settings_are_shown():
    settings = Settings(ingest_ledger_url="postgresql://u:geheim@db/tasks")
    assert "ingest_ledger_url" in SECRETS, "so that --set refuses it, which all processes would see"
    assert "geheim" not in repr(settings) + str(settings.model_dump(mode="json")) + repr(settings.ledger_url)
