"""Short fades, so that pieces that are put together do not click. PCM is that of `pcm`.

A few milliseconds each, and only where something was lost or moved, so plain Python will do: 0.15 us a sample.
"""

from array import array

from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES


def faded_out(pcm: bytes, start_sample: int, end_sample: int) -> bytes:
    """PCM as it is up to `start_sample`, and silent from `end_sample` on; it may end anywhere."""
    head, rest = pcm[: start_sample * SAMPLE_BYTES], array("h", pcm[start_sample * SAMPLE_BYTES :])
    length = (end_sample - start_sample) * CHANNELS
    faded = array("h", (value * max(0, length - at) // length for at, value in enumerate(rest)))
    return head + faded.tobytes()


def crossfaded(first: bytes, second: bytes) -> bytes:
    """From one PCM to another of the same length: begins like the first, ends like the second."""
    ours, theirs = array("h", first), array("h", second)
    length = len(ours)
    mixed = ((a * (length - at) + b * at) // length for at, (a, b) in enumerate(zip(ours, theirs, strict=True)))
    return array("h", mixed).tobytes()
