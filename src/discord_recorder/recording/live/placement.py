"""Where a speaker's frames belong on the session clock: RTP time, anchored to the time of arrival.

Senders differ. The timestamps of WebRTC clients run on through silence, those of bot libraries stop with the sound, and
either begins anywhere. So within a talk spurt a timestamp says exactly how far a frame is from the others. Where the
spurt is on the session clock, arrival tells: no frame comes before it is sent, so the frame that was least delayed is
the one to believe. A spurt begins where its first frame arrived, and is moved back (`SETTLED`) when its first half
second, or what follows while it can still be moved, shows that this one was late. Of a sender whose timestamps run on,
what was learnt before a pause holds after it.

Clocks drift, up to 100 ppm against ours: 10 ms in 100 s. That is put right between two spurts. Of somebody who never
pauses, a step of 10 ms is made in a quiet frame when the least delay of ten seconds has moved by 7 ms: later, by a gap
that is to be concealed; earlier, by leaving one frame out and closing half of its gap.

Sources: RFC 3550 (section 5.1), PROTOCOL "Time".
"""

from dataclasses import dataclass
from typing import Final

from discord_recorder.audio.opus import SILENCE, UNIT_SAMPLES
from discord_recorder.audio.pcm import SAMPLE_RATE, ms_to_samples
from discord_recorder.recording.live.delay_watch import DelayWatch
from discord_recorder.voice.counters import Outcome
from discord_recorder.voice.rtp import SEQUENCE_MODULUS, timestamp_distance

PAUSE_SAMPLES: Final = ms_to_samples(100)
"""A sender whose silence frames are followed by so much time has paused. So has one of whom frames are missing, when
what comes next is later than its timestamp by so much: the silence frames are among those that were lost."""

UNTRUE_SAMPLES: Final = 2 * SAMPLE_RATE
"""So much arrival and timestamp do not differ within a talk spurt, unless the network stood still for longer: then the
spurt goes on where it is heard again."""

REORDER_WINDOW: Final = 1024
"""Frames further behind than that are no late ones: the sender has begun anew."""

STEP_SAMPLES: Final = ms_to_samples(10)
"""How far a step goes that follows a clock which drifts; for packets longer than 20 ms it is a whole packet."""

BEGUN, SETTLED, MISSING = 1, 2, 4
"""Bits of `StreamPlacement.news`."""

MAX_MISSING_FRAMES: Final = 3_000
"""Frames of one hole that are told to be missing: a minute. What is behind that is silence."""

_MAX_MISSING_BEFORE_SPURT: Final = 50
"""The same where timestamps cannot confirm the hole, and sequence numbers may have begun anew."""

_HALF_SEQUENCE: Final = SEQUENCE_MODULUS // 2


@dataclass(frozen=True, slots=True)
class _Spurt:
    """How a talk spurt's timestamps translate."""

    timestamp: int
    at_sample: int


