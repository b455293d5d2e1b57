import pytest
from pydantic import ValidationError

from ullage.settings import SERVICES, Settings


def test_every_service_has_its_port_and_its_budget():
    settings = Settings(rag_memory="1MiB")
    assert len({settings.port(service) for service in SERVICES}) == len(SERVICES)
    assert settings.service_memory("rag") == 1 << 20
    assert settings.service_memory("ranking") is None
    assert settings.model("rag") is None
    assert settings.model("ranking") == "ullage/minilm-fusion-ranker"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1976"),
        ("0.0.0.0", "http://127.0.0.1:1976"),
        ("::", "http://[::1]:1976"),
        ("::1", "http://[::1]:1976"),
        ("gpu1", "http://gpu1:1976"),
    ],
)
def test_a_service_without_a_url_is_on_this_host(host, url):
    assert Settings(host=host).url("ranking") == url


def test_a_url_that_was_given_is_kept_without_its_slash():
    assert Settings(ranking_url="http://far:1/").url("ranking") == "http://far:1"
    assert Settings(vectors_uri="here.db").url("vectors") == "here.db"


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        Settings().rag_port = 1
