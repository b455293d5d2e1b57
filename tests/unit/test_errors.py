"""The tree, and what each error becomes at each door."""

import ullage.errors as errors
from ullage.errors import OUTCOMES, UllageError, outcome


def every_error() -> list[type[UllageError]]:
    found, todo = [], [UllageError]
    while todo:
        cls = todo.pop()
        found.append(cls)
        todo += cls.__subclasses__()
    return [cls for cls in found if cls.__module__ == errors.__name__]


def test_the_drawing_shows_every_error():
    drawn = errors.__doc__ or ""
    assert [cls.__name__ for cls in every_error() if cls.__name__ not in drawn] == []


def test_every_error_has_an_outcome_of_its_own_or_its_parent():
    for cls in every_error():
        assert any(parent in OUTCOMES for parent in cls.__mro__[:-2]), cls


def test_a_foreign_error_is_internal_and_a_subclass_takes_its_nearest_parent():
    class Special(errors.Overloaded):
        pass

    assert outcome(ValueError("x")).http_status == 500
    assert outcome(Special("x")) is OUTCOMES[errors.Overloaded]


def test_a_message_is_one_line():
    assert UllageError("two\n lines\tof text").message == "two lines of text"
