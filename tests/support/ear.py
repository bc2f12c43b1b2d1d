"""The ear: hears tone codes in a sound, without being told who spoke or when.

It compares the sound with all that the speakers it knows could say, finds by correlation who is heard and with which
delay, and then how far that goes on, in steps of a sixth of a millisecond. What it tells is in samples of the sound.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tests.audio.signals import Samples
from tests.support.tone_code import HIGHEST_HERTZ, LEVEL, LOWEST_HERTZ, RATE, voice

Flags = npt.NDArray[np.bool_]
Base = npt.NDArray[np.complex128]
"""A sound's band of voices as an analytic signal, every `STEP` samples."""

STEP: Final = 8
BASE_RATE: Final = RATE // STEP

_MARGIN_HERTZ: Final = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Care:
    """How one listens; coherence is 0 to 1, and 0.99 after Opus and MP3, 0.1 to 0.3 without any relation."""

    find: float
    """Coherence, over a tenth of a second, by which somebody is recognised."""
    follow: float
    """Coherence that tells whether it goes on."""
    steps: int
    """Over which."""
    stride: int
    """How often one tries to recognise what is not known."""
    level: float
    """Share of its usual level at which a voice begins or ends; where others speak, coherence tells that too late."""
    solid: int
    """What goes on for so many steps is no coincidence."""


_ALONE: Final = _Care(
    find=0.6, follow=0.7, steps=BASE_RATE // 100, stride=BASE_RATE // 50, level=0.0, solid=BASE_RATE // 16
)
_IN_A_MIX: Final = _Care(
    find=0.35, follow=0.3, steps=BASE_RATE // 10, stride=BASE_RATE // 10, level=0.5, solid=BASE_RATE // 5
)

_FIND: Final = BASE_RATE // 10
_LOUD: Final = BASE_RATE // 100

_SHORT: Final = round(0.01 * BASE_RATE)
_NEAR: Final = round(0.5 * BASE_RATE)
"""Shorter pieces count when something solid of the same speaker and delay is so near."""

_AUDIBLE: Final = LEVEL / 100
_INAUDIBLE_POWER: Final = (LEVEL * _AUDIBLE) ** 2
_CLICK: Final = LEVEL * 10 ** (-55 / 20)
_CLICK_BAND_HERTZ: Final = 6000.0
_CLICK_WINDOW: Final = 96
_EDGE: Final = RATE // 16
"""So near to where a voice begins or ends, sound above its band is no click: MP3 smears it, and in a mix the ear does
not know exactly where that is. Clicks that are so near to each other are one."""


@dataclass(frozen=True, slots=True, order=True)
class Heard:
    """A stretch in which one voice is heard without a seam."""

    at: int
    """Where it begins in the sound."""
    samples: int
    speaker: int
    delay: float
    """Samples from where the voice said it to where it is heard."""

    @property
    def end(self) -> int:
        """Where it ends in the sound."""
        return self.at + self.samples

    @property
    def said(self) -> float:
        """Where it begins in the voice."""
        return self.at - self.delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """What is in a sound."""

    stretches: list[Heard]
    """In order of time."""
    samples: int
    """The sound's length."""
    noise_samples: int
    """How much can be heard that is nobody's voice: concealment, for instance."""
    clicks: list[int]
    """Where something crackles within a voice."""
    several: bool = False
    """Whether more than one may speak at a time, so that the ear does not know exactly who when."""
    base: Base = field(repr=False)
    voices: Mapping[int, Base] = field(repr=False)

    def of(self, speaker: int) -> list[Heard]:
        """One speaker's stretches."""
        return [stretch for stretch in self.stretches if stretch.speaker == speaker]

    @property
    def edges(self) -> list[int]:
        """Where stretches begin and end."""
        return _edges(self.stretches)

    def likeness(self, speaker: int, delay: float, first: float, samples: int) -> float:
        """How much the sound, `delay` samples after, is what a voice says from sample `first` on; coherence, 0 to 1."""
        said, count, shift = round(first / STEP), samples // STEP, round(delay / STEP)
        said = max(0, said, -shift)
        spoken, sound = self.voices[speaker][said : said + count], self.base[said + shift : said + shift + count]
        spoken = spoken[: len(sound)]
        power = float((np.abs(spoken) ** 2).sum() * (np.abs(sound) ** 2).sum())
        return float(abs(np.vdot(spoken, sound)) / power**0.5) if power > _INAUDIBLE_POWER else 0.0

    def only(self, speaker: int) -> "Hearing":
        """As if the others were not there."""
        return replace(self, stretches=self.of(speaker))


