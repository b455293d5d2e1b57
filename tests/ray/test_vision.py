"""Vision on Ray: every port means its task, the answers are those of this process, and a replica that is killed fails
no request."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from clusters import Simulated, free_port, front
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

from ullage.settings import VISION_TASKS, Settings, VisionTask, load
from ullage.settings.model import prefix_of

REQUESTS, AT_ONCE = 60, 4


def settings_of(simulated: Simulated) -> Settings:
    return load({"memory": "4GiB", "state_dir": str(simulated.folder), "log_level": "WARNING"}, environ={}).settings


@pytest.fixture(scope="module")
def ports(simulated: Simulated) -> Iterator[dict[VisionTask, str]]:
    """Of each task, the URL of its port at the front."""
    from ullage.stack.place import place
    from ullage.stack.ray.deploy import run, take_away
    from ullage.stack.ray.replicas import Replicas

    others: dict[VisionTask, int] = {task: free_port() for task in VISION_TASKS[1:]}
    settings = settings_of(simulated).model_copy(update={f"{prefix_of(task)}_port": others[task] for task in others})
    run([place(settings, ["vision"])["vision"]], settings, {"vision": Replicas(2, 2)}, 0.5)
    try:
        with front("vision", f"http://127.0.0.1:{simulated.port}", simulated.folder,
                   **{f"ULLAGE_{prefix_of(task).upper()}_PORT": str(port) for task, port in others.items()}) as url:
            yield {VISION_TASKS[0]: url} | {task: f"http://127.0.0.1:{port}" for task, port in others.items()}
    finally:
        take_away(["vision"])


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    page = Image.new("RGB", (800, 600), "white")
    pencil = ImageDraw.Draw(page)
    pencil.text((60, 50), "Harbour log", fill="black", font_size=44)
    pencil.text((60, 160), "The siren sounds on Thursday at noon.", fill="black", font_size=28)
    for place in range(4):
        pencil.line([(60, 300 + 50 * place), (500, 300 + 50 * place)], fill="black", width=2)
        pencil.line([(60 + 146 * place, 300), (60 + 146 * place, 450)], fill="black", width=2)
    kept = io.BytesIO()
    page.save(kept, "PNG")
    picture = base64.b64encode(kept.getvalue()).decode()
    return {"input": [{"type": "image_url", "url": f"data:image/png;base64,{picture}"}]}


@pytest.mark.timeout(300)
def test_every_port_means_its_task_and_answers_as_this_process(
    simulated: Simulated, ports: dict[VisionTask, str], body: dict[str, Any]
) -> None:
    from ullage.serve.vision.app import create_app
    from ullage.stack.place import place_one

    settings = settings_of(simulated)
    with TestClient(create_app(settings, place_one(settings, "vision")["vision"])) as here:
        while here.get("/v1/health/ready").status_code != 200:
            time.sleep(0.1)
        for task, url in ports.items():
            said = httpx.post(f"{url}/v1/infer", json=body, timeout=60)
            assert said.status_code == 200, said.text
            mine = here.post(f"/v1/{task}", json=body)
            assert said.json()["data"] == mine.json()["data"], task
            assert httpx.get(f"{url}/v1/metadata", timeout=30).json()["modelInfo"][0]["shortName"].startswith(task)
    words = " ".join(found["text_prediction"]["text"] for found in said.json()["data"][0]["text_detections"])
    assert "siren sounds on Thursday" in words


@pytest.mark.timeout(300)
async def test_a_killed_replica_fails_no_request(ports: dict[VisionTask, str], body: dict[str, Any]) -> None:
    left = iter(range(REQUESTS))
    statuses: list[int] = []

    async def caller(client: httpx.AsyncClient) -> None:
        for number in left:
            if number == REQUESTS // 3:
                [victim, *_] = [p for p in psutil.process_iter(["cmdline"])
                                if (p.info["cmdline"] or [""])[0].startswith("ray::ServeReplica:vision")]
                os.kill(victim.pid, signal.SIGKILL)
            statuses.append((await client.post(f"{ports['ocr']}/v1/infer", json=body)).status_code)

    async with httpx.AsyncClient(timeout=120) as client:
        await asyncio.gather(*(caller(client) for _ in range(AT_ONCE)))
    assert statuses == [200] * REQUESTS
