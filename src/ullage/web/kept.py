"""What is kept for each browser between two visits: its conversation and its choices."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import structlog

log = structlog.get_logger("ullage.web")
MOST_TURNS = 100
MOST_BYTES = 2 << 20
MOST_BROWSERS = 500
KEPT_S = 30 * 24 * 3600


@dataclass(slots=True)
class Turn:
    """A question, or an answer with what it rests on. `state`: streaming, done, stopped or failed.

    `results` are the passages as the RAG server gave them, `closing` is the last chunk without its text.
    """

    role: str
    text: str
    state: str = "done"
    fault: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    closing: dict[str, Any] = field(default_factory=dict)
    collections: list[str] = field(default_factory=list)
    asked_unix_s: float = 0.0

    @classmethod
    def read(cls, value: Any) -> Self:
        """Raises TypeError or ValueError for what `asdict` did not write."""
        made = cls(**value)
        if not isinstance(made.text, str) or made.role not in ("user", "assistant"):
            raise ValueError("no turn")
        if made.state == "streaming":
            made.state = "stopped"
        return made


@dataclass(slots=True)
class Kept:
    """`collections` None: the default one."""

    turns: list[Turn] = field(default_factory=list)
    collections: list[str] | None = None
    filter: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError or TypeError."""
        value = json.loads(text)
        named = value["collections"]
        return cls([Turn.read(turn) for turn in value["turns"]],
                   None if named is None else [str(name) for name in named], str(value["filter"]))

    def trim(self) -> None:
        del self.turns[:-MOST_TURNS]


class Shelf:
    """One JSON file a browser in `folder`. Blocking: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, visitor: str) -> Kept:
        """What was kept; nothing for a new browser and for a file of another version."""
        try:
            return Kept.read(self._file(visitor).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Kept()
        except (ValueError, TypeError, KeyError, OSError) as error:
            log.warning("a kept conversation cannot be read", reason=str(error) or type(error).__name__)
            return Kept()

    def save(self, visitor: str, kept: Kept) -> None:
        """In one step. The oldest turns go first when it is too much. Raises OSError."""
        kept.trim()
        turns = [asdict(turn) for turn in kept.turns]
        while len(text := json.dumps({"turns": turns, "collections": kept.collections, "filter": kept.filter},
                                     ensure_ascii=False)) > MOST_BYTES and turns:
            del turns[:2]
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self._file(visitor)
        scratch = target.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
        scratch.write_text(text, encoding="utf-8")
        scratch.chmod(0o600)
        scratch.replace(target)

    def sweep(self) -> None:
        """Forget browsers that have not come for KEPT_S, and the oldest when there are more than MOST_BROWSERS."""
        found = sorted((path.stat().st_mtime, path) for path in self._folder.glob("*.json"))
        surplus = len(found) - MOST_BROWSERS
        for number, (seen, path) in enumerate(found):
            if number < surplus or time.time() - seen > KEPT_S:
                path.unlink(missing_ok=True)

    def _file(self, visitor: str) -> Path:
        return self._folder / f"{visitor}.json"
