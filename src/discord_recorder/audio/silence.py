"""Where PCM is digital silence for so long that it counts as a gap."""

from typing import Final

from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLES_PER_MS

SHORTEST_SILENCE_SAMPLES: Final = 20 * SAMPLES_PER_MS
"""20 ms, the length of a packet: shorter runs of zeros are part of the sound."""

_BLOCK_BYTES: Final = SHORTEST_SILENCE_SAMPLES * SAMPLE_BYTES // 2
_SILENT_BLOCK: Final = bytes(_BLOCK_BYTES)
"""Every silence that counts holds one whole block of this size, wherever it begins."""


def sounding(pcm: bytes | memoryview, start_sample: int) -> list[tuple[int, int]]:
    """The stretches of `pcm` (s16le, stereo) between its silences, as `[start, end)` in samples of its track.

    Blocks for 0.1 to 0.3 ms for 10 s.

    Args:
        pcm: whole samples.
        start_sample: where on the track they begin.
    """
    data = bytes(pcm)
    found = []
    sounds_from = 0
    for begins, ends in _silences(data):
        if begins > sounds_from:
            found.append((start_sample + sounds_from, start_sample + begins))
        sounds_from = ends
    if (end := len(data) // SAMPLE_BYTES) > sounds_from:
        found.append((start_sample + sounds_from, start_sample + end))
    return found


def _silences(data: bytes) -> list[tuple[int, int]]:
    silences = []
    at = 0
    while at < len(data):
        if not data.startswith(_SILENT_BLOCK, at):
            at += _BLOCK_BYTES
            continue
        before = data[max(0, at - _BLOCK_BYTES) : at]
        begins = at - (len(before) - len(before.rstrip(b"\0"))) // SAMPLE_BYTES * SAMPLE_BYTES
        while data.startswith(_SILENT_BLOCK, at):
            at += _BLOCK_BYTES
        after = data[at : at + _BLOCK_BYTES]
        ends = at + (len(after) - len(after.lstrip(b"\0"))) // SAMPLE_BYTES * SAMPLE_BYTES
        if ends - begins >= SHORTEST_SILENCE_SAMPLES * SAMPLE_BYTES:
            silences.append((begins // SAMPLE_BYTES, ends // SAMPLE_BYTES))
        at += _BLOCK_BYTES
    return silences
