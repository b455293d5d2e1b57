"""A bucket of tokens for each address."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse

from ullage.http import rate
from ullage.http.rate import RateMiddleware


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limited(clock):
    return RateMiddleware(PlainTextResponse("yes"), per_s=2, clock=clock)


async def ask(app, address="10.0.0.1", path="/v1/ranking"):
    transport = httpx.ASGITransport(app, client=(address, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        return await http.get(path)


async def test_a_burst_is_let_in_then_the_rate(limited, clock):
    assert [(await ask(limited)).status_code for _ in range(5)] == [200, 200, 200, 200, 503]
    clock.now += 0.5
    assert [(await ask(limited)).status_code for _ in range(2)] == [200, 503]


async def test_a_refusal_says_why_and_when_to_come_back(limited):
    answers = [await ask(limited) for _ in range(5)]
    assert answers[-1].headers["retry-after"] == "1"
    assert "more than 2 requests a second from 10.0.0.1 (rate_limit)" in answers[-1].text


async def test_others_and_health_are_not_touched(limited):
    for _ in range(6):
        await ask(limited)
    assert (await ask(limited, "10.0.0.2")).status_code == 200
    assert (await ask(limited, path="/v1/health/ready")).status_code == 200


async def test_only_so_many_addresses_are_remembered(limited, monkeypatch):
    monkeypatch.setattr(rate, "ADDRESSES", 3)
    for number in range(10):
        await ask(limited, f"10.0.1.{number}")
    assert len(limited._buckets) == 3
