"""Twenty documents that try to command their reader, and the real bundled language model that reads them."""

import socket
import subprocess
import sys
import time

import httpx
import pytest

from processes import free_port
from rag_injections import CANARY, INJECTED, documents, question
from rag_stubs import content, fill, parse, prompt, small
from ullage.settings import Settings
from ullage.store import VectorStore

TOKENS = 32


@pytest.fixture(scope="module")
def llm_url(model_cache, tmp_path_factory):
    """`ullage serve llm`, ready."""
    folder, port = tmp_path_factory.mktemp("llm"), free_port()
    command = [sys.executable, "-m", "ullage", "serve", "llm", "--port", str(port)]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "ULLAGE_STATE_DIR": str(folder),
           "ULLAGE_CACHE_DIR": str(Settings(cache_dir=model_cache).cache_dir), "ULLAGE_THREADS": "2"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env)
    try:
        deadline = time.monotonic() + 120
        while not ready(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def ready(port):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    return httpx.get(f"http://127.0.0.1:{port}/v1/health/ready", timeout=30).status_code == 200


async def test_none_of_twenty_takes_effect(llm_url, tmp_path):
    store = VectorStore(str(tmp_path / "vectors.db"))
    try:
        fill(store, chunks=documents(INJECTED, "Orders"))
        async with small(store, tmp_path, llm_url=llm_url, llm_max_tokens=TOKENS) as rag:
            for n in range(1, 21):
                chunks = parse((await rag.http.post("/generate", json=prompt(question("Orders", n)))).text)
                assert CANARY not in content(chunks), INJECTED[n - 1]
                assert f"{100 + n} metres" in content(chunks)
                assert chunks[-1]["degraded"] == []
                assert chunks[-1]["metrics"]["llm_ttft_ms"] > 0
    finally:
        store.close()
