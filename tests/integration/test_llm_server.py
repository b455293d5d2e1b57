"""The LLM service as its own process on a loopback port, driven by OpenAI's client and by rude ones."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import httpx
import openai
import psutil
import pytest

from ullage.clients.llm import LlmClient
from ullage.errors import TooLong, UnknownModel
from ullage.models.card import find_card
from ullage.plan import Profile
from ullage.plan.llama import llama_ledger

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PARIS = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
CONTEXT = 1024

SERVER = """
import sys
from pathlib import Path
from ullage.http import run_server
from ullage.http.run import claim_port
from ullage.models.card import find_card
from ullage.plan import Profile, ServicePlan
from ullage.plan.llama import llama_ledger
from ullage.serve.llm.app import create_app
from ullage.settings import Settings
port, cache, tokens, context = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
card = find_card("smollm2-135m-instruct", "llm")
profile = Profile("cpu", card.precision, tokens, context)
planned = ServicePlan("llm", llama_ledger(card, profile), card, profile)
settings = Settings(cache_dir=cache, queue_tokens=1024, threads=2, request_timeout_s=float(sys.argv[5]))
run_server(create_app(settings, planned), claim_port("127.0.0.1", port))
"""


@dataclass
class Server:
    url: str
    process: subprocess.Popen

    def metric(self, name):
        """A series' value; 0 before it was first counted."""
        lines = httpx.get(f"{self.url}/v1/metrics").text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", name + "{"))), 0.0)

    def client(self):
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)


@contextlib.contextmanager
def server(cache, *, tokens=CONTEXT, context=CONTEXT, timeout_s=120.0):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVER, *map(str, (port, cache, tokens, context, timeout_s))]
    process = subprocess.Popen(command)
    running = Server(f"http://127.0.0.1:{port}", process)
    try:
        wait_until(lambda: ready(running))
        yield running
    finally:
        process.terminate()
        process.wait(60)


def ready(running):
    assert running.process.poll() is None, "the server ended before it was ready"
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{running.url}/v1/health/ready").status_code == 200
    return False


def wait_until(done, seconds=90):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def one(model_cache):
    """One generation at a time, one may wait."""
    with server(model_cache) as running:
        yield running


@pytest.fixture(scope="module")
def two(model_cache):
    """Two generations at a time."""
    with server(model_cache, tokens=2 * CONTEXT) as running:
        yield running


def endless(**changes):
    """A request that goes on until the context is full."""
    return {"messages": [{"role": "user", "content": "Tell a story."}], "stream": True, "temperature": 0,
            "ignore_eos": True, **changes}


async def first_token(lines):
    """Keep `lines` alive: httpx hangs up when the iterator goes."""
    async for line in lines:
        if line.startswith("data: ") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
            return
    raise AssertionError("the stream ended without a token")


