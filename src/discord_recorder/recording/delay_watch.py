"""How late a sender's frames come at least: what tells its clock from the delays of the network.

No frame comes before it is sent, so of many frames the least delayed one is the one to believe. When even that comes
later and later, the sender's clock is slow; when frames come earlier than any before, it is fast, or those were late.
"""

from typing import Final

from discord_recorder.audio.pcm import ms_to_samples

SETTLING_FRAMES: Final = 25
"""Frames of a talk spurt after which it is known how late its first one was."""

DRIFT_SAMPLES: Final = ms_to_samples(7)
"""The drift at which a step is due. A step of 10 ms then leaves 3 ms on the other side, so steps do not alternate."""

_BUCKET_FRAMES: Final = 100
_BUCKETS: Final = 5  # 10 s, which drift 1 ms at 100 ppm
_PATIENCE_FRAMES: Final = 100
_QUIET: Final = 0.6
_NO_DELAY_YET: Final = 1 << 62


class DelayWatch:
    """The least delay of a talk spurt so far, and of its last ten seconds; all delays are samples.

    A delay is arrival minus place: 0 for the frame that the spurt is anchored to.
    """

    __slots__ = ("_bytes", "_frames", "_least", "_mean_bytes", "_patience", "_window", "drift", "is_settled")

    def __init__(self) -> None:
        self.is_settled = False
        """Whether enough of the spurt was heard to know its delay."""
        self.drift = 0
        """What the clock has to be corrected by, if a step is due: positive when it is slow."""
        self._least = 0
        self._window: list[int] = []
        self._frames = 0
        self._bytes = 0
        self._mean_bytes = 0.0
        self._patience = 0

    def begin(self, delay: int, size_bytes: int) -> None:
        """A spurt begins with that frame."""
        self.is_settled = False
        self._least, self._frames, self._bytes = delay, 1, size_bytes
        self._restart()

    def add(self, delay: int, size_bytes: int) -> None:
        """The spurt's next frame."""
        self._least = min(self._least, delay)
        self._bytes += size_bytes
        self._frames += 1
        if self._frames >= _BUCKET_FRAMES:
            self._turn()

    @property
    def may_settle(self) -> bool:
        """Whether the spurt is not settled and could be."""
        return not self.is_settled and self._frames >= SETTLING_FRAMES

    @property
    def least(self) -> int:
        """The least delay of the last ten seconds."""
        return min([self._least, *self._window])

    def moved(self, samples: int) -> None:
        """The places are so much earlier from now on, or later if negative."""
        self._least = self.least + samples
        self._restart()

    def is_moment(self, size_bytes: int) -> bool:
        """Whether this is the frame to make a step at: a quiet one, or the last that there is patience for."""
        self._patience -= 1
        return self._patience < 0 or size_bytes < _QUIET * self._mean_bytes

    def _restart(self) -> None:
        self.drift = 0
        self._window.clear()

    def _turn(self) -> None:
        self._window.append(self._least)
        del self._window[:-_BUCKETS]
        least = min(self._window)
        self.drift = least if len(self._window) == _BUCKETS and abs(least) >= DRIFT_SAMPLES else 0
        self._patience = _PATIENCE_FRAMES
        self._mean_bytes = self._bytes / self._frames
        self._least, self._frames, self._bytes = _NO_DELAY_YET, 0, 0
