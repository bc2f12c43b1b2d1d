"""Clocks, and what to make of many readings."""

import asyncio
import math
import resource
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import psutil

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """CPU-seconds, user and system: of this process, and of the children that it has waited for."""

    own: float
    children: float

    @classmethod
    def now(cls) -> Self:
        """All that was spent since the process began."""
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(own=own.ru_utime + own.ru_stime, children=children.ru_utime + children.ru_stime)

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(own=self.own - other.own, children=self.children - other.children)

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.own + self.children


def rss_mib() -> float:
    """Memory of this process that is in RAM, without its children."""
    return psutil.Process().memory_info().rss / MIB


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that `percent` of the values do not exceed; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value; NaN of nothing."""
    return statistics.median(values) if values else math.nan


async def until(condition: Callable[[], object], max_seconds: float) -> bool:
    """Wait for a condition; False when it does not hold in time."""
    deadline = time.perf_counter() + max_seconds
    while not condition():
        if time.perf_counter() >= deadline:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True


_LOOK_SECONDS = 0.02
_LAG_PERIOD_SECONDS = 0.01


@asynccontextmanager
async def loop_lags() -> AsyncIterator[list[float]]:
    """How much later than asked for a task woke up, in seconds, about a hundred times a second."""
    lags: list[float] = []

    async def watch() -> None:
        while True:
            due = time.perf_counter() + _LAG_PERIOD_SECONDS
            await asyncio.sleep(_LAG_PERIOD_SECONDS)
            lags.append(time.perf_counter() - due)

    task = asyncio.create_task(watch())
    try:
        yield lags
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
