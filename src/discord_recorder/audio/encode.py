"""PCM chunks to MP3 frames that join without a seam, many chunks in one FFmpeg run.

Every chunk is laid on its track's frame grid, with pre-roll in front so that the encoder has settled when the chunk's
own frames begin. Which frames those are follows from the samples alone (`determined_frames`): neighbours computed apart
agree. What a chunk's last frames would need to know of its successor is taken as silence; the successor overrides them.
"""

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from discord_recorder.audio.dual_mono import NoRoomError, channel_of, in_both_channels, to_stereo
from discord_recorder.audio.ffmpeg import MONO_PCM_FORMAT, PCM_FORMAT, PIPE_OUTPUT, Ffmpeg
from discord_recorder.audio.mp3 import FRAME_SAMPLES, PREROLL_SAMPLES, determined_frames, frame_count, split_frames
from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES
from discord_recorder.audio.spans import Span, frames_of, lay_out, spans_of
from discord_recorder.errors import InvalidAudioError

DEFAULT_QUALITY: Final = 4
"""LAME's VBR V4: about 85 kbit/s for speech, and 0.6 of the CPU of 128 kbit/s CBR."""

_BLOCK_BYTES: Final = FRAME_SAMPLES * SAMPLE_BYTES
_SILENT_BLOCK: Final = bytes(_BLOCK_BYTES)
_INPUTS: Final = {1: MONO_PCM_FORMAT, CHANNELS: PCM_FORMAT}


