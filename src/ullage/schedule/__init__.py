"""Admission, token-budget batching, fairness, cancellation. Knows no model and no HTTP."""

from ullage.schedule.cache import ScoreCache
from ullage.schedule.counters import Counters
from ullage.schedule.request import Times
from ullage.schedule.scheduler import Scheduler

__all__ = ["Counters", "Scheduler", "ScoreCache", "Times"]
