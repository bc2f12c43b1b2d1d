"""Listening to finished tracks: whose voice, how loud, from when on."""

import numpy as np

from tests.audio.signals import Samples


def level(sound: Samples, hertz: float) -> float:
    """Amplitude of a tone in a sound."""
    wave = sound[:, 0] * np.hanning(len(sound))
    carrier = np.exp(-2j * np.pi * hertz * np.arange(len(wave)) / 48_000)
    return float(4 * np.abs((wave * carrier).mean()))


def onset(sound: Samples) -> int:
    """Where a sound begins."""
    return int(np.argmax(np.abs(sound[:, 0]) > 0.05))