def encoder_output(quality: int) -> tuple[str, ...]:
    """FFmpeg's output options for self-contained frames and nothing else, to stdout.

    Args:
        quality: LAME's VBR quality, 0 (best) to 9.
    """
    encoder = ("-c:a", "libmp3lame", "-q:a", str(quality), "-reservoir", "0")
    return (*encoder, "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3", *PIPE_OUTPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPcm:
    """A chunk's audio and what stood before it.

    Args:
        pcm: s16le, 48 kHz, stereo; first the pre-roll, then the chunk.
        start_sample: where on the track the chunk itself begins.
        preroll_samples: how much of `pcm` comes before that; up to `PREROLL_SAMPLES` are used. Before it the track is
            taken as silent, so less is right at a track's beginning or after a gap only.

    Raises:
        InvalidAudioError: `pcm` is not whole samples, or the pre-roll is longer than it or than what came before.
    """

    pcm: bytes
    start_sample: int
    preroll_samples: int

    def __post_init__(self) -> None:
        samples, rest = divmod(len(self.pcm), SAMPLE_BYTES)
        if rest:
            raise InvalidAudioError(f"{len(self.pcm)} bytes are no whole number of samples of {SAMPLE_BYTES} bytes")
        if not 0 <= self.preroll_samples <= min(samples, self.start_sample):
            raise InvalidAudioError(
                f"a pre-roll of {self.preroll_samples} samples does not fit {samples} samples at {self.start_sample}"
            )

    @property
    def end_sample(self) -> int:
        """Where on the track the chunk ends."""
        return self.start_sample - self.preroll_samples + len(self.pcm) // SAMPLE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk:
    """A chunk's MP3 frames, back to back, and the number of the first one on its track's grid.

    They reach to the chunk's end and its decoding delay: the last ones as if silence followed.
    """

    first_frame: int
    frames: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What of a chunk has to be encoded: its spans of sound, each with its PCM (the span's silent blocks included)."""

    first_frame: int
    last_frame: int
    channels: int
    """Of the PCM: one when the chunk's two channels are the same."""
    spans: list[tuple[Span, bytes]]

    @classmethod
    def of(cls, chunk: ChunkPcm) -> Self:
        first_frame = determined_frames(chunk.start_sample)
        first_block, pcm = _on_grid(chunk)
        sound = [
            first_block + number
            for number in range(len(pcm) // _BLOCK_BYTES)
            if not pcm.startswith(_SILENT_BLOCK, number * _BLOCK_BYTES)
        ]
        heard = [span for span in spans_of(sound) if span.last > first_frame]
        stereo = [(span, _cut_out(pcm, span, first_block)) for span in heard]
        mono = [(span, channel) for span, both in stereo if (channel := channel_of(both)) is not None]
        equal = len(mono) == len(stereo)
        return cls(
            first_frame=first_frame,
            last_frame=frame_count(chunk.end_sample),
            channels=1 if equal else CHANNELS,
            spans=mono if equal else stereo,
        )

    def with_channels(self, channels: int) -> Self:
        """The same for an encoder of that many channels, at least its own."""
        if channels == self.channels:
            return self
        spans = [(span, in_both_channels(pcm)) for span, pcm in self.spans]
        return dataclasses.replace(self, channels=channels, spans=spans)

    def assemble(self, encoded: Iterator[bytes]) -> EncodedChunk | None:
        """Take the frames of this plan's spans, in their order, from `encoded`; None if they must be made in stereo."""
        pieces = [(span.first, frames_of(span, encoded)) for span, _ in self.spans]
        if self.channels == 1:
            try:
                pieces = [(first, [to_stereo(frame) for frame in frames]) for first, frames in pieces]
            except NoRoomError:
                return None
        return EncodedChunk(first_frame=self.first_frame, frames=lay_out(self.first_frame, self.last_frame, pieces))


async def encode_chunks(
    ffmpeg: Ffmpeg, chunks: Sequence[ChunkPcm], *, quality: int = DEFAULT_QUALITY
) -> list[EncodedChunk]:
    """The MP3 frames of each chunk, made in one run of FFmpeg for all in mono and one for all in true stereo.

    Chunks need not be of one track or in any order. The run has FFmpeg's usual time limit, so a batch should be a few
    minutes of audio at most.

    Args:
        ffmpeg: the program to run.
        chunks: what to encode.
        quality: LAME's VBR quality, 0 (best) to 9; the same for all chunks of a track.

    Raises:
        FfmpegError: as `Ffmpeg.run`.
        Mp3Error: FFmpeg gave something else than the frames asked for.
    """
    plans = await asyncio.to_thread(lambda: [_Plan.of(chunk) for chunk in chunks])
    encoded: dict[int, EncodedChunk] = {}
    for channels, pcm_format in _INPUTS.items():
        due = {n: plan for n, plan in enumerate(plans) if plan.channels <= channels and n not in encoded}
        if not due:
            continue
        due = {n: plan.with_channels(channels) for n, plan in due.items()}
        pcm = b"".join(block for plan in due.values() for _, block in plan.spans)
        mp3 = await ffmpeg.run((*pcm_format, "-i", "pipe:0", *encoder_output(quality)), stdin=pcm) if pcm else b""
        encoded |= await asyncio.to_thread(_assemble, due, mp3)
    return [encoded[n] for n in range(len(plans))]


def _assemble(plans: Mapping[int, _Plan], mp3: bytes) -> dict[int, EncodedChunk]:
    frames = iter(split_frames(mp3))
    assembled = {n: plan.assemble(frames) for n, plan in plans.items()}
    return {n: chunk for n, chunk in assembled.items() if chunk is not None}


def _on_grid(chunk: ChunkPcm) -> tuple[int, bytes]:
    """The chunk's PCM with its pre-roll as whole blocks, and the number of the first one."""
    pcm_start = chunk.start_sample - chunk.preroll_samples
    first_block = max(0, -(-(chunk.start_sample - PREROLL_SAMPLES) // FRAME_SAMPLES))
    offset = (first_block * FRAME_SAMPLES - pcm_start) * SAMPLE_BYTES
    pcm = chunk.pcm[offset:] if offset >= 0 else bytes(-offset) + chunk.pcm
    return first_block, pcm + bytes(-len(pcm) % _BLOCK_BYTES)


def _cut_out(pcm: bytes, span: Span, first_block: int) -> bytes:
    """The span's PCM from `pcm`, which begins at `first_block`; what is not in there is silence."""
    start, end = (span.first - first_block) * _BLOCK_BYTES, (span.last - first_block) * _BLOCK_BYTES
    return (bytes(max(0, -start)) + pcm[max(0, start) : end]).ljust(end - start, b"\0")
