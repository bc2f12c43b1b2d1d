"""What is heard in the recording of a live session, and whether its packets add up."""

import numpy as np

from discord_recorder.recording.live.capture import LiveCapture
from tests.audio.opus_signals import ENCODER_DELAY_SAMPLES
from tests.audio.signals import Samples
from tests.recording.live_frames import RATE

TWENTY_MS = 960
ALICE_HERTZ, BOB_HERTZ = 500.0, 1300.0


def level(sound: Samples, hertz: float) -> float:
    """Amplitude of a tone in a piece of sound."""
    carrier = np.exp(-2j * np.pi * hertz * np.arange(len(sound)) / RATE)
    return float(2 * abs((sound[:, 0] * carrier).mean())) if len(sound) else 0.0


def stretches(sound: Samples) -> list[tuple[int, int]]:
    """Where there is sound, to 2.5 ms; pauses below 15 ms do not count."""
    blocks = np.abs(sound[: len(sound) // 120 * 120, 0]).reshape(-1, 120).max(axis=1) > 0.02
    found: list[list[int]] = []
    for block in np.flatnonzero(blocks):
        if found and block * 120 - found[-1][1] < 720:
            found[-1][1] = int(block + 1) * 120
        else:
            found.append([int(block) * 120, int(block + 1) * 120])
    return [(first, last) for first, last in found if last - first > 480]


def assert_heard(sound: Samples, expected: list[tuple[float, float]], hertz: float) -> None:
    """Sound of that pitch and no other, at these times (seconds), each to within 20 ms."""
    found = stretches(sound)
    assert len(found) == len(expected), f"{found} instead of {expected}"
    for (first, last), (start, end) in zip(found, expected, strict=True):
        assert abs(first - ENCODER_DELAY_SAMPLES - start * RATE) <= TWENTY_MS, f"{first} instead of {start * RATE}"
        assert abs(last - ENCODER_DELAY_SAMPLES - end * RATE) <= TWENTY_MS, f"{last} instead of {end * RATE}"
        inside = sound[first + 1200 : last - 1200]
        for window in np.array_split(inside, max(1, len(inside) // 4800)):
            assert level(window, hertz) > 0.2


def balanced(live: LiveCapture) -> None:
    """Every packet is counted once."""
    live.ledger.check()
    assert all(tally >= 0 for tally in (live.ledger.counts().stored, *live.ledger.counts().dropped.values()))
