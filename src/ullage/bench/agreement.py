"""How near each precision of a ranking model comes to fp32, on passages of one's own: the order, and the scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ullage import Reranker
from ullage.engines.base import Float32
from ullage.errors import InvalidRequest

EXACT = "fp32"
TOP = 10

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A query and the passages that are ordered for it: two at least."""

    query: str
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one precision with fp32, over all cases: Kendall's tau of the order (mean, and that of the worst case), the
    share of the first ten that are the same, and the largest difference of a score beside the scores' spread."""

    precision: str
    profile: str
    cases: int
    tau: float
    worst_tau: float
    same_top: float
    largest_difference: float
    spread: float


def read_cases(path: Path) -> list[Case]:
    """JSON lines with `query` and `passages`. Raises InvalidRequest, naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read ({error}): give a file of JSON lines") from None
    cases = [_case(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not cases:
        raise InvalidRequest(f"{path} holds no line: give JSON lines with query and passages")
    return cases


def _case(path: Path, number: int, line: str) -> Case:
    try:
        said = json.loads(line)
        query, passages = said["query"], said["passages"]
        whole = isinstance(query, str) and isinstance(passages, list) and all(isinstance(one, str) for one in passages)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole or len(passages) < 2 or not query.strip():
        raise InvalidRequest(f'{path}, line {number}: give {{"query": "...", "passages": ["...", "..."]}} with two '
                             f"passages at least, not {line[:60]!r}")
    return Case(query, tuple(passages))


def measure_agreement(
    cases: Sequence[Case], precisions: Sequence[str], say: Say, *, model: str | None = None
) -> Iterator[Agreement]:
    """One precision after the other, as the service would run it here; fp32 is computed first, by the same code.

    Raises SettingsError for a precision that this machine or model has not, and what Reranker raises.
    """
    exact, _ = _logits(cases, EXACT, say, model)
    for precision in precisions:
        found, profile = _logits(cases, precision, say, model)
        yield _agreement(precision, profile, found, exact)


def _logits(cases: Sequence[Case], precision: str, say: Say, model: str | None) -> tuple[list[Float32], str]:
    found = []
    with Reranker(model, precision=precision) as reranker:
        say(f"{reranker.profile_id}: {len(cases)} queries")
        for case in cases:
            logits = np.empty(len(case.passages), np.float32)
            for ranked in reranker.rank(case.query, case.passages):
                logits[ranked.index] = ranked.logit
            found.append(logits)
        return found, reranker.profile_id


def _agreement(precision: str, profile: str, found: Sequence[Float32], exact: Sequence[Float32]) -> Agreement:
    taus = [kendall_tau(one, other) for one, other in zip(found, exact, strict=True)]
    tops = [_same_top(one, other) for one, other in zip(found, exact, strict=True)]
    apart = max(float(np.abs(one - other).max()) for one, other in zip(found, exact, strict=True))
    return Agreement(precision, profile, len(found), float(np.mean(taus)), min(taus), float(np.mean(tops)), apart,
                     float(np.mean([other.std() for other in exact])))


def _same_top(one: Float32, other: Float32) -> float:
    count = min(TOP, len(one))
    first, second = (set(np.argsort(-logits, kind="stable")[:count].tolist()) for logits in (one, other))
    return len(first & second) / count


def kendall_tau(first: Float32, second: Float32) -> float:
    """Agreement of two orders, from -1 to 1; a pair that either holds for equal counts as neither right nor wrong."""
    count = len(first)
    signs = np.sign(first[:, None] - first[None]) * np.sign(second[:, None] - second[None])
    return float(signs.sum() / (count * (count - 1)))
