"""Headers for what a contract's body has no room for."""

import json

from ullage.http.telling import HEADER_CHARACTERS, told


def headers_of(**named):
    found = told({"tokenize": 0.0012, "queue": 0, "compute": 1.5}, named.pop("cut", []), **named)
    return {name.lower(): value for name, value in found.items()}


def test_only_what_there_is_to_tell():
    assert headers_of() == {"server-timing": "tokenize;dur=1.20, queue;dur=0.00, compute;dur=1500.00"}
    headers = headers_of(cut=[0, 7, 0], tokens=[5, 512, 4], windows=[1, 3, 1], revision="abc")
    assert headers["x-ullage-model-revision"] == "abc"
    assert json.loads(headers["x-ullage-tokens"]) == [5, 512, 4]
    assert json.loads(headers["x-ullage-truncated"]) == {"1": 7}
    assert json.loads(headers["x-ullage-windows"]) == {"1": 3}


def test_a_long_header_is_cut_and_says_how_much_is_missing():
    headers = headers_of(cut=[3] * 5000, tokens=[512] * 5000)
    assert all(len(value) < HEADER_CHARACTERS + 50 for value in headers.values())
    listed = json.loads(headers["x-ullage-tokens"])
    assert listed[-1] == {"more": 5000 - (len(listed) - 1)}
    mapped = json.loads(headers["x-ullage-truncated"])
    assert mapped.pop("more") + len(mapped) == 5000
