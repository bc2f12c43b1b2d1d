"""Chunk files that a killed process left unsealed: how much audio is in them. Everything here blocks."""

import dataclasses
from pathlib import Path

from discord_recorder.audio.opus_reader import read_ogg_opus
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.errors import OggError
from discord_recorder.recording.tracks.chunk_file import JOURNAL, OPUS, PCM, ChunkPlace, ClosedChunk


def left_chunk(path: Path, place: ChunkPlace, *, recorded_until: int) -> ClosedChunk | None:
    """The chunk that a file holds; None, and the file is removed, when it holds no audio.

    A torn sample or page at its end is passed over. A journal becomes a chunk of what it holds from `recorded_until`
    on: before that, the handler class's own audio is there.
    """
    end = place.start_sample + _pcm_samples(path, place) if place.suffix == PCM else _opus_end(path)
    start = max(place.start_sample, recorded_until) if place.suffix == JOURNAL else place.start_sample
    if end <= start:
        path.unlink()
        return None
    if place.suffix == JOURNAL:
        place = dataclasses.replace(place, start_sample=start, suffix=OPUS)
        path = path.rename(path.with_name(place.file_name))
    return ClosedChunk(path=path, place=place, sample_count=end - start)


def _pcm_samples(path: Path, place: ChunkPlace) -> int:
    return path.stat().st_size // SAMPLE_BYTES - place.preroll_samples


def _opus_end(path: Path) -> int:
    """Session time at which the last whole page ends."""
    try:
        return read_ogg_opus(path.read_bytes()).end_sample
    except OggError:
        return 0
