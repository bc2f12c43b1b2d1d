"""How late a sender's frames come at least: what tells its clock from the delays of the network.

No frame comes before it is sent, so of many frames the least delayed one is the one to believe. When even that comes
later and later, the sender's clock is slow; when frames come earlier than any before, it is fast, or those were late.
"""

from typing import Final

from discord_recorder.audio.pcm import SAMPLE_RATE, ms_to_samples

SETTLING_FRAMES: Final = 25
"""Frames of a talk spurt after which it is known how late its first one was, unless they come in a burst."""

FRESH_SAMPLES: Final = 30 * SAMPLE_RATE
"""So long what was seen of a sender's delay holds: 3 ms of drift."""

BURST_FRAMES: Final = 10
"""A burst, as after a stall of the network, goes on while one of so many frames is less delayed than all before."""

MAX_SETTLING_FRAMES: Final = 500
"""So long a burst is waited for: 10 s of sound."""

MAX_DRIFT_SAMPLES: Final = ms_to_samples(100)
"""More is no drift, and steps would be many; it is put right with the next spurt."""

DRIFT_SAMPLES: Final = ms_to_samples(7)
"""The drift at which a step is due. A step of 10 ms then leaves 3 ms on the other side, so steps do not alternate."""

_BUCKET_FRAMES: Final = 100
_BUCKETS: Final = 5  # 10 s, which drift 1 ms at 100 ppm
_PATIENCE_FRAMES: Final = 100
_QUIET: Final = 0.6
_NO_DELAY_YET: Final = 1 << 62


class DelayWatch:
    """The least delay of a talk spurt so far, and of its last ten seconds; all delays and times are samples.

    A delay is arrival minus place: 0 for the frame that the spurt is anchored to.
    """

    __slots__ = (
        "_buckets",
        "_bytes",
        "_frames",
        "_improved",
        "_least",
        "_mean_bytes",
        "_patience",
        "drift",
        "is_settled",
    )

    def __init__(self) -> None:
        self.is_settled = False
        """Whether enough of the spurt was heard to know its delay."""
        self.drift = 0
        """What the clock has to be corrected by, if a step is due: positive when it is slow."""
        self._buckets: list[tuple[int, int]] = []  # the least delay of each, and when it ended
        self._least = 0  # of this bucket, as are the next three
        self._frames = 0
        self._improved = 0  # at which frame the least delay was found
        self._bytes = 0
        self._mean_bytes = 0.0
        self._patience = 0

    def begin(self, delay: int, size_bytes: int) -> None:
        """A spurt begins with that frame, and nothing is known."""
        self.is_settled = False
        self.drift = 0
        self._buckets.clear()
        self._least, self._frames, self._improved, self._bytes = delay, 1, 1, size_bytes

    def add(self, delay: int, size_bytes: int, now: int) -> bool:
        """The next frame; true when it is time to look at the least delay again."""
        self._bytes += size_bytes
        self._frames += 1
        if delay < self._least:
            self._least, self._improved = delay, self._frames
        if self.is_settled:
            if self._frames < _BUCKET_FRAMES:
                return False
            self._turn(now)
            return True
        if self._frames < SETTLING_FRAMES:
            return False
        return self._frames - self._improved >= BURST_FRAMES or self._frames >= MAX_SETTLING_FRAMES

    @property
    def least(self) -> int:
        """The least delay of late."""
        return min([self._least, *(least for least, _ in self._buckets)])

    def after_pause(self, ended: int, now: int) -> int | None:
        """The least delay as it was seen in the last half minute, None if it was not; the pause began at `ended`."""
        if self._frames:
            self._turn(ended)
        self._buckets = [bucket for bucket in self._buckets if now - bucket[1] <= FRESH_SAMPLES]
        return self.least if self.is_settled and self._buckets else None

    def moved(self, samples: int) -> None:
        """The places are so much earlier from now on, or later if negative."""
        self.drift = 0
        self._least += samples
        self._buckets = [(least + samples, ended) for least, ended in self._buckets]

    def is_moment(self, size_bytes: int) -> bool:
        """Whether this is the frame to make a step at: a quiet one, or the last that there is patience for."""
        self._patience -= 1
        return self._patience < 0 or size_bytes < _QUIET * self._mean_bytes

    def _turn(self, now: int) -> None:
        """A bucket is full."""
        self._buckets.append((self._least, now))
        del self._buckets[:-_BUCKETS]
        self._mean_bytes = self._bytes / self._frames
        self._least, self._frames, self._improved, self._bytes = _NO_DELAY_YET, 0, 0, 0
        was_due = self.drift
        least = self.least
        is_due = len(self._buckets) == _BUCKETS and DRIFT_SAMPLES <= abs(least) <= MAX_DRIFT_SAMPLES
        self.drift = least if is_due else 0
        if not was_due:
            self._patience = _PATIENCE_FRAMES
