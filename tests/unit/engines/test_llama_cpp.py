"""The engine over the bundled model: chunks, stops, refusals, memory."""

import gc
import os
import threading
from pathlib import Path

import psutil
import pytest

from ullage.engines.llama_cpp import LlamaCppEngine
from ullage.errors import InvalidRequest, ModelCorrupt, ModelNotFound, NotReady, TooLong
from ullage.models.card import find_card
from ullage.models.files import cached_path

CONTEXT = 512
QUESTION = {"role": "user", "content": "What is the capital of France? Answer in one word."}
ASK = {"messages": [QUESTION], "temperature": 0}


@pytest.fixture(scope="module")
def weights(model_cache) -> Path:
    return cached_path(find_card("smollm2-135m-instruct", "llm").file("weights"), model_cache)


@pytest.fixture(scope="module")
def others():
    """What other tests of this process left open before the engine was there."""
    return set(psutil.Process().net_connections("inet"))


@pytest.fixture(scope="module")
def engine(weights, others):
    loaded = LlamaCppEngine(weights, context_tokens=CONTEXT, threads=2, batch_tokens=64)
    loaded.load()
    yield loaded
    loaded.close()


def run(call, request, stop=None):
    chunks = []
    call(request, chunks.append, stop or threading.Event())
    return chunks


def text(chunks):
    parts = [choice.get("text") or choice.get("delta", {}).get("content") for c in chunks for choice in c["choices"]]
    return "".join(part or "" for part in parts)


def test_chat_and_completion_answer_and_count(engine):
    chat = run(engine.chat, {**ASK, "max_tokens": 10})
    assert "Paris" in text(chat)
    assert chat[-1]["usage"]["completion_tokens"] <= 10
    raw = run(engine.complete, {"prompt": "The capital of France is", "max_tokens": 2, "temperature": 0})
    assert text(raw).startswith(" Paris")


def test_a_stop_ends_at_the_next_token(engine):
    stop, chunks = threading.Event(), []

    def take(chunk):
        chunks.append(chunk)
        if len(chunks) == 5:
            stop.set()

    engine.chat({**ASK, "ignore_eos": True}, take, stop)
    assert len(chunks) == 5


def test_a_stop_ends_a_prompt_before_its_first_token(engine):
    stop = threading.Event()
    stop.set()
    long = {"prompt": "sea " * 400, "max_tokens": 5}
    assert run(engine.complete, long, stop) == []


def test_an_error_in_the_callback_comes_out_and_the_engine_goes_on(engine):
    def broken(chunk):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        engine.chat(ASK, broken, threading.Event())
    assert text(run(engine.chat, {**ASK, "max_tokens": 3}))


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({"messages": [{"role": "user", "content": "word " * 600}]}, TooLong,
         "the prompt has 631 tokens, the context holds 512: shorten it"),
        ({"messages": "x"}, InvalidRequest, "messages"),
        ({"messages": [{"role": "user", "content": "half \ud800"}]}, InvalidRequest, "refuses the request"),
        ({**ASK, "grammar": "root ::= ("}, InvalidRequest, "grammar"),
        ({**ASK, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nope"}}}},
         InvalidRequest, "nope"),
    ],
)
def test_bad_requests_are_told_apart(engine, request_, error, said):
    with pytest.raises(error, match=said):
        run(engine.chat, request_)
    assert text(run(engine.chat, {**ASK, "max_tokens": 3}))


def test_a_common_prefix_is_not_computed_again_and_the_answer_stays(engine):
    first = run(engine.chat, {**ASK, "max_tokens": 8})
    again = run(engine.chat, {**ASK, "max_tokens": 8})
    assert again[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 20
    assert text(again) == text(first)


def test_no_port_is_opened_and_the_socket_file_is_gone(engine, others):
    assert set(psutil.Process().net_connections("inet")) - others == set()
    mine = [c.laddr for c in psutil.Process().net_connections("unix") if "closed.sock" in str(c.laddr)]
    assert len(mine) == 1
    assert not os.path.lexists(mine[0])


def test_memory_is_taken_by_load_and_does_not_grow(engine):
    process = psutil.Process()
    before = process.memory_info().rss
    for index in range(3):
        run(engine.chat, {"messages": [{"role": "user", "content": f"{index} " + "word " * 400}], "max_tokens": 4})
    assert process.memory_info().rss - before < 4 << 20


def test_close_gives_the_memory_back_and_a_closed_engine_says_so(weights):
    process = psutil.Process()
    own = LlamaCppEngine(weights, context_tokens=4096, threads=1, batch_tokens=64)
    with pytest.raises(NotReady):
        run(own.chat, ASK)
    own.load()
    with pytest.raises(InvalidRequest):
        run(own.chat, {"messages": "x"})
    loaded = process.memory_info().rss
    own.close()
    own.close()
    gc.collect()
    assert loaded - process.memory_info().rss > 80 << 20


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(ModelNotFound, match=r"no GGUF file at .*none\.gguf"):
        LlamaCppEngine(tmp_path / "none.gguf", context_tokens=64, threads=1).load()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(400))
    with pytest.raises(ModelCorrupt, match=r"llama\.cpp cannot load .*broken\.gguf"):
        LlamaCppEngine(broken, context_tokens=64, threads=1).load()
