import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from processes import free_port
from ullage.cli.remote import Remote
from ullage.errors import DeadlineExceeded, DependencyDown, InvalidRequest, NotFound, NotReady


@contextmanager
def answering(status: int, body: str, kind: str = "application/json") -> Iterator[Remote]:
    """A real server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Remote("rag", f"http://127.0.0.1:{server.server_port}", timeout_s=10) as remote:
            yield remote
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (400, '{"message": "no such\\ncollection"}', InvalidRequest, "says: no such collection"),
        (404, '{"detail": "Not Found"}', NotFound, "says: Not Found"),
        (422, '{"detail": [{"loc": ["a"]}]}', InvalidRequest, "loc"),
        (500, "<h1>oops</h1>", NotReady, "oops"),
        (503, '{"message": "loading"}', NotReady, "says: loading"),
        (502, "", NotReady, "status 502"),
    ],
)
def test_a_refusal_is_the_error_it_stands_for(status, body, error, said):
    with answering(status, body) as remote:
        for call in (lambda: remote.get("/x"), lambda: remote.send("POST", "/x", {}),
                     lambda: list(remote.events("/x", {}))):
            with pytest.raises(error, match=said):
                call()


def test_an_error_told_as_a_stream_is_put_together():
    events = [json.dumps({"choices": [{"delta": {"content": part}}]}) for part in ("Valid", "ation")]
    chunks = "".join(f"data: {event}\n\n" for event in events)
    with answering(422, chunks, "text/event-stream") as remote, pytest.raises(InvalidRequest, match="says: Validation"):
        list(remote.events("/x", {}))


def test_events_are_the_json_of_data_lines():
    body = 'data: {"a": 1}\n\n: a comment\n\ndata:{"a": 2}\n\ndata: [DONE]\n\n'
    with answering(200, body, "text/event-stream") as remote:
        assert list(remote.events("/x", {})) == [{"a": 1}, {"a": 2}]


def test_what_is_not_json_is_not_our_server():
    with answering(200, "hello") as remote, pytest.raises(DependencyDown, match="not JSON"):
        remote.get("/x")


def test_nobody_there_says_how_to_start_one():
    remote = Remote("rag", f"http://127.0.0.1:{free_port()}", timeout_s=10)
    with remote, pytest.raises(DependencyDown, match="start it with `ullage up`"):
        remote.get("/x")


def test_too_late_is_told_with_the_setting(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Remote("rag", url, timeout_s=0.1) as remote, pytest.raises(DeadlineExceeded, match="request_timeout_s"):
            remote.get("/x")