async def test_openai_client_whole_and_streamed_agree(one):
    async with one.client() as client:
        whole = await client.chat.completions.create(model=MODEL, messages=PARIS, temperature=0, max_tokens=12)
        stream = await client.chat.completions.create(
            model="smollm2-135m-instruct", messages=PARIS, temperature=0, max_tokens=12, stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    assert "Paris" in whole.choices[0].message.content
    assert whole.model == MODEL
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert {chunk.model for chunk in chunks} == {"smollm2-135m-instruct"}


async def test_raw_completion_stop_and_length(one):
    async with one.client() as client:
        raw = await client.completions.create(
            model=MODEL, prompt="The capital of France is", max_tokens=3, temperature=0
        )
        stopped = await client.completions.create(
            model=MODEL, prompt="One, two, three,", max_tokens=40, temperature=0, stop=["six"]
        )
        streamed = await client.completions.create(
            model=MODEL, prompt="The capital of France is", max_tokens=3, temperature=0, stream=True
        )
        text = "".join([chunk.choices[0].text async for chunk in streamed])
    assert raw.choices[0].text.startswith(" Paris")
    assert raw.choices[0].finish_reason == "length"
    assert raw.usage.completion_tokens == 3
    assert text == raw.choices[0].text
    assert "five" in stopped.choices[0].text
    assert "six" not in stopped.choices[0].text
    assert stopped.choices[0].finish_reason == "stop"


async def test_a_seed_repeats_and_a_schema_binds(one):
    async with one.client() as client:
        animal = [{"role": "user", "content": "Name an animal."}]
        ask = {"model": MODEL, "messages": animal, "max_tokens": 16, "seed": 5}
        texts = [(await client.chat.completions.create(**ask)).choices[0].message.content for _ in range(2)]
        schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
                  "additionalProperties": False}
        bound = await client.chat.completions.create(
            model=MODEL, messages=PARIS, temperature=0, max_tokens=64,
            response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}},
        )
        yes = await client.chat.completions.create(
            model=MODEL, messages=PARIS, temperature=0, extra_body={"grammar": 'root ::= "yes" | "no"'}
        )
    assert texts[0] == texts[1]
    assert list(json.loads(bound.choices[0].message.content)) == ["city"]
    assert yes.choices[0].message.content in ("yes", "no")


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"messages": []}, 422, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "user"}]}, 422, "messages.0.content: Field required"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, 422, "messages.0.role"),
        ({"messages": "hello"}, 422, "messages: Input should be a valid list"),
        ({"temprature": 1}, 422, "temprature: unknown field"),
        ({"n": 2}, 422, "n: Input should be 1"),
        ({"tools": [{"type": "function"}]}, 422, "tools"),
        ({"temperature": 3}, 422, "temperature"),
        ({"max_tokens": 0}, 422, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, 422, "stream_options needs stream=true"),
        ({"response_format": {"type": "json_schema"}}, 422, "json_schema belongs to type json_schema"),
        ({"grammar": "root ::= ("}, 422, "llama.cpp refuses the request"),
        ({"model": "gpt-4"}, 404, f"model 'gpt-4' is not served here: {MODEL}, smollm2-135m-instruct is"),
        ({"messages": [{"role": "user", "content": "word " * 1500}]}, 422,
         "the prompt has 1531 tokens, the context holds 1024: shorten it"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_requests_are_refused_in_one_line_and_cost_nothing(one, changes, status, said, stream):
    request = {"model": MODEL, "messages": PARIS, "stream": stream, **changes}
    if stream and "stream_options" in changes:
        request["stream"] = None
    async with httpx.AsyncClient(base_url=one.url, timeout=60) as client:
        answer = await client.post("/v1/chat/completions", json=request)
    assert answer.status_code == status
    assert said in answer.json()["message"]
    assert "\n" not in answer.json()["message"]
    assert one.metric("ullage_llm_running") == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_stops_its_generation(one, stream):
    before = one.metric("ullage_llm_completion_tokens_total")
    stopped = one.metric('ullage_llm_generations_total{outcome="stopped"}')
    async with httpx.AsyncClient(base_url=one.url, timeout=60) as client:
        if stream:
            async with client.stream("POST", "/v1/chat/completions", json=endless()) as answer:
                await first_token(answer.aiter_lines())
        else:
            asking = asyncio.create_task(client.post("/v1/chat/completions", json=endless(stream=False)))
            await until(lambda: one.metric("ullage_llm_running") == 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: one.metric("ullage_llm_running") == 0)
    assert one.metric("ullage_llm_completion_tokens_total") - before < CONTEXT / 2
    assert one.metric('ullage_llm_generations_total{outcome="stopped"}') == stopped + 1


async def until(done):
    await asyncio.to_thread(wait_until, done)


async def test_a_full_queue_refuses_with_a_time_and_serves_on(one):
    refused = None
    async with httpx.AsyncClient(base_url=one.url, timeout=60) as client:
        async with client.stream("POST", "/v1/chat/completions", json=endless()) as running:
            lines = running.aiter_lines()
            await first_token(lines)
            waiting = asyncio.create_task(
                client.post("/v1/chat/completions", json={"messages": PARIS, "max_tokens": 4, "temperature": 0})
            )
            await until(lambda: one.metric("ullage_llm_queue_depth") == 1)
            refused = await client.post("/v1/chat/completions", json={"messages": PARIS, "stream": True})
        served = await waiting
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["type"] == "overloaded"
    assert served.status_code == 200


async def test_two_at_once_both_end_and_are_as_if_alone(two):
    async with two.client() as client:
        ask = {"model": MODEL, "temperature": 0, "max_tokens": 24}
        prompts = [[{"role": "user", "content": text}] for text in ("Count from one to ten.", "What is water?")]
        alone = [await client.chat.completions.create(messages=prompt, **ask) for prompt in prompts]
        tasks = [asyncio.create_task(client.chat.completions.create(messages=prompt, **ask)) for prompt in prompts]
        together = await asyncio.gather(*tasks)
    for one_answer, other in zip(alone, together, strict=True):
        assert other.usage.completion_tokens == one_answer.usage.completion_tokens
        assert other.choices[0].message.content[:20] == one_answer.choices[0].message.content[:20]


async def test_two_streams_run_side_by_side(two):
    async with (
        httpx.AsyncClient(base_url=two.url, timeout=60) as client,
        client.stream("POST", "/v1/chat/completions", json=endless()) as first,
        client.stream("POST", "/v1/chat/completions", json=endless()) as second,
    ):
        streams = [first.aiter_lines(), second.aiter_lines()]
        for lines in streams:
            await first_token(lines)
        assert two.metric("ullage_llm_running") == 2
    await until(lambda: two.metric("ullage_llm_running") == 0)


def test_only_one_port_listens_and_the_plan_holds(two):
    listening = [c for c in psutil.Process(two.process.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [f"http://{c.laddr.ip}:{c.laddr.port}" for c in listening] == [two.url]
    memory = httpx.get(f"{two.url}/v1/memory").json()
    card = find_card(MODEL, "llm")
    assert memory["planned_bytes"] == llama_ledger(card, Profile("cpu", card.precision, 2 * CONTEXT, CONTEXT)).total
    assert memory["resident_bytes"] == pytest.approx(memory["planned_bytes"], rel=0.10)


async def test_sigterm_lets_a_running_generation_finish(model_cache):
    with server(model_cache) as running:
        async with (
            httpx.AsyncClient(base_url=running.url, timeout=60) as client,
            client.stream("POST", "/v1/chat/completions", json=endless(max_tokens=60)) as answer,
        ):
            lines = answer.aiter_lines()
            await first_token(lines)
            running.process.send_signal(signal.SIGTERM)
            rest = [line async for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert running.process.wait(60) in (0, -signal.SIGTERM)


async def test_the_deadline_ends_a_generation_and_says_so(model_cache):
    with server(model_cache, timeout_s=1.0) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
            late = await client.post("/v1/chat/completions", json=endless(stream=False))
        assert late.status_code == 504
        assert "request_timeout_s=1" in late.json()["message"]
        await until(lambda: running.metric("ullage_llm_running") == 0)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
async def test_our_own_client_streams_completes_and_sees_ready(one, tail):
    async with LlmClient(one.url + tail, MODEL, 60) as client:
        assert await client.ready()
        stream = client.stream_chat(PARIS, max_tokens=8, temperature=0, seed=1)
        text = "".join([piece async for piece in stream])
        answer = await client.complete(PARIS, max_tokens=8, temperature=0, seed=1)
    assert "Paris" in text
    assert answer.text == text
    assert stream.told.usage.prompt_tokens == answer.told.usage.prompt_tokens > 30
    assert answer.told.usage.cached_tokens > 0
    assert answer.told.finish_reason in ("stop", "length")


async def test_our_own_client_stops_the_server_when_it_leaves(one):
    async with LlmClient(one.url, MODEL, 60) as client:
        async with client.stream_chat(PARIS, extra={"ignore_eos": True}) as stream:
            assert await anext(aiter(stream))
        await until(lambda: one.metric("ullage_llm_running") == 0)
        with pytest.raises(UnknownModel, match="is not served here"):
            async with LlmClient(one.url, "gpt-4", 60) as other:
                await other.complete(PARIS)
        with pytest.raises(TooLong, match="the context holds 1024"):
            await client.complete([{"role": "user", "content": "word " * 1500}])