class StreamPlacement:
    """Places the frames of one SSRC of one connection; no I/O, no clock.

    All places are session times in samples, multiples of `UNIT_SAMPLES`.
    """

    __slots__ = (
        "_arrived",
        "_at",
        "_before",
        "_end",
        "_first",
        "_sequence",
        "_timestamp",
        "_was_silent",
        "_watch",
        "missing",
        "news",
        "shift",
    )

    def __init__(self) -> None:
        self.news = 0
        """What the last `place` has to tell besides: `BEGUN`: a spurt begins with that frame; `MISSING`: see `missing`;
        `SETTLED`: all of the spurt so far, that frame included, belongs `shift` samples earlier; see `moved`."""
        self.missing = (0, 0)
        """Session time at which frames are missing before the last one, and for how many samples."""
        self.shift = 0
        self._at: int | None = None  # of the newest frame, as are the next five
        self._end = 0
        self._sequence = 0
        self._timestamp = 0
        self._arrived = 0
        self._was_silent = False
        self._first = 0  # of the spurt
        self._before: _Spurt | None = None
        self._watch = DelayWatch()

    def place(
        self, sequence: int, timestamp: int, opus: bytes, samples: int, *, arrived_sample: int, free_from: int
    ) -> int | Outcome:
        """Where a frame begins.

        A frame that was overtaken is given its true place, which may be taken; any other begins at `free_from` or
        later.

        Args:
            sequence: as sent, 16 bit.
            timestamp: as sent, 32 bit.
            opus: the packet; how long it is tells what is quiet.
            samples: how long it lasts.
            arrived_sample: session time of its arrival, from 0.
            free_from: session time at which what is stored of the track ends, a multiple of `UNIT_SAMPLES`.

        Returns:
            The session time, or why there is none: `OVERLAPPING` when all the time around its arrival is taken, as by
            another stream of the speaker, `CLOCK_STEP` when it is left out because its sender's clock runs fast.
        """
        self.news = 0
        if self._at is None:
            return self._begin(sequence, timestamp, opus, samples, arrived_sample, free_from)
        ahead = (sequence - self._sequence) % SEQUENCE_MODULUS
        distance = timestamp_distance(timestamp, self._timestamp)
        at = self._at + distance
        if not 0 < ahead < _HALF_SEQUENCE:
            if -ahead % SEQUENCE_MODULUS <= REORDER_WINDOW and distance <= 0:
                return self._place_late(at, timestamp)
            return self._begin(sequence, timestamp, opus, samples, arrived_sample, free_from)
        if self._was_silent and arrived_sample - self._arrived > PAUSE_SAMPLES:
            correction = self._after_pause(arrived_sample, arrived_sample - at, distance - ahead * samples)
            if correction is None:
                return self._begin(sequence, timestamp, opus, samples, arrived_sample, free_from)
            at += correction
        late = arrived_sample - at
        if (
            at < free_from
            or late > UNTRUE_SAMPLES
            or (late > PAUSE_SAMPLES and ahead > 1)
            or (late < -UNTRUE_SAMPLES and (ahead > 1 or distance > samples))
        ):
            return self._begin(sequence, timestamp, opus, samples, arrived_sample, free_from)
        if rest := at % UNIT_SAMPLES:  # no known sender's timestamps are off the grid
            at, timestamp = at - rest, timestamp - rest
        if ahead > 1:
            self._miss(self._end, min(at - self._end, min(ahead - 1, MAX_MISSING_FRAMES) * samples))
        watch, size = self._watch, len(opus)
        is_time = watch.add(late, size, arrived_sample)
        place: int | Outcome = at
        if watch.drift and watch.is_moment(size):
            place, at = self._step(at, samples)
        self._at, self._end, self._sequence, self._timestamp = at, at + samples, sequence, timestamp
        self._arrived = arrived_sample
        self._was_silent = is_silent = opus == SILENCE
        if is_time or (is_silent and not watch.is_settled):
            self._settle()
        return place

    def moved(self, samples: int) -> None:
        """The spurt was moved to be so much earlier, as told by `SETTLED`; it may be less than was asked for."""
        if samples and self._at is not None:
            self._at -= samples
            self._end -= samples
            self._first -= samples
            self._watch.moved(samples)

    def _begin(
        self, sequence: int, timestamp: int, opus: bytes, samples: int, arrived_sample: int, free_from: int
    ) -> int | Outcome:
        """A talk spurt begins with this frame."""
        at = max(arrived_sample, free_from)
        at += -at % UNIT_SAMPLES
        if at - arrived_sample > UNTRUE_SAMPLES and free_from != self._end:
            return Outcome.OVERLAPPING  # another stream fills the time: two at once would drive it ahead of the clock
        self.news = BEGUN
        if self._at is not None:
            missing = (sequence - self._sequence) % SEQUENCE_MODULUS - 1
            if 0 < missing <= _MAX_MISSING_BEFORE_SPURT:
                self._miss(self._end, min(at - self._end, missing * samples))
            self._before = _Spurt(self._timestamp, self._at)
        self._at = self._first = at
        self._end = at + samples
        self._sequence, self._timestamp = sequence, timestamp
        self._arrived = arrived_sample
        self._was_silent = opus == SILENCE
        self._watch.begin(arrived_sample - at, len(opus))
        return at

    def _place_late(self, at: int, timestamp: int) -> int:
        before = self._before
        if at < self._first and before is not None:
            distance = timestamp_distance(timestamp, before.timestamp)
            if distance <= 0:
                at = before.at_sample + distance
        return at - at % UNIT_SAMPLES

    def _after_pause(self, arrived_sample: int, late: int, ran_on: int) -> int | None:
        """How the clock has to be corrected after a pause; None when a new anchor is needed.

        What is known holds if the timestamps ran on through the pause, and the frame comes when it would be expected.
        """
        least = self._watch.after_pause(self._arrived, arrived_sample)
        if ran_on <= 0 or least is None or not -PAUSE_SAMPLES <= late - least <= PAUSE_SAMPLES:
            return None
        correction = round(least / UNIT_SAMPLES) * UNIT_SAMPLES
        self._watch.moved(-correction)
        return correction

    def _settle(self) -> None:
        """Enough of the spurt was heard to know how late its first frame was, or to know it better."""
        watch = self._watch
        watch.is_settled = True
        early = -watch.least
        self.shift = early - early % UNIT_SAMPLES
        if self.shift > 0:
            self.news |= SETTLED

    def _step(self, at: int, samples: int) -> tuple[int | Outcome, int]:
        """Follow a clock that drifts, at a frame that would begin at `at`: what becomes of it, and where it counts.

        A slow one's frame is put later, and what lies before it is missing. Of a fast one the frame is left out, and
        the next one comes so much earlier than it would that half of the hole is closed.
        """
        watch = self._watch
        if watch.drift > 0:
            watch.moved(-STEP_SAMPLES)
            self._miss(at, STEP_SAMPLES)
            return at + STEP_SAMPLES, at + STEP_SAMPLES
        step = STEP_SAMPLES if STEP_SAMPLES <= samples <= 2 * STEP_SAMPLES else samples
        if -2 * watch.drift < step:
            return at, at
        watch.moved(step)
        self._miss(at, samples - step)
        return Outcome.CLOCK_STEP, at - step

    def _miss(self, at: int, samples: int) -> None:
        """Tell that frames are missing from `at` on; a hole before it that was told already goes on."""
        if samples > 0:
            before, length = self.missing if self.news & MISSING else (at, 0)
            self.news |= MISSING
            self.missing = (before, at + samples - before) if length else (at, samples)