class Ear:
    """Knows some speakers' voices.

    Args:
        speakers: whom.
        seconds: how much of each.
    """

    def __init__(self, speakers: Iterable[int], *, seconds: float = 20.0) -> None:
        count = round(seconds * RATE)
        self._voices = {speaker: _base(voice(speaker, 0, count)) for speaker in speakers}
        self._size = 1 << (count // STEP + _FIND - 1).bit_length()
        self._spectra = {speaker: np.fft.fft(base, self._size) for speaker, base in self._voices.items()}

    def listen(self, sound: Samples, *, several: bool = False, breaks: Iterable[int] = ()) -> Hearing:
        """Hear a sound, (samples, 2) or one channel.

        Args:
            sound: -1 to 1.
            several: more than one may speak at a time, as in a mix.
            breaks: where voices are known to break off or begin although the ear may not notice, as in a mix.
        """
        mono = sound if sound.ndim == 1 else sound.mean(axis=1)
        if len(mono) < RATE // 10:
            nothing = np.zeros(0, complex)
            return Hearing(
                stretches=[], samples=len(mono), noise_samples=0, clicks=[], base=nothing, voices=self._voices
            )
        base = _base(mono)
        loud = _mean(np.abs(base), _LOUD) > _AUDIBLE
        if several:
            stretches = [one for speaker in self._voices for one in self._heard(base, loud, [speaker], _IN_A_MIX)]
        else:
            stretches = self._heard(base, loud, list(self._voices), _ALONE)
        stretches.sort()
        for stretch in stretches:
            loud[stretch.at // STEP : stretch.end // STEP] = False
        return Hearing(
            stretches=stretches,
            samples=len(mono),
            noise_samples=int(loud.sum()) * STEP,
            clicks=list(_clicks(mono, stretches, breaks)),
            several=several,
            base=base,
            voices=self._voices,
        )

    def _heard(self, base: Base, loud: Flags, speakers: list[int], care: _Care) -> list[Heard]:
        """All stretches of these speakers, of whom one is heard at a time."""
        known = np.zeros(len(base), bool)
        found: list[tuple[int, int, int, int]] = []
        for start in range(0, len(base) - _FIND + 1, care.stride):
            window = slice(start, start + _FIND)
            unknown = loud[window] & ~known[window]
            if unknown.sum() < _FIND * 0.6:
                continue
            coherence, speaker, delay = max(self._find(base[window] * unknown, speaker) for speaker in speakers)
            if coherence >= care.find:
                for first, last in self._follow(base, loud, self._voices[speaker], start + delay, care):
                    known[first:last] = True
                    found.append((last - first, first, speaker, start + delay))
        free = np.ones(len(base), bool)
        stretches = []
        for samples, first, speaker, delay in sorted(found, reverse=True):  # the longer, the less a coincidence
            for begin, end in _runs(free[first : first + samples]):
                if end - begin >= _SHORT:
                    stretches.append(self._stretch(base, speaker, delay, first + begin, first + end))
            free[first : first + samples] = False
        return stretches

    def _find(self, window: Base, speaker: int) -> tuple[float, int, int]:
        """How much a window sounds like something that a speaker says, and its delay in steps when it begins at 0."""
        match = np.abs(np.fft.ifft(self._spectra[speaker] * np.fft.fft(window, self._size).conj()))
        spoken = self._voices[speaker]
        said = int(match[: len(spoken)].argmax())
        power = (np.abs(window) ** 2).sum() * (np.abs(spoken[said : said + len(window)]) ** 2).sum()
        return float(match[said] / np.sqrt(max(power, 1e-12))), speaker, -said

    def _follow(self, base: Base, loud: Flags, spoken: Base, delay: int, care: _Care) -> list[tuple[int, int]]:
        """Where in the sound that voice is heard with that delay."""
        start, stop = max(0, delay), min(len(base), len(spoken) + delay)
        one, other = base[start:stop], spoken[start - delay : stop - delay]
        cross = np.abs(_mean(one * other.conj(), care.steps))
        said_power = np.maximum(_mean(np.abs(other) ** 2, care.steps), 1e-9)
        power = _mean(np.abs(one) ** 2, care.steps) * said_power
        coherent = (cross > care.follow * np.sqrt(np.maximum(power, 1e-15))) & loud[start:stop]
        if care.level and coherent.any():
            level = cross / said_power
            coherent &= level > care.level * np.median(level[coherent])
        pieces = [(start + begin, start + end) for begin, end in _runs(coherent) if end - begin >= _SHORT]
        solid = [piece for piece in pieces if piece[1] - piece[0] >= care.solid]
        return [
            (begin, end)
            for begin, end in pieces
            if any(begin - _NEAR < last and first < end + _NEAR for first, last in solid)
        ]

    def _stretch(self, base: Base, speaker: int, delay: int, first: int, last: int) -> Heard:
        exact = delay + self._fraction(base, self._voices[speaker], delay, first, last)
        return Heard(first * STEP, (last - first) * STEP, speaker, exact * STEP)

    def _fraction(self, base: Base, spoken: Base, delay: int, first: int, last: int) -> float:
        """By how much the true delay of a stretch is greater, from its correlation's peak."""
        lags = range(-3, 4)
        low, high = max(first, delay + 3), min(last, len(spoken) + delay - 3)
        heights = [abs(np.vdot(spoken[low - delay - lag : high - delay - lag], base[low:high])) for lag in lags]
        peak = min(max(int(np.argmax(heights)), 1), len(heights) - 2)
        before, top, after = heights[peak - 1 : peak + 2]
        bend = before - 2 * top + after
        return float(lags[peak] + (0.5 * (before - after) / bend if bend else 0.0))


def _base(sound: Samples) -> Base:
    """The band of voices, every `STEP` samples."""
    size = -(-max(len(sound), 1) // RATE) * RATE
    spectrum = np.fft.fft(sound, size)[: size // STEP]
    hertz = np.arange(len(spectrum)) * (RATE / size)
    spectrum[(hertz < LOWEST_HERTZ - _MARGIN_HERTZ) | (hertz > HIGHEST_HERTZ + _MARGIN_HERTZ)] = 0
    base: Base = np.fft.ifft(spectrum) * (2 / STEP)
    return base[: len(sound) // STEP]


def _mean(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """The mean around each value."""
    return np.convolve(values, np.full(count, 1 / count), "same")[: len(values)]


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """Where flags are set, as half open ranges."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _edges(stretches: Iterable[Heard]) -> list[int]:
    return [edge for stretch in stretches for edge in (stretch.at, stretch.end)]


def _clicks(sound: Samples, stretches: list[Heard], breaks: Iterable[int]) -> Iterator[int]:
    """Where there is sound above the band of voices though nobody begins or ends."""
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / RATE) < _CLICK_BAND_HERTZ] = 0
    high = np.fft.irfft(spectrum, len(sound))
    crackles = np.sqrt(_mean(high**2, _CLICK_WINDOW)) > _CLICK
    inside = np.zeros(len(sound), bool)
    for stretch in stretches:
        inside[stretch.at : stretch.end] = True
    crackles &= inside
    for edge in itertools.chain(_edges(stretches), breaks):
        crackles[max(0, edge - _EDGE) : edge + _EDGE] = False
    last = -_EDGE
    for place in map(int, np.flatnonzero(crackles)):
        if place - last >= _EDGE:
            yield place
        last = place
