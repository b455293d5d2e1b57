"""The load on the RAG server: questions that have one right answer, and sums that add up."""

import json
import time

import numpy as np
import psutil
import pytest

from ullage.bench.rag_cost import Meter, cost
from ullage.bench.rag_load import _read, _summed, answer_of, passages, question
from ullage.bench.rag_stubs import Stubs, said, vectors
from ullage.bench.versions import in_words, versions

COST = cost(10.0, 5.0, {"server": 0.02, "database": 0.03}, 2, (0.1, 0.2))


def event(**body):
    data = f"data: {json.dumps(body)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunk(text, **more):
    return event(choices=[{"delta": {"content": text}}], **more)


def test_the_stub_says_the_sentence_that_has_the_questions_number():
    found = passages(3)
    excerpts = "\n".join(f"<excerpt id={n}>\n{passage.text}\n</excerpt>" for n, passage in enumerate(found))
    for n in range(3):
        assert said([{"role": "user", "content": f"{excerpts}\n\nQuestion: {question(n)}\nAnswer:"}]) == answer_of(n)
    assert said([{"role": "user", "content": "Question: Who knows?"}]) == "The documents do not say."


def test_question_and_answer_are_near_and_others_are_not():
    rows = vectors([question(1), answer_of(1), answer_of(2)])
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows[0] @ rows[1] == pytest.approx(1)
    assert abs(rows[0] @ rows[2]) < 0.5


async def test_the_ranking_stub_puts_the_answer_first():
    body = {"query": {"text": question(1)}, "passages": [{"text": answer_of(n)} for n in range(3)]}
    sent = await asked(Stubs(), "/v1/ranking", body)
    rankings = json.loads(sent)["rankings"]
    assert [item["index"] for item in rankings] == [1, 0, 2]


async def test_what_the_models_took_is_told_once():
    stubs, begun = Stubs(), time.perf_counter()
    await asked(stubs, "/v1/embeddings", {"input": ["a"]}, request="r1")
    told = json.loads(await asked(stubs, "/spent", {}))
    assert list(told) == ["r1"]
    [[model, ended, seconds]] = told["r1"]
    assert model == "embedding"
    assert ended - 60 < begun < ended
    assert 0 < seconds <= ended - begun + 0.001
    assert json.loads(await asked(stubs, "/spent", {})) == {}


async def asked(stubs, path, body, request="r"):
    sent = []

    async def receive():
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message):
        sent.append(message.get("body", b""))

    await stubs({"type": "http", "path": path, "headers": [(b"x-request-id", request.encode())],
                 "state": {"begun": time.perf_counter()}}, receive, send)
    return b"".join(sent)


def test_an_answer_is_read_through_the_pieces_of_http():
    stream = chunk(f"{answer_of(7)[:20]}") + chunk(answer_of(7)[20:]) + chunk(
        "", timings_ms={"embed": 2.0, "retrieve": 5.0}, metrics={"rag_ttft_ms": 40.0}, degraded=["ranking"])
    rest = stream.partition(b"data: ")[2]
    found = _read("r", 200, 7, 9.0, 9.25, 0.5, rest)
    assert (found.right, found.first_s, found.first_told_s, found.degraded) == (True, 0.25, 0.04, ("ranking",))
    assert found.stages == {"embed": 2.0, "retrieve": 5.0}
    assert not _read("r", 200, 8, 9.0, 9.25, 0.5, rest).right


def test_the_servers_own_share_is_what_the_models_leave():
    rest = chunk(answer_of(7), timings_ms={"retrieve": 5.0}).partition(b"data: ")[2]
    good = _read("r", 200, 7, 9.0, 9.05, 0.1, rest)
    lost = _read("s", 0, 7, 0.0, 0.0, 0.0, b"")
    # Of the LLM 30 ms were before the first text and 5 after; what links a sentence to passages came later still.
    spent = {"r": [("embedding", 9.002, 0.001), ("llm", 9.055, 0.035), ("ranking", 9.09, 0.02)]}
    found = _summed([good, lost], spent, 2, 1.0, COST, [100, 200])
    assert found.models_ms == pytest.approx({"embedding": 1.0, "ranking": 0.0, "llm": 30.0})
    assert (found.answered, found.failed, found.wrong, found.degraded) == (1, 1, 0, 0)
    assert found.own_s == pytest.approx((0.019,))
    assert found.own_without_database_s == pytest.approx((0.014,))
    told = found.as_dict()
    assert told["own_p50_s"] == pytest.approx(0.019)
    assert told["cpu_ms"] == pytest.approx({"server": 20.0, "database": 30.0})
    assert told["answers_per_s"] == 0.1
    json.dumps(told)


def test_what_others_did_is_told_apart():
    assert (COST.busy, COST.others_cores) == pytest.approx((0.25, 0.495))
    alone = cost(10.0, 0.04, {"server": 0.05}, 2, (0.0, 0.0))
    assert alone.others_cores == 0.0


def test_a_process_that_works_is_seen_to():
    process = psutil.Process()
    meter = Meter({"clients": process})
    before = process.cpu_times()
    while sum(process.cpu_times()[:2]) - sum(before[:2]) < 0.05:
        sum(range(10_000))
    found = meter.read()
    assert found.cpu_s["clients"] >= 0.04
    assert 0 < found.busy <= 1


def test_versions_are_told_on_one_line():
    told = versions("numpy", "no-such-package")
    assert in_words(told) == f"ullage {told['ullage']}, python {told['python']}, numpy {np.__version__}, " \
                             "no-such-package absent"
