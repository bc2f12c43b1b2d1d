"""The one PCM format of the recorder: signed 16 bit little endian, 48 kHz, stereo, interleaved.

"Sample" always means one instant of both channels (4 bytes), so samples are a measure of time.
"""

from typing import Final

SAMPLE_RATE: Final = 48_000
"""Samples a second; what Discord's Opus streams decode to (RFC 7587)."""

CHANNELS: Final = 2

SAMPLE_BYTES: Final = 2 * CHANNELS
"""Bytes of one instant: two channels of 16 bit."""

SAMPLES_PER_MS: Final = SAMPLE_RATE // 1000


def ms_to_samples(ms: float) -> int:
    """The sample nearest to `ms` milliseconds."""
    return round(ms * SAMPLES_PER_MS)


def seconds_to_samples(seconds: float) -> int:
    """The sample nearest to `seconds`."""
    return round(seconds * SAMPLE_RATE)


def samples_to_ms(samples: int) -> int:
    """Length of `samples` in whole milliseconds, rounded to the nearest."""
    return (samples + SAMPLES_PER_MS // 2) // SAMPLES_PER_MS


def is_silence(pcm: bytes | bytearray | memoryview) -> bool:
    """True when every byte is zero (digital silence); an empty buffer is silence."""
    data = pcm if isinstance(pcm, (bytes, bytearray)) else bytes(pcm)
    return data.count(0) == len(data)
