"""What became of a speaker's frames, told from what the ear hears in the final file."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from tests.audio.opus_signals import ENCODER_DELAY_SAMPLES
from tests.audio.signals import Samples
from tests.support.ear import Heard, Hearing
from tests.support.tone_code import FRAME, RATE

_HEARD: Final = 0.7
"""Likeness, or share of a frame in stretches, that says it is there. What is there has 0.95 and more, also between two
lost ones; what was made up for a lost one has 0.5 at most."""
_SETTLED: Final = RATE // 200
"""After a loss a decoder fades over from what it made up."""
_WHOLE: Final = 0.9
_MIX_BLUR: Final = RATE / 25
"""The same in a mix, where voices cover each other: a shorter stretch may be a coincidence."""
_TAKEN: Final = 0.25
"""Share of a frame's place in which other words of the same voice are heard, so that it is not there."""
_STEP: Final = RATE / 2000
_BLUR: Final = RATE / 80
"""To which the ear, and MP3, know where a stretch begins."""


class Said(NamedTuple):
    """A frame that a speaker sent."""

    frame: int
    """Its number in the voice."""
    at: float
    """Where it belongs, in samples of session time."""
    spurt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One speaker on their track."""

    speaker: int
    missing: list[int]
    """Frames that were sent and are not heard."""
    offsets_ms: Samples
    """Of each frame that is heard: how much later than where it belongs."""
    foreign_ms: float
    """How long others are heard on this track."""
    repeated_ms: float
    """How much is heard twice."""
    out_of_order: int
    """How often something said earlier comes later."""
    seams: list[int]
    """Frames that do not join the one before, although all around them are there."""
    clicks: list[int]
    noise_ms: float
    silent_ms: float
    """The rest of the file."""

    @property
    def loss_ms(self) -> float:
        """How much of what was sent is not heard."""
        return len(self.missing) * 1000 * FRAME / RATE

    @property
    def worst_offset_ms(self) -> float:
        """The greatest distance from where a frame belongs."""
        return float(np.abs(self.offsets_ms).max(initial=0.0))

    @property
    def is_clean(self) -> bool:
        """Nothing of others, nothing twice, nothing out of order, no seam and no click."""
        return self.is_in_order and not (self.seams or self.clicks)

    @property
    def is_in_order(self) -> bool:
        """Nothing of others, nothing twice, nothing out of order."""
        return not (self.foreign_ms or self.repeated_ms or self.out_of_order)


def judge(hearing: Hearing, speaker: int, said: Sequence[Said]) -> Verdict:
    """Compare what is heard on a speaker's track with what the speaker sent."""
    own = hearing.of(speaker)
    found = [_find(hearing, speaker, own, one.frame) for one in said]
    blur = _MIX_BLUR if hearing.several else _BLUR
    sure = [stretch for stretch in own if stretch.samples >= blur or not hearing.several]
    foreign = sum(stretch.samples for stretch in hearing.stretches if stretch.speaker != speaker)
    heard = sum(stretch.samples for stretch in hearing.stretches)
    return Verdict(
        speaker=speaker,
        missing=[one.frame for one, (share, _) in zip(said, found, strict=True) if share < _HEARD],
        offsets_ms=np.array(
            [(place - one.at) / RATE * 1000 for one, (share, place) in zip(said, found, strict=True) if share >= _HEARD]
        ),
        foreign_ms=foreign / RATE * 1000,
        repeated_ms=_repeated(sure, blur) / RATE * 1000,
        out_of_order=_out_of_order(sure, blur),
        seams=_seams(said, found),
        clicks=hearing.clicks,
        noise_ms=hearing.noise_samples / RATE * 1000,
        silent_ms=(hearing.samples - heard - hearing.noise_samples) / RATE * 1000,
    )


def misalignment_ms(verdicts: Sequence[Verdict]) -> float:
    """How far any two frames of any of the speakers are from where they belong to each other."""
    offsets = np.concatenate([verdict.offsets_ms for verdict in verdicts])
    return float(np.ptp(offsets)) if len(offsets) else 0.0


def _find(hearing: Hearing, speaker: int, stretches: Sequence[Heard], frame: int) -> tuple[float, float]:
    """How much of a frame is heard, from 0 to 1, and where it begins in the sound.

    A frame's packet decodes to what was said a moment before, so that is what is looked for.
    """
    first = frame * FRAME - ENCODER_DELAY_SAMPLES
    parts = [min(first + FRAME, one.said + one.samples) - max(first, one.said) for one in stretches]
    if not parts:
        return 0.0, 0.0
    delay = max(zip(parts, stretches, strict=True))[1].delay
    share = sum(part for part in parts if part > 0) / FRAME
    place = first + delay
    taken = sum(max(0.0, min(place + FRAME, one.end) - max(place, one.at)) for one in stretches) / FRAME
    # Where something is missing, it is compared as a whole, unless other words of the voice are there.
    if share < _WHOLE and taken - share < _TAKEN and not hearing.several:
        share = hearing.likeness(speaker, delay, first + _SETTLED, FRAME - _SETTLED)
    return min(share, 1.0), place


def _seams(said: Sequence[Said], found: Sequence[tuple[float, float]]) -> list[int]:
    seams = []
    for number in range(1, len(said) - 2):
        around = range(number - 1, number + 3)
        run = [said[each] for each in around]
        if any(b.frame - a.frame != 1 or b.spurt != a.spurt for a, b in pairwise(run)):
            continue
        if any(found[each][0] < _HEARD for each in around) or said[number].spurt != said[max(0, number - 2)].spurt:
            continue
        (share, place), (next_share, next_place) = found[number], found[number + 1]
        if min(share, next_share) < _WHOLE or abs(next_place - place - FRAME) > _STEP:
            seams.append(said[number + 1].frame)
    return seams


def _out_of_order(stretches: Sequence[Heard], blur: float) -> int:
    """How often the voice goes back."""
    count, until = 0, float("-inf")
    for stretch in stretches:
        count += stretch.said < until - blur
        until = max(until, stretch.said + stretch.samples)
    return int(count)


def _repeated(stretches: Sequence[Heard], blur: float) -> float:
    """Samples of the voice that are in more than one stretch."""
    repeated, until = 0.0, float("-inf")
    for stretch in sorted(stretches, key=lambda each: each.said):
        end = stretch.said + stretch.samples
        if (twice := min(until, end) - stretch.said) > blur:
            repeated += twice
        until = max(until, end)
    return repeated
