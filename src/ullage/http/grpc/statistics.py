"""What Triton's clients may ask about a model's past."""

from __future__ import annotations

import time

from ullage.http.grpc import kserve_pb2 as pb
from ullage.http.grpc.model import Inferred


class Statistics:
    """Counts since the start; one call is one execution of its rows."""

    def __init__(self) -> None:
        self._total = pb.ModelStatistics(version="1")

    def succeeded(self, inferred: Inferred, seconds: float) -> None:
        total = self._total
        total.last_inference = int(time.time() * 1e3)
        total.inference_count += inferred.rows
        total.execution_count += 1
        stats = total.inference_stats
        for kind, spent_s in ((stats.success, seconds), (stats.queue, inferred.queue_s),
                              (stats.compute_infer, inferred.compute_s)):
            _add(kind, spent_s)

    def failed(self, seconds: float) -> None:
        _add(self._total.inference_stats.fail, seconds)

    def told(self, name: str) -> pb.ModelStatistics:
        found = pb.ModelStatistics()
        found.CopyFrom(self._total)
        found.name = name
        return found


def _add(kind: pb.StatisticDuration, seconds: float) -> None:
    kind.count += 1
    kind.ns += int(seconds * 1e9)
