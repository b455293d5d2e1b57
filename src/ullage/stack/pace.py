"""How soon a dead service is started again, and when that is no use any more."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A dead process is started again after `first_delay_s`, doubled at each death up to `longest_delay_s`;
    one that was ready for `healthy_s` starts over. One told to stop is killed `kill_after_s` later than it has."""

    first_delay_s: float = 1.0
    longest_delay_s: float = 30.0
    healthy_s: float = 60.0
    kill_after_s: float = 5.0
    starting_probe_s: float = 0.25
    ready_probe_s: float = 2.0
    first_attempts: int = 3
    """A service that dies this often before it was ever ready has a fault that starting again does not mend."""

    loop_deaths: int = 6
    """One that was ready and dies this often, never healthy in between, is left down until somebody asks for it."""

    hung_s: float = 60.0
    """One that was ready and gives no answer at all for this long is killed."""

    replace_s: float = 300.0
    """A new process that is not ready after this does not take over."""


@dataclass(slots=True)
class Pace:
    """Deaths since the last healthy life."""

    timing: Timing
    deaths: int = 0
    first_death: float = field(default=0.0)

    def died(self, ready_s: float) -> None:
        if ready_s >= self.timing.healthy_s:
            self.deaths = 0
        self.deaths += 1
        if self.deaths == 1:
            self.first_death = time.monotonic()

    def forgive(self) -> None:
        self.deaths = 0

    @property
    def delay_s(self) -> float:
        return float(min(self.timing.longest_delay_s, self.timing.first_delay_s * 2 ** (self.deaths - 1)))

    @property
    def looping(self) -> bool:
        return self.deaths >= self.timing.loop_deaths

    @property
    def span_s(self) -> float:
        return time.monotonic() - self.first_death
