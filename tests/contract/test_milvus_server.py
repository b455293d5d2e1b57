"""A real Milvus server passes the store's tests, as Milvus Lite does; what it cannot do is detected and said."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALONE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
STORE_TESTS = [f"tests/unit/store/{name}.py" for name in ("test_vectors", "test_sight", "test_filters")]


@pytest.fixture(scope="module")
def server() -> Path:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the Milvus server on PyPI is for Linux on x86-64")
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces of our own here, and that server would listen on every address")
    script = ROOT / "scripts" / "milvus-server"
    subprocess.run([script, "--install"], check=True, timeout=280)
    return script


@pytest.mark.timeout(900)
def test_the_store_on_a_real_server(server: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "--timeout=120", *STORE_TESTS]
    command = [*ALONE, sys.executable, "tests/milvus_namespace.py", str(server), str(tmp_path / "milvus"), *tests]
    environment = {**os.environ, "ULLAGE_TEST_MILVUS": "http://127.0.0.1:19530"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    said = done.stdout + done.stderr
    with capsys.disabled():
        print("\n" + "\n".join(line for line in said.splitlines() if re.search(r"^server |SKIP|passed|FAILED", line)))
    assert done.returncode == 0, said[-6000:]
    assert "server v2.3.5" in said
    passed, skipped = (int(found[1]) if (found := re.search(rf"(\d+) {word}", said)) else 0
                       for word in ("passed", "skipped"))
    assert passed >= 90
    assert skipped <= 5, "only what needs sparse vectors may be left out"
