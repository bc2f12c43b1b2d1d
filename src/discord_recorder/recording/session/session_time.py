"""Session time: the clock on which a meeting's tracks stand, and what pauses do to it."""

import math
from collections import deque
from typing import Final

from discord_recorder.audio.pcm import SAMPLE_RATE

REMEMBERED_PAUSES: Final = 100
"""What came before any older pause has been recorded, or never will be."""


class SessionTime:
    """Translates monotonic time to session time, which a pause stops unless it `runs_on`; reads no clock itself.

    Args:
        started: session time 0, in monotonic seconds.
        runs_on: whether session time goes on in pauses.
    """

    def __init__(self, started: float, *, runs_on: bool = False) -> None:
        self.started = started
        """Where session time 0 is in monotonic seconds, seen from now: each pause that stopped time has moved it."""
        self.runs_on = runs_on
        self.was_paused = False
        """Whether there is, or was, a pause: else whatever arrives is recorded, at its arrival."""
        self._recorded_from = -math.inf
        self._paused_at: float | None = None
        self._pauses: deque[tuple[float, float]] = deque(maxlen=REMEMBERED_PAUSES)

    @property
    def is_paused(self) -> bool:
        """True in a pause."""
        return self._paused_at is not None

    def pause(self, now: float) -> None:
        """A pause begins."""
        if self._paused_at is not None:
            return
        self._paused_at, self.was_paused = now, True

    def resume(self, now: float) -> None:
        """The pause ends."""
        if self._paused_at is None:
            return
        self._pauses.append((self._paused_at, now))
        if not self.runs_on:
            self.started += now - self._paused_at
        self._recorded_from, self._paused_at = now, None

    def sample_at(self, monotonic: float) -> int:
        """Session time in samples; the moments of a pause that stopped it all have the same."""
        if self._paused_at is not None and not self.runs_on:
            monotonic = min(monotonic, self._paused_at)
        return max(0, round((self._seen_from_now(monotonic) - self.started) * SAMPLE_RATE))

    def recorded_arrival(self, arrived: float) -> float | None:
        """When something arrived, as if no pause had followed, so that it fits `started`; None for within a pause."""
        if self._paused_at is not None and arrived >= self._paused_at:
            return None
        if arrived >= self._recorded_from:
            return arrived
        if any(start <= arrived < end for start, end in self._pauses):
            return None
        return self._seen_from_now(arrived)

    def _seen_from_now(self, monotonic: float) -> float:
        """Moved by all that time stood still since."""
        stood_still = 0.0
        for start, end in reversed(self._pauses) if not self.runs_on else ():
            if monotonic >= end:
                break
            stood_still += end - max(start, monotonic)
        return monotonic + stood_still
