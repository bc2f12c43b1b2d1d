"""Short fades, so that pieces that are put together do not click. PCM is that of `pcm`.

A few milliseconds each, and only where something was lost or moved, so plain Python will do: 0.15 us a sample.
"""

from array import array

from discord_recorder.audio.pcm import SAMPLE_BYTES


def faded_out(pcm: bytes, samples: int) -> bytes:
    """PCM whose last samples, at most so many, go down to silence."""
    head, tail = _cut(pcm, len(pcm) - samples * SAMPLE_BYTES)
    return head + crossfaded(tail, bytes(len(tail)))


def faded_in(pcm: bytes, samples: int) -> bytes:
    """PCM whose first samples, at most so many, come up from silence."""
    head, tail = _cut(pcm, samples * SAMPLE_BYTES)
    return crossfaded(bytes(len(head)), head) + tail


def crossfaded(first: bytes, second: bytes) -> bytes:
    """From one PCM to another of the same length: begins like the first, ends like the second."""
    ours, theirs = array("h", first), array("h", second)
    length = len(ours)
    mixed = ((a * (length - at) + b * at) // length for at, (a, b) in enumerate(zip(ours, theirs, strict=True)))
    return array("h", mixed).tobytes()


def _cut(pcm: bytes, at_byte: int) -> tuple[bytes, bytes]:
    return pcm[: max(0, at_byte)], pcm[max(0, at_byte) :]
