"""What our own clients show, and to whom."""

from __future__ import annotations

import ssl

import pytest

from ullage.cli.invocation import parse_given
from ullage.clients.door import close_doors, door_of, open_doors
from ullage.errors import SettingsError
from ullage.settings import Settings
from ullage.stack.doors import take_keys


@pytest.fixture(autouse=True)
def closed():
    yield
    close_doors()


@pytest.fixture
def pair(tls_pair):
    cert, key = tls_pair
    return {"tls_cert": cert, "tls_key": key}


def test_the_first_key_is_shown_to_services_of_this_machine_alone():
    take_keys(Settings(api_keys=" , mine ,other", ranking_url="http://elsewhere:1976"))
    assert door_of("http://127.0.0.1:9080/v1/embeddings").headers == {"Authorization": "Bearer mine"}
    assert door_of("http://elsewhere:1976").headers == {}
    assert door_of("http://127.0.0.1:9081").headers == {}
    assert "mine" not in repr(door_of("http://127.0.0.1:9080"))


def test_our_certificate_is_pinned_here_and_named_elsewhere(pair):
    settings = Settings(**pair, llm_url="https://stack.example:8999")
    take_keys(settings)
    here, there = door_of(settings.url("ranking")).verify, door_of(settings.url("llm")).verify
    assert settings.url("ranking").startswith("https://127.0.0.1:")
    assert isinstance(here, ssl.SSLContext)
    assert here.check_hostname is False
    assert there.check_hostname is True
    assert door_of("https://other.example").verify is True


def test_without_keys_nothing_changes():
    take_keys(Settings())
    assert door_of(Settings().url("ranking")).headers == {}


def test_the_later_door_counts():
    open_doors(["http://a:1"], key="old")
    open_doors(["http://a:1"], key="new")
    assert door_of("http://a:1/x").headers == {"Authorization": "Bearer new"}


def test_a_secret_on_the_command_line_is_refused_without_repeating_it():
    with pytest.raises(SettingsError, match="set ULLAGE_API_KEYS") as refused:
        parse_given(["api-keys=hush-hush"])
    assert "hush" not in refused.value.message
