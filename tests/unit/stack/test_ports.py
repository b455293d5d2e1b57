import os
import socket

import pytest

from ullage.errors import SettingsError
from ullage.stack.ports import check_ports, holder
from ullage.stack.services import Spec


def spec(service, port, host="127.0.0.1"):
    return Spec(service, ("true",), host, port)


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_told_with_its_service_and_holder(taken):
    assert holder(taken).startswith(f"pid {os.getpid()} (")
    with pytest.raises(SettingsError) as refused:
        check_ports([spec("ranking", taken)])
    said = refused.value.message
    assert f"port {taken} of ranking is held by pid {os.getpid()} (" in said
    assert "set ranking_port" in said


def test_every_fault_is_told_at_once(taken):
    with pytest.raises(SettingsError) as refused:
        check_ports([spec("ranking", taken), spec("rag", taken), spec("llm", 8999, host="203.0.113.9")])
    assert "ranking and rag both want port" in refused.value.message
    assert "llm: cannot listen on 203.0.113.9:8999" in refused.value.message


def test_a_wildcard_meets_the_holder_of_one_address(taken):
    with pytest.raises(SettingsError, match="held by"):
        check_ports([spec("ranking", taken, host="0.0.0.0")])


def test_free_ports_stay_free(taken):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    check_ports([spec("ranking", port)])
    check_ports([spec("ranking", port)])
    assert holder(port) is None
