"""Admission, token-budget batching, fairness, cancellation. Knows no model and no HTTP."""

from ullage.schedule.scheduler import Counters, Scheduler

__all__ = ["Counters", "Scheduler"]
