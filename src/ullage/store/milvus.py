"""A connection to Milvus, or to Milvus Lite in this process, whose faults are errors of our own tree."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import RpcError
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from ullage.errors import DependencyDown, InvalidRequest, NotFound, UllageError

for _name in ("pymilvus", "milvus_lite", "grpc._server"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
"""They log every error that they also raise, with a traceback; grpc does so when Lite runs in this process."""

PINGS = {"grpc.keepalive_time_ms": 330_000, "grpc.keepalive_permit_without_calls": False}
"""A gRPC server takes one ping in five minutes from a client that is waiting, and one in two hours from one that asks
nothing. pymilvus sends one every ten seconds, asking or not, for which servers end its connection: GOAWAY,
too_many_pings."""

COLLECTION_MISSING = 100
NOT_LOADED = 101
UNREACHABLE = (1, 2)
FIRST_WITH_SPARSE = (2, 4)
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_UNREACHABLE_TEXT = re.compile(r"UNAVAILABLE|connect|DEADLINE_EXCEEDED|unavailable", re.IGNORECASE)


def missing(collection: str) -> NotFound:
    """The message clients of the stack we replace look for."""
    return NotFound(
        f"Collection {collection} does not exist. Ensure a collection is created using POST /collection endpoint first "
        "and documents are uploaded using POST /document endpoint"
    )


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the database can do. `lite`: Milvus Lite of our own version, which must be told to seal what was written.

    Without `sparse` vectors (servers before 2.4) there is no lexical search.
    """

    version: str
    lite: bool
    sparse: bool

    @classmethod
    def of(cls, version: str) -> Abilities:
        if version.lower().startswith("milvus_lite"):
            return cls(version, lite=True, sparse=True)
        match = _VERSION.match(version)
        sparse = match is None or (int(match[1]), int(match[2])) >= FIRST_WITH_SPARSE
        return cls(version, lite=False, sparse=sparse)

    def without_words(self, uri: str) -> str:
        """What to say where there is no lexical search."""
        return (f"the Milvus server at {uri} ({self.version}) has no sparse vectors, so there is no lexical search "
                "(BM25), only the dense one: use a server from 2.4 on, or Milvus Lite")


class Connection:
    """Connects on first use and again after the server was away. Thread-safe.

    `uri` is `http://host:port` of a server or the path of a local `.db` folder, which one process at a time may open.
    """

    def __init__(self, uri: str, *, timeout_s: float, token: str = "") -> None:
        self.uri = uri
        self.timeout_s = timeout_s
        self._token = token
        self._client: Any = None
        self._abilities: Abilities | None = None
        self._lock = threading.Lock()

    @property
    def local(self) -> bool:
        return "://" not in self.uri

    def abilities(self) -> Abilities:
        """Asked once."""
        if self._abilities is None:
            with self.client() as client:
                self._abilities = Abilities.of(str(client.get_server_version(timeout=self.timeout_s)))
        return self._abilities

    @contextmanager
    def client(self, collection: str = "") -> Iterator[Any]:
        """The client; what it raises inside becomes NotFound, DependencyDown or InvalidRequest."""
        try:
            yield self._open()
        except MilvusException as error:
            raise self._translated(error, collection) from None
        except RpcError as error:
            raise self._down(str(error)) from None

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = self._abilities = None

    def _open(self) -> Any:
        with self._lock:
            if self._client is None:
                if self.local:
                    Path(self.uri).parent.mkdir(parents=True, exist_ok=True)
                self._client = MilvusClient(self.uri, token=self._token, timeout=self.timeout_s, grpc_options=PINGS)
            return self._client

    def _translated(self, error: MilvusException, collection: str) -> UllageError:
        if error.code == COLLECTION_MISSING:
            return missing(collection)
        message = str(error.message)
        if error.code in UNREACHABLE and _UNREACHABLE_TEXT.search(message):
            return self._down(message)
        return InvalidRequest(f"the vector database refused a call on collection {collection!r}: {message[:300]}")

    def _down(self, message: str) -> DependencyDown:
        reason = message.strip().splitlines()[0][:200] if message.strip() else "no answer"
        if self.local:
            return DependencyDown(f"the vector database {self.uri} cannot be opened ({reason}): "
                                  "only one process at a time may hold a local file; stop the other or use a server")
        return DependencyDown(f"the vector database at {self.uri} does not answer ({reason}): "
                              "check that it runs (`ullage status`) and that vectors_uri is right")
