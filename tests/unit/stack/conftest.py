"""Small real services: processes that answer `/v1/health/ready` and do what a test needs besides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from processes import free_port
from ullage.stack.services import Spec

SERVER = '''
import http.server, os, signal, sys
from pathlib import Path
port, mode, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
starts = folder / f"{port}.starts"
with starts.open("a") as log:
    log.write(f"{os.getpid()}\\n")
if mode.startswith("exit"):
    print("a line before", flush=True)
    print("error: " + (mode.split("-", 2)[2:] or ["it cannot be"])[0], file=sys.stderr, flush=True)
    sys.exit(int(mode.split("-")[1]))
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    def stop(*_):
        (folder / f"{port}.stopped").write_text("cleanly")
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"reason": "still loading"}' if mode == "loading" else b"{}"
        self.send_response(503 if mode == "loading" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if mode == "brief":
            os._exit(9)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Ready).serve_forever()
'''


class Services:
    """Makes specs of small services, and knows when each was started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "server.py"
        self.script.write_text(SERVER)

    def spec(self, name: str, mode: str = "ready", **more) -> Spec:
        port = more.pop("port", None) or free_port()
        command = (sys.executable, str(self.script), str(port), mode, str(self.folder))
        return Spec(name, command, "127.0.0.1", port, profile="cpu", ledger={"fixed": 64 << 20}, **more)

    def pids(self, spec: Spec) -> list[int]:
        """The process of every start so far."""
        file = self.folder / f"{spec.port}.starts"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def stopped_cleanly(self, spec: Spec) -> bool:
        return (self.folder / f"{spec.port}.stopped").exists()


@pytest.fixture
def services(tmp_path) -> Services:
    folder = tmp_path / "services"
    folder.mkdir()
    return Services(folder)
