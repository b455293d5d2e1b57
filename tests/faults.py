"""Users of a running stack who never pause, and what each saw while something was wrong."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

QUESTION = "When is the siren of the harbour tested?"
RANKING = {"model": "ullage/minilm-fusion-ranker", "query": {"text": QUESTION},
           "passages": [{"text": "Lunch is served at noon."}, {"text": "The siren is tested every Thursday."},
                        {"text": "Ferries leave the harbour on the hour."}]}
TIMEOUT_S = 20


@dataclass
class Users:
    """One ranks the same passages, one searches, one uploads a new document each time. `seen` counts what they saw.

    `accepted` are the documents that the ingestor said it took; `wrong` the rankings with other scores than before.
    """

    ranking: str
    rag: str
    ingest: str
    seen: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    wrong: int = 0
    scores: list[float] | None = None
    number: int = 0
    well: threading.Event = field(default_factory=threading.Event)
    _done: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def working(self) -> Iterator[Users]:
        threads = [threading.Thread(target=self._again, args=(task, pause))
                   for task, pause in ((self._rank, 0.05), (self._search, 0.15), (self._upload, 0.5))]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._done.set()
            for thread in threads:
                thread.join(3 * TIMEOUT_S)

    def take(self) -> Counter[str]:
        """What was seen since the last time."""
        seen, self.seen = self.seen, Counter()
        return seen

    def wait_well(self, seconds: float) -> float:
        """Seconds until each of the three had one success after another; raises when they do not."""
        begun = time.monotonic()
        before = self.take()
        for kind in ("rank ok", "search ok", "upload ok"):
            while self.seen[kind] < 2:
                if time.monotonic() - begun > seconds:
                    raise AssertionError(f"{kind} not seen again within {seconds} s: {dict(self.seen)}")
                time.sleep(0.02)
        took = time.monotonic() - begun
        self.seen.update(before)
        return took

    def _again(self, task: Callable[[httpx.Client], str], pause_s: float) -> None:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as http:
            while not self._done.is_set():
                try:
                    seen = task(http)
                except httpx.TimeoutException:
                    seen = f"{task.__name__[1:]} no answer in {TIMEOUT_S} s"
                except httpx.TransportError as error:
                    seen = f"{task.__name__[1:]} {type(error).__name__}"
                self.seen[seen] += 1
                self._done.wait(pause_s)

    def _rank(self, http: httpx.Client) -> str:
        answer = http.post(f"{self.ranking}/v1/ranking", json=RANKING)
        if answer.status_code != 200:
            return f"rank {answer.status_code}"
        ordered = sorted(answer.json()["rankings"], key=lambda item: item["index"])
        scores = [item["logit"] for item in ordered]
        self.scores = self.scores or scores
        # int8 rows do not see each other; what is left is the last bit of a sum.
        if max(abs(a - b) for a, b in zip(scores, self.scores, strict=True)) > 1e-4:
            self.wrong += 1
        return "rank ok"

    def _search(self, http: httpx.Client) -> str:
        answer = http.post(f"{self.rag}/v1/search", json={"query": QUESTION, "reranker_top_k": 3})
        if answer.status_code != 200:
            return f"search {answer.status_code}"
        without = answer.json().get("degraded") or []
        return f"search without {', '.join(sorted(without))}" if without else "search ok"

    def _upload(self, http: httpx.Client) -> str:
        self.number += 1
        name = f"notice-{self.number}.md"
        text = f"# Notice {self.number}\n\nBerth {self.number} is closed for dredging until noon.\n".encode()
        answer = http.post(f"{self.ingest}/v1/documents", files=[("documents", (name, text))],
                           data={"data": '{"blocking": false}'})
        if answer.status_code != 200:
            return f"upload {answer.status_code}"
        self.accepted.append(name)
        return "upload ok"

    def missing(self) -> list[str]:
        """Accepted documents that are not listed yet."""
        listed = httpx.get(f"{self.ingest}/v1/documents", timeout=TIMEOUT_S, trust_env=False).json()["documents"]
        names = {document["document_name"] for document in listed}
        return [name for name in self.accepted if name not in names]
