"""What settings make of a server's door."""

import pytest
from fastapi import FastAPI

from ullage.http.door import Door, hang
from ullage.settings import Settings


def test_the_default_is_open_and_speaks_the_newest_1x():
    door = Door.of(Settings(), "ranking")
    assert (door.tls, bool(door.keys), door.grpc_port, door.nim_version, door.generation) == (
        None, False, None, "1.10", 1)


def test_each_service_has_its_own_grpc_port():
    settings = Settings(ranking_grpc_port=8001, embedding_grpc_port=8002, host="::1")
    ports = {service: Door.of(settings, service).grpc_port for service in ("ranking", "embedding", "llm", "rag")}
    assert ports == {"ranking": 8001, "embedding": 8002, "llm": None, "rag": None}
    assert Door.of(settings, "ranking").bracketed_host == "[::1]"


@pytest.mark.parametrize(("version", "generation"), [("1.8", 1), ("1.10", 1), ("2.0", 2)])
def test_codes_of_a_nim_version_are_for_the_services_that_were_nims(version, generation):
    settings = Settings(nim_version=version)
    assert Door.of(settings, "embedding").generation == generation
    assert Door.of(settings, "rag").nim_version == "1.10"


def test_a_door_is_hung_once():
    app = FastAPI()
    hang(app, Door(nim_version="1.8"))
    hang(app, Door(nim_version="2.0"))
    assert app.state.door.nim_version == "1.8"
