"""MP3 that is made once and given again for audio that repeats, so that hours need not be encoded to be stopped.

This prepares what stands before the measured part of `stop`. Sources, rows, jobs, MP3 files, splicing and the windows
of the mix are the product's own, as many and as large as ever; only the encoder's work is remembered. A chunk gets what
the same audio was encoded to before, a window of the mix what another window of the same talk was.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from discord_recorder.audio.encode import ChunkPcm, EncodedChunk, encode_chunks
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.mix import FrameSource, mix_frames
from discord_recorder.audio.mp3 import FRAME_SAMPLES, determined_frames
from discord_recorder.recording.finishing import assembly
from discord_recorder.recording.transcoding import transcode

_WINDOWS = 6
"""How many windows of the mix are made before they are given again."""


class Replay:
    """Stands between the product and its encoder; use `active` for the part of a run that may be replayed."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[object, ...], bytes] = {}
        self._windows: list[bytes] = []
        self._given = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """Replay what is encoded while this is entered."""
        with (
            mock.patch.object(transcode, "encode_chunks", self._encode_chunks),
            mock.patch.object(assembly, "mix_frames", self._mix_frames),
        ):
            yield

    async def _encode_chunks(self, ffmpeg: Ffmpeg, batch: Sequence[ChunkPcm], **options: Any) -> list[EncodedChunk]:
        keys = [_key(chunk) for chunk in batch]
        new = {key: chunk for key, chunk in zip(keys, batch, strict=True) if key not in self._chunks}
        for key, made in zip(new, await encode_chunks(ffmpeg, list(new.values()), **options), strict=True):
            self._chunks[key] = made.frames
        return [
            EncodedChunk(first_frame=determined_frames(chunk.start_sample), frames=self._chunks[key])
            for key, chunk in zip(keys, batch, strict=True)
        ]

    async def _mix_frames(
        self, ffmpeg: Ffmpeg, sources: Sequence[FrameSource], *, first_frame: int, last_frame: int, **options: Any
    ) -> bytes:
        if first_frame == 0 or len(self._windows) < _WINDOWS:  # the first one alone has no frames before it
            made = await mix_frames(ffmpeg, sources, first_frame=first_frame, last_frame=last_frame, **options)
            if first_frame:
                self._windows.append(made)
            return made
        self._given += 1
        return self._windows[self._given % _WINDOWS]


def _key(chunk: ChunkPcm) -> tuple[object, ...]:
    """What the frames of a chunk depend on: its audio, and how it lies on the grid of frames."""
    digest = hashlib.blake2b(chunk.pcm, digest_size=16).digest()
    return digest, chunk.start_sample % FRAME_SAMPLES, chunk.preroll_samples, chunk.start_sample < FRAME_SAMPLES
