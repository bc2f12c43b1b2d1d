"""Ids as Discord makes them: milliseconds since 2015 in the upper bits, a counter in the lower 22."""

from collections.abc import Callable
from typing import Final

EPOCH_MS: Final = 1_420_070_400_000
"""Discord's epoch, 2015-01-01, in Unix milliseconds."""

_COUNTER_BITS: Final = 22


class Snowflakes:
    """Makes ids that grow; never the same one twice, whatever the clock does."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = 0

    def next(self) -> int:
        """A new id of this moment (`now` gives Unix seconds)."""
        earliest = (int(self._now() * 1000) - EPOCH_MS) << _COUNTER_BITS
        self._last = max(earliest, self._last + 1)
        return self._last

    def next_guild(self) -> int:
        """A new id whose shard bits follow the counter, so that guilds spread over shards as they do in the wild."""
        step = 1 << _COUNTER_BITS
        earliest = (int(self._now() * 1000) - EPOCH_MS) << _COUNTER_BITS
        self._last = max(earliest, (self._last // step + 1) * step)
        return self._last
