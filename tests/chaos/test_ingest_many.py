"""10,000 small files: memory flat, throughput told, progress visible, cancel within 2 seconds."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestors import Ingestor, children, embedding, lite_server, resident_bytes

FILES = int(os.environ.get("ULLAGE_TEST_FILES", "10000"))
PER_UPLOAD = 500
MIB = 1 << 20
GROWTH_BUDGET = 64 * MIB
"""What the ingestor and its readers may grow by from the first tenth of the files to the last."""


def text(number: int) -> bytes:
    return f"# Note {number}\n\nPump {number} is serviced every {number % 90 + 2} days.\n".encode()


def send(client: httpx.Client, numbers: range) -> str:
    parts = [("documents", (f"{n}.md", text(n))) for n in numbers]
    while True:
        answer = client.post("/v1/documents", files=parts, data={"data": json.dumps({"collection_name": "c"})})
        if answer.status_code != 503:
            answer.raise_for_status()
            return str(answer.json()["task_id"])
        time.sleep(int(answer.headers["Retry-After"]))


def done_of(client: httpx.Client) -> tuple[int, int]:
    """Files that have come to their end, and those of them that are finished."""
    states: dict[str, int] = {}
    for task in client.get("/v1/tasks", params={"limit": 10_000}).json()["tasks"]:
        for state, number in task["files"].items():
            states[state] = states.get(state, 0) + number
    open_ones = states.get("pending", 0) + states.get("running", 0)
    return sum(states.values()) - open_ones, states.get("finished", 0)


@pytest.mark.timeout(900)
def test_ten_thousand_small_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples: list[tuple[float, int, int, int]] = []
    with embedding() as embedder, lite_server(tmp_path) as (uri, database):
        ingestor = Ingestor(tmp_path, ULLAGE_EMBEDDING_URL=embedder, ULLAGE_VECTORS_URI=uri,
                            ULLAGE_LOG_LEVEL="WARNING")
        ingestor.start()
        try:
            with httpx.Client(base_url=ingestor.url, timeout=300) as client:
                client.post("/collection", json={"collection_name": "c"}).raise_for_status()
                begun = time.monotonic()
                for start in range(0, FILES, PER_UPLOAD):
                    send(client, range(start, min(FILES, start + PER_UPLOAD)))
                sent_s = time.monotonic() - begun
                finished = 0
                while finished < FILES:
                    over, finished = done_of(client)
                    held = resident_bytes(ingestor.pid, *children(ingestor.pid))
                    samples.append((time.monotonic() - begun, over, held, resident_bytes(database)))
                    assert over == finished, "a file failed"
                    time.sleep(1)
                cancelled = cancel_in_the_middle(client)
        finally:
            ingestor.stop()
    seconds = samples[-1][0]
    early = next(held for _, over, held, _ in samples if over >= FILES // 10)
    most = max(held for _, _, held, _ in samples)
    with capsys.disabled():
        print(f"\n{FILES} files of about 60 bytes sent in {sent_s:.0f} s, ingested in {seconds:.0f} s "
              f"({FILES / seconds:.0f} files/s, hashing embedder)")
        for share in range(1, 11):
            at = next(sample for sample in samples if sample[1] >= FILES * share // 10)
            print(f"  {at[1]:6d} files after {at[0]:5.0f} s; ingestor and readers {at[2] / MIB:.0f} MiB, Milvus Lite "
                  f"{at[3] / MIB:.0f} MiB")
        print(f"cancel: answered in {cancelled['answered_s']:.2f} s, all at rest after {cancelled['rest_s']:.2f} s; "
              f"{cancelled['cancelled']} files cancelled, {cancelled['finished']} were done")
    progress = [over for _, over, _, _ in samples]
    assert progress == sorted(progress)
    assert len(set(progress)) > 5
    assert most - early < GROWTH_BUDGET
    assert cancelled["rest_s"] < 2.0
    assert cancelled["left"] == 0


def in_work(client: httpx.Client) -> int:
    said = client.get("/health", params={"check_dependencies": True}).json()["processing"][0]["message"]
    return int(said.removesuffix(" files in work"))


def cancel_in_the_middle(client: httpx.Client) -> dict[str, Any]:
    task = send(client, range(1_000_000, 1_000_000 + PER_UPLOAD))
    time.sleep(1.0)
    begun = time.monotonic()
    answer = client.post(f"/v1/tasks/{task}/cancel").json()
    answered_s = time.monotonic() - begun
    while in_work(client):
        time.sleep(0.02)
    rest_s = time.monotonic() - begun
    status = client.get("/v1/status", params={"task_id": task}).json()
    files = status["nv_ingest_status"]["document_wise_status"]
    names = [name for name, file in files.items() if file["state"] == "CANCELLED"]
    listed = {document["document_name"] for document in client.get(
        "/v1/documents", params={"collection_name": "c", "max_results": 1_000_000}).json()["documents"]}
    assert sorted(answer["cancelled"]) == sorted(names)
    return {"answered_s": answered_s, "rest_s": rest_s, "cancelled": len(names),
            "finished": sum(file["state"] == "FINISHED" for file in files.values()), "left": len(listed & set(names))}
