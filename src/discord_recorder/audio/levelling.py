"""How much louder or softer the mix has a speaker, so that all of them are about as loud as each other.

A speaker's loudness is that of their last three minutes of sound, the chunk itself included. The gain that follows from
it is reached at once where the speaker begins to speak after a silence, and else slowly. The gain of a frame is a
function of the chunks up to the one it belongs to, so windows of the mix that are made apart, or again, agree on it.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from discord_recorder.audio.frame_gain import STEP_DB, with_gain
from discord_recorder.audio.loudness import Loudness, loudness_lufs
from discord_recorder.audio.mp3 import FRAME_SAMPLES, determined_frames, frame_count
from discord_recorder.audio.stretches import Stretch, joined

TARGET_LUFS: Final = -20.0
"""How loud every speaker is to be: what leaves speech room enough below full scale."""

MOST_STEPS: Final = 8
"""12 dB, up or down; what is further off is noise more likely than speech."""

_KEEP_STEPS: Final = 0.65
"""How far off, in steps, a gain may be before it changes; with 0.5 it would hop to and fro between two."""

_MEMORY_BLOCKS: Final = 1800
"""Three minutes of sound (a block every 100 ms): longer than a mood, shorter than a meeting with two microphones."""

_RAMP_FRAMES: Final = 42
"""While a speaker speaks, the gain changes by one step in so many frames, 1 s."""

_UNTOUCHED_DBFS: Final = -3.0
"""What is louder than this goes through the limiter: 1 dB less than its limit, and what MP3 adds to peaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredChunk:
    """What the gain depends on: where a chunk is, where it sounds, and how loud; None when that was not measured."""

    start_sample: int
    end_sample: int
    sounding: Sequence[Stretch]
    loudness: Loudness | None


