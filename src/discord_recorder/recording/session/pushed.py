"""What a caller pushes, checked."""

import math

from discord_recorder.audio.pcm import ms_to_samples
from discord_recorder.errors import InvalidAudioError


def checked_pcm(pcm: object) -> memoryview:
    """Pushed bytes, safe from later changes; raises `InvalidAudioError` for anything else."""
    if isinstance(pcm, (bytes, bytearray, memoryview)):
        try:
            return memoryview(bytes(pcm) if not isinstance(pcm, bytes) else pcm)
        except (BufferError, ValueError, NotImplementedError) as error:
            raise InvalidAudioError(f"The pushed memory cannot be read: {error}.") from error
    raise InvalidAudioError(
        f"Pushed audio is a {type(pcm).__name__}; it takes bytes: signed 16 bit little endian PCM, 48 kHz, stereo."
    )


def checked_place(at_ms: object) -> int | None:
    """Session time in samples, None for "where the track ends"; raises `InvalidAudioError`."""
    if at_ms is None:
        return None
    if isinstance(at_ms, (int, float)) and not isinstance(at_ms, bool) and 0 <= at_ms < math.inf:
        return ms_to_samples(at_ms)
    raise InvalidAudioError(f"at_ms={at_ms!r} is not a session time: it takes milliseconds from 0 on.")
