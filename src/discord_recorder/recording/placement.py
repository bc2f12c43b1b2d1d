"""Where a speaker's frames belong on the session clock: RTP time within a talk spurt, arrival at its beginning.

Senders differ. The timestamps of WebRTC clients run on through silence, those of bot libraries stop with the sound, and
either begins anywhere. So a timestamp says how far a frame is from others of its talk spurt, exactly, and nothing about
anything else. A talk spurt begins with the first frame of a stream, after a sender's silence frames, and where the
timestamps cannot be true; its first frame is placed where it arrived.

Sources: RFC 3550 (section 5.1), PROTOCOL "Time".
"""

from dataclasses import dataclass
from typing import Final

from discord_recorder.audio.opus import UNIT_SAMPLES
from discord_recorder.audio.pcm import SAMPLE_RATE, ms_to_samples
from discord_recorder.voice.rtp import SEQUENCE_MODULUS, TIMESTAMP_MODULUS

PAUSE_SAMPLES: Final = ms_to_samples(100)
"""A sender whose silence frames are followed by so much time has paused. So has one of whom frames are missing, when
what comes next is later than its timestamp by so much: the silence frames are among those that were lost."""

UNTRUE_SAMPLES: Final = 2 * SAMPLE_RATE
"""So much arrival and timestamp do not differ within a talk spurt, unless the network stood still for longer: then the
spurt goes on where it is heard again."""

REORDER_WINDOW: Final = 1024
"""Frames further behind than that are no late ones: the sender has begun anew."""

_HALF_SEQUENCE: Final = SEQUENCE_MODULUS // 2
_HALF_TIMESTAMP: Final = TIMESTAMP_MODULUS // 2


@dataclass(frozen=True, slots=True)
class _Spurt:
    """How a talk spurt's timestamps translate, and where it begins."""

    timestamp: int
    at_sample: int
    first_sample: int


class StreamPlacement:
    """Places the frames of one SSRC of one connection; no I/O, no clock.

    All places are session times in samples, multiples of `UNIT_SAMPLES`.
    """

    __slots__ = ("_arrived", "_at", "_before", "_end", "_first", "_sequence", "_timestamp", "_was_silent")

    def __init__(self) -> None:
        self._at: int | None = None  # of the newest frame, as are the next five
        self._end = 0
        self._sequence = 0
        self._timestamp = 0
        self._arrived = 0
        self._was_silent = False
        self._first = 0
        self._before: _Spurt | None = None

    def place(
        self, sequence: int, timestamp: int, samples: int, *, arrived_sample: int, is_silent: bool, free_from: int
    ) -> int | None:
        """Where a frame begins.

        A frame that was overtaken is given its true place, which may be taken; any other begins at `free_from` or
        later.

        Args:
            sequence: as sent, 16 bit.
            timestamp: as sent, 32 bit.
            samples: how long it lasts.
            arrived_sample: session time of its arrival, from 0.
            is_silent: whether it is one of the frames that senders put before a pause.
            free_from: session time at which what is stored of the track ends, a multiple of `UNIT_SAMPLES`.

        Returns:
            The session time; None when all the time around its arrival is taken, as by another stream of the speaker.
        """
        if self._at is None:
            return self._begin(sequence, timestamp, samples, arrived_sample, is_silent, free_from)
        ahead = (sequence - self._sequence) % SEQUENCE_MODULUS
        distance = (timestamp - self._timestamp + _HALF_TIMESTAMP) % TIMESTAMP_MODULUS - _HALF_TIMESTAMP
        at = self._at + distance
        if not 0 < ahead < _HALF_SEQUENCE:
            if -ahead % SEQUENCE_MODULUS <= REORDER_WINDOW and distance <= 0:
                return self._place_late(at, timestamp)
            return self._begin(sequence, timestamp, samples, arrived_sample, is_silent, free_from)
        late = arrived_sample - at
        if (
            at < free_from
            or not -UNTRUE_SAMPLES <= late <= UNTRUE_SAMPLES
            or (self._was_silent and arrived_sample - self._arrived > PAUSE_SAMPLES)
            or (ahead > 1 and late > PAUSE_SAMPLES)
        ):
            return self._begin(sequence, timestamp, samples, arrived_sample, is_silent, free_from)
        if rest := at % UNIT_SAMPLES:  # no known sender's timestamps are off the grid
            at, timestamp = at - rest, timestamp - rest
        self._at, self._end, self._sequence, self._timestamp = at, at + samples, sequence, timestamp
        self._arrived, self._was_silent = arrived_sample, is_silent
        return at

    def _begin(
        self, sequence: int, timestamp: int, samples: int, arrived_sample: int, is_silent: bool, free_from: int
    ) -> int | None:
        """A talk spurt begins with this frame."""
        at = max(arrived_sample, free_from)
        at += -at % UNIT_SAMPLES
        if at - arrived_sample > UNTRUE_SAMPLES and free_from != self._end:
            return (
                None  # it is another stream that fills the time: two at once would drive the track ahead of the clock
            )
        if self._at is not None:
            self._before = _Spurt(self._timestamp, self._at, self._first)
        self._at = self._first = at
        self._end = at + samples
        self._sequence, self._timestamp = sequence, timestamp
        self._arrived, self._was_silent = arrived_sample, is_silent
        return at

    def _place_late(self, at: int, timestamp: int) -> int:
        before = self._before
        if at < self._first and before is not None:
            distance = (timestamp - before.timestamp + _HALF_TIMESTAMP) % TIMESTAMP_MODULUS - _HALF_TIMESTAMP
            if distance <= 0:
                at = before.at_sample + distance
        return at - at % UNIT_SAMPLES
