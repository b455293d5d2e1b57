"""What is kept for a browser between two visits."""

import json
import os
import time

from ullage.web.kept import KEPT_S, MOST_BROWSERS, MOST_BYTES, MOST_TURNS, Kept, Shelf, Turn

WHO = "0" * 32


def test_a_conversation_comes_back_as_it_was(tmp_path):
    shelf = Shelf(tmp_path / "conversations")
    kept = Kept([Turn("user", "Why?"), Turn("assistant", "So.", results=[{"content": "ü"}])], ["a"], "x == 1")
    shelf.save(WHO, kept)
    assert shelf.load(WHO) == kept
    assert shelf.load("1" * 32) == Kept()
    assert oct((tmp_path / "conversations" / f"{WHO}.json").stat().st_mode & 0o777) == "0o600"


def test_an_answer_that_was_streaming_is_stopped_when_it_comes_back(tmp_path):
    shelf = Shelf(tmp_path)
    shelf.save(WHO, Kept([Turn("assistant", "half", "streaming")]))
    assert shelf.load(WHO).turns[0].state == "stopped"


def test_what_cannot_be_read_is_nothing(tmp_path):
    shelf = Shelf(tmp_path)
    for text in ("", "[]", "{}", '{"turns": [{"role": "x", "text": 1}], "collections": null, "filter": ""}',
                 '{"turns": [{"what": 1}], "collections": null, "filter": ""}'):
        (tmp_path / f"{WHO}.json").write_text(text)
        assert shelf.load(WHO) == Kept()


def test_the_oldest_turns_go_first(tmp_path):
    shelf = Shelf(tmp_path)
    shelf.save(WHO, Kept([Turn("user", str(n)) for n in range(MOST_TURNS + 7)]))
    assert [turn.text for turn in shelf.load(WHO).turns][:2] == ["7", "8"]
    shelf.save(WHO, Kept([Turn("user", "x" * (MOST_BYTES // 4)) for _ in range(10)]))
    assert (tmp_path / f"{WHO}.json").stat().st_size <= MOST_BYTES
    assert len(json.loads((tmp_path / f"{WHO}.json").read_text())["turns"]) == 2


def test_browsers_that_stay_away_and_too_many_are_forgotten(tmp_path):
    shelf = Shelf(tmp_path)
    for number in range(MOST_BROWSERS + 3):
        path = tmp_path / f"{number:032x}.json"
        path.write_text("{}")
        os.utime(path, (time.time() - 1000 + number,) * 2)
    old = tmp_path / f"{MOST_BROWSERS + 2:032x}.json"
    os.utime(old, (time.time() - KEPT_S - 60,) * 2)
    shelf.sweep()
    left = {path.name for path in tmp_path.iterdir()}
    assert old.name not in left
    assert f"{0:032x}.json" not in left
    assert f"{MOST_BROWSERS + 1:032x}.json" in left
    assert len(left) <= MOST_BROWSERS
