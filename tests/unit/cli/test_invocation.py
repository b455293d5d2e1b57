import pytest

from ullage.cli.choices import chosen_services
from ullage.cli.invocation import Invocation, parse_given
from ullage.errors import SettingsError


def test_pairs_become_settings():
    assert parse_given(["memory=1GiB", "Rag-Port=1", "ranking_url=http://a/?b=c"]) == {
        "memory": "1GiB", "rag_port": "1", "ranking_url": "http://a/?b=c",
    }


@pytest.mark.parametrize("pairs", [["memory"], ["=1"], ["a=1", "A=2"]])
def test_pairs_that_say_nothing_or_two_things_are_refused(pairs):
    with pytest.raises(SettingsError, match="--set"):
        parse_given(pairs)


def test_a_flag_of_the_command_beats_set(monkeypatch):
    asked = Invocation(given={"rag_port": "1", "llm_port": "2"})
    settings = asked.load(rag_port=3, llm_port=None).settings
    assert (settings.rag_port, settings.llm_port) == (3, 2)


def test_services_come_in_their_usual_order():
    assert chosen_services(" rag, ranking ,rag") == ("ranking", "rag")
    assert chosen_services(None) is None


@pytest.mark.parametrize(("text", "said"), [("rnking", "did you mean ranking?"), ("xyz", "there are vectors"),
                                            (",", "names no service")])
def test_a_service_that_is_not_there_is_refused(text, said):
    with pytest.raises(SettingsError, match=said):
        chosen_services(text)
