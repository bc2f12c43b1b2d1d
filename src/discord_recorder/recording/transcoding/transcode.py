"""The transcode of chunks: source PCM or Opus in, spliceable MP3 and the stretches of sound out, files before rows."""

import asyncio
import dataclasses
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from discord_recorder.audio.encode import ChunkPcm, encode_chunks
from discord_recorder.audio.loudness import measure_loudness
from discord_recorder.audio.opus_chunk import decode_chunk
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.audio.silence import sounding
from discord_recorder.errors import FfmpegError, OggError
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.masters import has_opus
from discord_recorder.recording.tracks.chunk_file import OPUS
from discord_recorder.recording.transcoding.queue import Transcoded
from discord_recorder.storage.files import sync_folder, write_durably
from discord_recorder.storage.records import Chunk
from discord_recorder.storage.stretches import Stretches

log = logging.getLogger(__name__)

MASTER_PCM = "master.pcm"
"""The growing lossless file of a track, where one is kept: every chunk's audio at its place, holes between."""


class _Source(NamedTuple):
    """A chunk's audio, and where there is any."""

    pcm: ChunkPcm
    stretches: Stretches


class SourceMissingError(Exception):
    """A chunk's source is gone or too short; no further try can help."""


class Transcoder:
    """Encodes claimed chunks, several in one FFmpeg run."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def transcode(self, batch: Sequence[Chunk]) -> list[Transcoded]:
        """Write the MP3 of each chunk and give what is to be stored of it, in order.

        Raises `SourceMissingError`, `FfmpegError` or `OSError`; a file that was written before is simply replaced by
        the next try.
        """
        sources = await asyncio.to_thread(self._read_sources, batch)
        async with self._context.encoders:
            quality = self._context.settings.mp3_quality
            encoded = await encode_chunks(self._context.ffmpeg, [source.pcm for source in sources], quality=quality)
            stretches = await self._measured(sources)
        files = [
            (self._context.temp_file(chunk.mp3_key), mp3.frames) for chunk, mp3 in zip(batch, encoded, strict=True)
        ]
        hashes = await asyncio.to_thread(_write_all, files)
        return [Transcoded(sha256=sha256, stretches=found) for sha256, found in zip(hashes, stretches, strict=True)]

    async def _measured(self, sources: Sequence[_Source]) -> list[Stretches]:
        """The sources' stretches, with their loudness where speakers are levelled; it fails no transcode."""
        stretches = [source.stretches for source in sources]
        if not self._context.settings.level_mix:
            return stretches
        try:
            loudness = await measure_loudness(self._context.ffmpeg, [source.pcm for source in sources])
        except FfmpegError:
            log.exception("The loudness of chunks could not be measured; their speakers keep the gain they have")
            return stretches
        return [
            dataclasses.replace(found, loudness=measured.blocks, peak_dbfs=measured.peak_dbfs)
            for found, measured in zip(stretches, loudness, strict=True)
        ]

    def delete_sources(self, batch: Sequence[Chunk]) -> list[Chunk]:
        """Delete the sources of DONE chunks; gives those whose source is gone. Call from a thread.

        Where Opus is kept, it stays until promotion: of it, masters are made again.
        """
        gone = []
        for chunk in batch:
            if self._context.settings.keep_opus and has_opus(chunk):
                continue
            try:
                self._context.temp_file(chunk.source_key).unlink(missing_ok=True)
            except OSError:  # the cleanup will name the file and try again
                continue
            gone.append(chunk)
        return gone

    def _read_sources(self, batch: Sequence[Chunk]) -> list[_Source]:
        return [self._read_source(chunk) for chunk in batch]

    def _read_source(self, chunk: Chunk) -> _Source:
        path = self._context.temp_file(chunk.source_key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise SourceMissingError(f"its source {path} is gone") from None
        source = _decoded(chunk, path, data) if path.suffix == OPUS else _pushed(chunk, path, data)
        if self._context.settings.keep_master:
            master = self._context.track_folder(chunk.meeting_id, chunk.track) / MASTER_PCM
            _write_at(master, chunk.start_sample * SAMPLE_BYTES, _own_pcm(source.pcm))
        return source


def _own_pcm(pcm: ChunkPcm) -> memoryview:
    """A chunk's PCM without its pre-roll."""
    return memoryview(pcm.pcm)[pcm.preroll_samples * SAMPLE_BYTES :]


def _pushed(chunk: Chunk, path: Path, data: bytes) -> _Source:
    """A chunk of pushed audio: the file is its PCM."""
    expected = (chunk.preroll_samples + chunk.sample_count) * SAMPLE_BYTES
    if len(data) < expected:
        raise SourceMissingError(f"its source {path} has {len(data)} bytes instead of {expected}")
    pcm = ChunkPcm(pcm=data[:expected], start_sample=chunk.start_sample, preroll_samples=chunk.preroll_samples)
    return _Source(pcm, Stretches(heard=sounding(_own_pcm(pcm), chunk.start_sample)))


def _decoded(chunk: Chunk, path: Path, data: bytes) -> _Source:
    """A chunk of a live call: Ogg Opus, gaps and all."""
    try:
        decoded = decode_chunk(data, start_sample=chunk.start_sample, sample_count=chunk.sample_count)
    except OggError as error:
        raise SourceMissingError(f"its source {path} holds no audio: {error}") from None
    if decoded.corrupt_packets or decoded.dropped_bytes:
        log.warning(
            "Parts of a chunk could not be decoded; they are silent",
            extra={
                "chunk": chunk.id,
                "meeting": chunk.meeting_id,
                "corrupt_packets": decoded.corrupt_packets,
                "damaged_bytes": decoded.dropped_bytes,
            },
        )
    found = Stretches(heard=decoded.heard, lost=decoded.lost, concealed_samples=decoded.concealed_samples)
    return _Source(decoded.pcm, found)


def _write_all(files: Sequence[tuple[Path, bytes]]) -> list[str]:
    for path, frames in files:
        write_durably(path, frames)
    for folder in {path.parent for path, _ in files}:
        sync_folder(folder)
    return [hashlib.sha256(frames).hexdigest() for _, frames in files]


def _write_at(path: Path, offset: int, data: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while data:
            written = os.pwrite(descriptor, data, offset)
            offset, data = offset + written, data[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