class GainLine:
    """A track's gain in the mix, frame by frame, in steps of 1.5 dB; 0 before its first change."""

    def __init__(self, changes: Iterable[tuple[int, int]] = (), *, peaks_known: bool = False) -> None:
        """Make a line.

        Args:
            changes: pairs of a frame and the gain from there on, in order.
            peaks_known: `note_peak` is called for all that sounds. Else whatever is made louder may clip.
        """
        changes = list(changes)
        self._frames = [frame for frame, _ in changes]
        self._steps = [steps for _, steps in changes]
        self._peaks: list[tuple[int, int, int]] | None = [] if peaks_known else None

    @property
    def changes(self) -> list[tuple[int, int]]:
        """As it was made."""
        return list(zip(self._frames, self._steps, strict=True))

    def to_json(self) -> str:
        """As `recording_tracks.mix_gains` has it."""
        return json.dumps(self.changes, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From what `to_json` gave; the peaks are not known."""
        return cls((int(frame), int(steps)) for frame, steps in json.loads(text))

    def at(self, frame: int) -> int:
        """The gain of a frame."""
        place = bisect_right(self._frames, frame)
        return self._steps[place - 1] if place else 0

    def change(self, frame: int, steps: int) -> None:
        """Let the gain be another from a frame on, which lies behind all others."""
        if steps != (self._steps[-1] if self._steps else 0):
            self._frames.append(frame)
            self._steps.append(steps)

    def note_peak(self, first_frame: int, last_frame: int, peak_dbfs: int) -> None:
        """Note how loud the frames `first_frame..last_frame` (`last_frame` not included) are; in order."""
        if self._peaks is not None:
            self._peaks.append((first_frame, last_frame, peak_dbfs))

    def applied(self, first_frame: int, frames: Sequence[bytes]) -> list[bytes]:
        """Frames with the gain that they have from `first_frame` on."""
        return [with_gain(frame, self.at(number)) for number, frame in enumerate(frames, start=first_frame)]

    def may_clip(self, first_frame: int, last_frame: int) -> bool:
        """Whether frames of a range are made so much louder that they need a limiter."""
        if self._peaks is None:
            return self._highest(first_frame, last_frame) > 0
        near = bisect_left(self._peaks, (first_frame,)) - 2  # a chunk's last frames are its successor's first ones
        for first, last, peak_dbfs in self._peaks[max(0, near) :]:
            if first >= last_frame:
                break
            highest = self._highest(max(first, first_frame), min(last, last_frame))
            if highest > 0 and peak_dbfs + highest * STEP_DB > _UNTOUCHED_DBFS:
                return True
        return False

    def _highest(self, first_frame: int, last_frame: int) -> int:
        """The highest gain of a range of frames; 0 of none."""
        if first_frame >= last_frame:
            return 0
        return max(
            self.at(first_frame),
            *self._steps[bisect_right(self._frames, first_frame) : bisect_left(self._frames, last_frame)],
            -MOST_STEPS,
        )


class Levelling:
    """The gain of one speaker's track as its chunks come."""

    def __init__(self) -> None:
        self._chunks: list[MeasuredChunk] = []
        self._begin()

    def add(self, chunk: MeasuredChunk) -> tuple[int, int] | None:
        """Take in a chunk; gives the range of frames behind it whose gain is another one now.

        A late one, before which there are others, may change what was known of those; None as a rule.
        """
        place = bisect_right(self._chunks, chunk.start_sample, key=lambda known: known.start_sample)
        replaced = bool(place) and self._chunks[place - 1].start_sample == chunk.start_sample
        self._chunks[place - replaced : place] = [chunk]
        if not replaced and place == len(self._chunks) - 1:
            self._go_on(chunk)
            return None
        before = self.line
        self._begin()
        for known in self._chunks:
            self._go_on(known)
        return _difference(before, self.line)

    def _begin(self) -> None:
        self.line = GainLine(peaks_known=True)
        self._heard: list[Sequence[tuple[int, int]]] = []  # the last chunks' blocks
        self._target = 0
        self._steps = 0
        self._changed_at = 0
        self._sounds_until = -1
        """The last frame with sound of what was taken in."""

    def _go_on(self, chunk: MeasuredChunk) -> None:
        self._learn(chunk)
        known_from = determined_frames(chunk.start_sample)  # what comes before has been mixed without this chunk
        for start, end in joined(chunk.sounding):
            first, last = max(known_from, start // FRAME_SAMPLES), (end - 1) // FRAME_SAMPLES + 1
            if first > self._sounds_until:
                self._change(first, self._target)
            due = max(first, self._changed_at + _RAMP_FRAMES)
            while self._steps != self._target and due <= last:
                self._change(due, self._steps + (1 if self._target > self._steps else -1))
                due += _RAMP_FRAMES
            self._sounds_until = max(self._sounds_until, last)

    def _learn(self, chunk: MeasuredChunk) -> None:
        if chunk.loudness is None:
            return
        self.line.note_peak(
            determined_frames(chunk.start_sample), frame_count(chunk.end_sample), chunk.loudness.peak_dbfs
        )
        if not chunk.loudness.blocks:
            return
        self._heard.append(chunk.loudness.blocks)
        counts = [sum(count for _, count in blocks) for blocks in self._heard]
        while sum(counts[1:]) >= _MEMORY_BLOCKS:
            del self._heard[0], counts[0]
        lufs = loudness_lufs(self._heard)
        if lufs is None:
            return
        wanted = max(-MOST_STEPS, min(MOST_STEPS, (TARGET_LUFS - lufs) / STEP_DB))
        if abs(wanted - self._target) > _KEEP_STEPS:
            self._target = round(wanted)

    def _change(self, frame: int, steps: int) -> None:
        if steps != self._steps:
            self.line.change(frame, steps)
            self._steps, self._changed_at = steps, frame


def _difference(one: GainLine, other: GainLine) -> tuple[int, int] | None:
    """The range of frames in which two lines are not the same, up to the last change of either."""
    borders = sorted({0, *(frame for frame, _ in (*one.changes, *other.changes))})
    differing = [number for number, frame in enumerate(borders) if one.at(frame) != other.at(frame)]
    if not differing:
        return None
    behind = differing[-1] + 1
    return borders[differing[0]], borders[behind] if behind < len(borders) else 1 << 62
