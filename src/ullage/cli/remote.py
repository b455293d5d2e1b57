"""Talk to the RAG server and the ingestor of a running stack, as any client would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullage.errors import DeadlineExceeded, DependencyDown, InvalidRequest, NotFound, NotReady, Overloaded, UllageError
from ullage.settings import LOOPBACK

if TYPE_CHECKING:
    import httpx

# httpx is imported where it is used: every command would pay for it, a server's start too.

CONNECT_S = 5.0


class Remote:
    """One server. Raises DependencyDown when it is away, and the error its answer stands for."""

    def __init__(self, name: str, url: str, *, timeout_s: float) -> None:
        import httpx

        self._name = name
        self._url = url
        from ullage.clients.door import door_of

        door = door_of(url)
        self._http = httpx.Client(
            base_url=url, timeout=httpx.Timeout(timeout_s, connect=CONNECT_S), trust_env=_is_remote(url),
            verify=door.verify, headers=door.headers,
        )

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str) -> Any:
        with self._faults():
            return self._json(self._http.get(path, params=query))

    def send(self, method: str, path: str, body: object) -> Any:
        with self._faults():
            return self._json(self._http.request(method, path, json=body))

    def upload(self, method: str, path: str, files: Sequence[Path], data: object) -> Any:
        """Multipart with a part `documents` for each file and `data` as JSON; read as they are sent."""
        with self._faults(), ExitStack() as opened:
            parts = [("documents", (file.name, opened.enter_context(file.open("rb")))) for file in files]
            return self._json(self._http.request(method, path, files=parts, data={"data": json.dumps(data)}))

    def events(self, path: str, body: object) -> Iterator[Any]:
        """The JSON of each `data:` line of a stream."""
        with self._faults(), self._http.stream("POST", path, json=body) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise self._refusal(answer)
            for line in answer.iter_lines():
                if line.startswith("data:") and line[5:].strip() not in ("", "[DONE]"):
                    yield json.loads(line[5:])

    def _json(self, answer: httpx.Response) -> Any:
        if answer.status_code >= 400:
            raise self._refusal(answer)
        return answer.json()

    def _refusal(self, answer: httpx.Response) -> UllageError:
        said = f"{self._name} at {self._url} says: {_message(answer)}"
        if answer.status_code == 404:
            return NotFound(said)
        wait = answer.headers.get("retry-after", "")
        if wait.isdigit() and _kind(answer) == "overloaded":
            return Overloaded(said, retry_after_s=int(wait))
        return (NotReady if answer.status_code >= 500 else InvalidRequest)(said)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TimeoutException:
            raise DeadlineExceeded(f"{self._name} at {self._url} did not answer in time: "
                                   "raise request_timeout_s") from None
        except httpx.TransportError as error:
            raise DependencyDown(f"{self._name} at {self._url} cannot be reached ({error}): start it with `ullage up`, "
                                 f"or set {self._name}_port") from None
        except ValueError:
            raise DependencyDown(f"{self._name} at {self._url} answered with something that is not JSON: check "
                                 f"{self._name}_port") from None


def _is_remote(url: str) -> bool:
    """A proxy is for other machines."""
    import httpx

    return httpx.URL(url).host not in LOOPBACK


def _message(answer: httpx.Response) -> str:
    """What an error body says, in one line: ours, FastAPI's, or the words of an error sent as a stream."""
    text = answer.text
    if "text/event-stream" in answer.headers.get("content-type", ""):
        chunks = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]
        return " ".join("".join(delta(chunk) for chunk in chunks).split()) or f"status {answer.status_code}"
    try:
        body = answer.json()
    except ValueError:
        return " ".join(text.split())[:300] or f"status {answer.status_code}"
    said = (body.get("message") or body.get("detail")) if isinstance(body, dict) else body
    return " ".join(str(said).split())


def _kind(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return ""
    return str(body.get("type", "")) if isinstance(body, dict) else ""


def delta(chunk: Any) -> str:
    """The new text of one chunk of an answer."""
    choices = chunk.get("choices") or []
    return str((choices[0].get("delta") or {}).get("content") or "") if choices else ""
