"""The real ranking service on a GPU, as its own process: started, waited for, flooded and stopped."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, processors, trainers

from ullage.bench.load import free_port, ready_within
from ullage.errors import DoesNotFit, UllageError, Unavailable, outcome_of

PASSAGES = 100
MEAN_TOKENS, LONGEST_TOKENS, SPREAD = 200, 512, 0.6
READY_TIMEOUT_S = 120.0
BOS = "<|begin_of_text|>"
VOCABULARY = 16384
TRAINING_BYTES = 4 << 20


class RankingProcess:
    """`ullage serve ranking` on the checkpoint in `folder`; `settings` are ours, by name.

    Entering waits until it is ready. Raises DoesNotFit with its own words when it refused, Unavailable when it ended
    otherwise or took too long.
    """

    def __init__(self, folder: Path, cache_dir: Path, **settings: object) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.start_s = 0.0
        self.memory: dict[str, Any] = {}
        named = {"cache_dir": cache_dir, "log_level": "WARNING", "ranking_device": "cuda", **settings}
        self._environment = os.environ | {f"ULLAGE_{name.upper()}": str(value) for name, value in named.items()}
        self._command = [sys.executable, "-m", "ullage", "serve", "ranking", "--port", str(port), "--model",
                         str(folder)]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed on leaving
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RankingProcess:
        begun = time.perf_counter()
        self._process = subprocess.Popen(self._command, env=self._environment, stderr=self._said)
        try:
            self._wait(self._process)
        except BaseException:
            self._stop()
            raise
        self.start_s = time.perf_counter() - begun
        self.memory = httpx.get(f"{self.url}/v1/memory", timeout=30).json()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def profile(self) -> str:
        return str(self.memory["profile"])

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        def still_runs() -> None:
            if process.poll() is not None:
                raise self._ended(process.returncode)

        if not ready_within(self.url, READY_TIMEOUT_S, still_runs):
            raise Unavailable(f"the ranking service was not ready within {READY_TIMEOUT_S:g} s")

    def _ended(self, code: int) -> UllageError:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else f"it ended with {code} and no word"
        if code == outcome_of(DoesNotFit).exit_code:
            return DoesNotFit(said, needed_bytes=0, budget_bytes=0)
        return Unavailable(said)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._said.close()


@dataclass(slots=True)
class Flood:
    """Seconds of each call that was answered in full, calls that were not, and how long all of it took."""

    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    span_s: float = 0.0

    @property
    def rows_per_s(self) -> float:
        return len(self.times) * PASSAGES / self.span_s


async def flood(url: str, calls: Sequence[dict[str, object]], seconds: float, *, warm_s: float = 2.0) -> Flood:
    """Every call again and again by a client of its own, for so long."""
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=len(calls))) as client:
        listed = (await client.get(f"{url}/v1/models")).json()["data"][0]["id"]
        found = Flood()

        async def one(call: dict[str, object], until: float) -> None:
            while time.perf_counter() < until:
                begun = time.perf_counter()
                answer = await client.post(f"{url}/v1/ranking", json=call | {"model": listed})
                if answer.status_code == 200 and len(answer.json()["rankings"]) == PASSAGES:
                    found.times.append(time.perf_counter() - begun)
                else:
                    found.failures.append(f"{answer.status_code} {answer.text[:200]}")

        await asyncio.gather(*(one(call, time.perf_counter() + warm_s) for call in calls))
        found.times.clear()
        begun = time.perf_counter()
        await asyncio.gather(*(one(call, begun + seconds) for call in calls))
        found.span_s = time.perf_counter() - begun
        return found


def calls_of(tokenizer: tokenizers.Tokenizer, clients: int) -> list[dict[str, object]]:
    """A ranking request of random words for each client, the same in every run."""
    return [_call(tokenizer, seed) for seed in range(clients)]


def _call(tokenizer: tokenizers.Tokenizer, seed: int) -> dict[str, object]:
    random = np.random.default_rng(seed)
    words = words_of(tokenizer)

    def text(length: int) -> str:
        return " ".join(random.choice(words, length))

    lengths = np.clip(np.exp(random.normal(np.log(MEAN_TOKENS), SPREAD, PASSAGES)), 16, LONGEST_TOKENS)
    return {"model": "any", "truncate": "END", "query": {"text": text(12)},
            "passages": [{"text": text(int(length))} for length in lengths]}


def words_of(tokenizer: tokenizers.Tokenizer) -> list[str]:
    """Of its vocabulary, those that stand for themselves: one token each after a blank."""
    return sorted(piece[1:] for piece in tokenizer.get_vocab() if piece.startswith("Ġ") and piece[1:].isalpha())


def tokenizer_in(folder: Path) -> tokenizers.Tokenizer:
    """The folder's tokenizer; where it has none, a byte-level BPE that puts BOS before a text is trained into it, on
    what every Python brings."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        made = tokenizers.Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[BOS], show_progress=False)
        made.train_from_iterator(_texts(), trainer)
        made.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
        made.save(str(path))
    return tokenizers.Tokenizer.from_file(str(path))


def _texts() -> list[str]:
    found, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        found.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(found[-1])
        if size > TRAINING_BYTES:
            break
    return found
