"""kill -9 of the ranking process while questions keep coming."""

import json
import os
import signal
import time
from dataclasses import dataclass

import httpx
import pytest

from stacks import SAMPLES, running_stack

TIMEOUT_S = 30
QUESTIONS = ("When are the evacuation sirens tested?", "How many lifejackets are kept on Corrie Lass?")


@dataclass
class Asked:
    status: int
    degraded: list[str]
    seconds: float
    text: str


def ask(url: str, question: str) -> Asked:
    begun = time.monotonic()
    body = {"messages": [{"role": "user", "content": question}]}
    answer = httpx.post(f"{url}/v1/generate", json=body, timeout=TIMEOUT_S)
    chunks = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    degraded = sorted({name for chunk in chunks for name in chunk.get("degraded") or []})
    text = "".join(choice["delta"]["content"] or "" for chunk in chunks for choice in chunk["choices"])
    return Asked(answer.status_code, degraded, time.monotonic() - begun, text)


def ask_until(url: str, wanted, seconds: float) -> list[Asked]:
    """Keep asking until an answer is as wanted; all answers, the wanted one last."""
    found: list[Asked] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found.append(ask(url, QUESTIONS[len(found) % len(QUESTIONS)]))
        if wanted(found[-1]):
            return found
    raise AssertionError(f"not seen within {seconds} s: {found}")


@pytest.mark.timeout(240)
def test_answers_go_on_in_retrieval_order_and_say_so(model_cache, tmp_path):
    with running_stack(tmp_path) as stack:
        stack.ullage("ingest", str(SAMPLES / "handbook" / "safety-and-emergency-plan.pdf"))
        [whole] = ask_until(stack.url("rag"), lambda asked: asked.degraded == [], 60)[-1:]
        assert whole.status == 200
        asked = []
        for _ in range(2):
            before = {item["service"]: item for item in stack.json("status")["services"]}["ranking"]
            os.kill(before["pid"], signal.SIGKILL)
            asked += ask_until(stack.url("rag"), lambda asked: asked.degraded == ["ranking"], 20)
            asked += ask_until(stack.url("rag"), lambda asked: asked.degraded == [], 60)
            after = {item["service"]: item for item in stack.json("status")["services"]}["ranking"]
            assert after["pid"] != before["pid"]
            assert after["restarts"] == before["restarts"] + 1
        assert all(one.status == 200 for one in asked)
        assert all(one.seconds < TIMEOUT_S for one in asked)
        assert all(one.text.strip() for one in asked)
