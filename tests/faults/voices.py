"""Voices that tell the time: what was stored is subtracted from what was said, at its place, to the sample.

A voice is a slow chirp, so every moment of it sounds different: a lost, doubled or shifted piece, a click at a border
or a swapped speaker leaves a remainder far above what MP3 leaves (-29 dB at most; one lost sample leaves -19 dB).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

import tests.audio.signals as coding
from tests.audio.signals import FULL_SCALE, Samples

RATE = 48_000

ADA, BEN, CHRIS = 5, 6, 7
SPEAKERS = (ADA, BEN, CHRIS)

LIMIT_DB = -23.0
"""How far below the voice the remainder has to lie in every window."""

WINDOW = 480

_HERTZ = {ADA: 900.0, BEN: 1300.0, CHRIS: 1900.0}
_SWEEP_HERTZ_A_SECOND = 37.0
_LEVEL = 6000.0
_SHOWN = 8


def voice(user: int, first: int, count: int) -> Samples:
    """Samples `first..first + count` of what that speaker says, as (count, 2) in 16 bit units."""
    time = np.arange(first, first + count) / RATE
    wave: Samples = _LEVEL * np.sin(2 * np.pi * (_HERTZ[user] + _SWEEP_HERTZ_A_SECOND / 2 * time) * time)
    return np.stack([wave, 0.7 * wave], axis=1).round()


def said(user: int, first: int, count: int) -> bytes:
    """The same as s16le."""
    return voice(user, first, count).astype("<i2").tobytes()


def silence(count: int) -> Samples:
    """Digital silence."""
    return np.zeros((count, 2))


def joined(*parts: Samples) -> Samples:
    """One after the other."""
    return np.concatenate([silence(0), *parts])


def mixed(tracks: Iterable[Samples]) -> Samples:
    """The sum, as long as the longest."""
    parts = list(tracks)
    total = max(map(len, parts))
    whole = silence(total)
    for part in parts:
        whole[: len(part)] += part
    return whole


def samples(seconds: float) -> int:
    """So many seconds in samples."""
    return round(seconds * RATE)


def played(path: str | Path) -> Samples:
    """What a player plays of a file, in 16 bit units."""
    return coding.played(Path(path)) * FULL_SCALE


def differences(heard: Samples, expected: Samples) -> list[str]:
    """Where the two are not the same, in words, window by window."""
    decibels = _remainder_db(heard, expected)
    bad = [int(window) for window in np.flatnonzero(decibels > LIMIT_DB)]
    more = [f"and {len(bad) - _SHOWN} more windows"] if len(bad) > _SHOWN else []
    return [f"{window * WINDOW / RATE:.2f} s: {decibels[window]:.0f} dB" for window in bad[:_SHOWN]] + more


def assert_sounds(path: str | Path, expected: Samples) -> None:
    """The file holds exactly this: as long to the sample, and nowhere different."""
    heard = played(path)
    assert not (found := differences(heard, expected)), f"{path} differs from what was said at {found}"
    assert len(heard) == len(expected), f"{path} has {len(heard)} samples instead of {len(expected)}"


def _remainder_db(heard: Samples, expected: Samples) -> Samples:
    count = min(len(heard), len(expected)) // WINDOW * WINDOW
    difference = (heard[:count] - expected[:count]).reshape(-1, WINDOW * 2)
    level = np.sqrt((voice(ADA, 0, WINDOW * 100) ** 2).mean())
    decibels: Samples = 20 * np.log10(np.sqrt((difference**2).mean(axis=1)) / level + 1e-9)
    return decibels
