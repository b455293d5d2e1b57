"""How many replicas a load needs: figures measured on one replica, and queueing.

Requests come at random (Poisson). Ray Serve sends each to the less busy of two replicas chosen by chance; there our
scheduler lets all requests in flight share the compute, so that a request takes about as many times its own compute as
there are requests beside it, itself included, whatever their sizes. How many it finds there is known for very many
replicas (Vvedenskaya, Dobrushin and Karpelevich, 1996; Mitzenmacher, 2001): a share of load^(2^k - 1) of the replicas
holds k requests or more. `docs/scaling.md` has this beside a simulation by the scheduler's own code.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ullage.errors import SettingsError

TOKENS = 200
"""Mean length of the passages that the figures were measured with."""

DEFAULT_PASSAGES, DEFAULT_WAIT_S = 40, 2.0
LATE_SHARE = 0.01
MOST_REPLICAS = 100_000
MOST_BUSY = 0.85
"""Of a replica's time: nearer to 1 any burst takes long to be gone."""


@dataclass(frozen=True, slots=True)
class Single:
    """One replica of the ranking model, measured over HTTP. `source` says where the figure is to be found."""

    name: str
    passages_per_s: float
    cores: int
    memory_bytes: int
    gpu_bytes: int
    source: str

    def rate(self, tokens: int) -> float:
        """Passages of so many tokens a second: compute goes with tokens."""
        return self.passages_per_s * TOKENS / tokens


MIB = 1 << 20
SINGLES = (
    Single("cpu-int8, MiniLM fusion", 71.1, 2, 372 * MIB, 0, "docs/benchmarks.md, beside other libraries, 40 mixed"),
    Single("H100 bf16, 1B", 743.0, 1, 1616 * MIB, 3207 * MIB, "docs/benchmarks.md, on one H100, over HTTP"),
    Single("H100 fp8, 1B", 946.0, 1, 1616 * MIB, 1946 * MIB, "docs/benchmarks.md, on one H100, over HTTP"),
)
"""Bytes are those of the plan."""

BYTES_PER_CHUNK_TEXT = 894
SPARSE_BYTES = 8 * 70
"""An index and a weight for each different stem of a passage, 70 at the mean of this project's own documents in pieces
of 150 words, which are 894 bytes."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted. `wait_s` is the p99 from request to answer, `passages` are those of one request."""

    passages_per_s: float
    chunks: int = 0
    tokens: int = TOKENS
    passages: int = DEFAULT_PASSAGES
    wait_s: float = DEFAULT_WAIT_S
    dimension: int = 384


@dataclass(frozen=True, slots=True)
class Sizing:
    """`p99_s` is predicted with `replicas`; None of them: this hardware never answers a request that fast."""

    single: Single
    replicas: int | None
    busy: float
    p99_s: float
    memory_bytes: int
    gpu_bytes: int
    cost_per_hour: float | None


_PARTS = {
    "passages/s": re.compile(r"([\d.]+)\s*([kM]?)\s*passages/s"),
    "chunks": re.compile(r"([\d.]+)\s*([kMG]?)\s*chunks"),
    "tokens": re.compile(r"([\d]+)()\s*tokens"),
    "passages": re.compile(r"([\d]+)()\s*passages/request"),
    "s": re.compile(r"([\d.]+)()\s*s"),
}
_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
EXAMPLE = '"2000 passages/s, 50M chunks, 200 tokens, 40 passages/request, 2 s"'


def parse_target(text: str) -> Target:
    """From a line such as EXAMPLE, of which the first part is needed. Raises SettingsError."""
    found: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",")):
        for name, form in _PARTS.items():
            if (matched := form.fullmatch(part)) is not None:
                if name in found:
                    raise SettingsError(f"--target {text}: {name} is given twice")
                found[name] = _number(matched[1], text) * _UNITS[matched[2]]
                break
        else:
            raise SettingsError(f"--target {text}: {part!r} is not understood; write parts of {EXAMPLE}")
    if "passages/s" not in found or min(found.values()) <= 0:
        raise SettingsError(f"--target {text}: give passages/s, and numbers above 0, such as {EXAMPLE}")
    return Target(found["passages/s"], int(found.get("chunks", 0)), int(found.get("tokens", TOKENS)),
                  int(found.get("passages", DEFAULT_PASSAGES)), found.get("s", DEFAULT_WAIT_S))


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"--target {whole}: {text} is no number") from None


def p99_s(replicas: int, per_s: float, service_s: float, *, share: float = LATE_SHARE) -> float:
    """Seconds within which all but `share` of the requests are answered, each of which takes a replica `service_s` when
    it is alone; infinite where more come than are done."""
    load = per_s * service_s / replicas
    if load >= 1:
        return math.inf
    beside = 0
    while _found(load, beside + 1, replicas) > share:
        beside += 1
    return service_s * (beside + 1)


def _found(load: float, count: int, replicas: int) -> float:
    """Share of requests that find so many, or more, where they are sent."""
    return float(load**count if replicas == 1 else load ** (2 * (2**count - 1)))


def replicas_for(target: Target, single: Single) -> int | None:
    """The fewest with which `target` is met and nobody is busier than MOST_BUSY; None when one request takes longer."""
    service_s = target.passages / single.rate(target.tokens)
    if service_s >= target.wait_s:
        return None
    per_s = target.passages_per_s / target.passages
    count = max(1, math.ceil(per_s * service_s / MOST_BUSY))
    while p99_s(count, per_s, service_s) > target.wait_s:
        count += 1
        if count > MOST_REPLICAS:
            return None
    return count


def size(target: Target, single: Single, price_per_hour: float | None = None) -> Sizing:
    """Replicas of one kind for a target. `price_per_hour` is of one replica's share of a machine."""
    service_s, per_s = target.passages / single.rate(target.tokens), target.passages_per_s / target.passages
    count = replicas_for(target, single)
    if count is None:
        return Sizing(single, None, 0.0, service_s, 0, 0, None)
    return Sizing(single, count, per_s * service_s / count, p99_s(count, per_s, service_s),
                  count * single.memory_bytes, count * single.gpu_bytes,
                  None if price_per_hour is None else count * price_per_hour)


def store_bytes(target: Target) -> tuple[int, int]:
    """(memory, disk) of the vectors of all chunks: what is searched is in memory, exactly as here."""
    searched = target.chunks * (target.dimension * 4 + SPARSE_BYTES)
    return searched, searched + target.chunks * BYTES_PER_CHUNK_TEXT
