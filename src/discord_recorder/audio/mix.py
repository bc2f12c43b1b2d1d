"""The mix of several tracks, window by window, on the tracks' own frame grid and made from their MP3 frames.

Windows made apart join like chunks do. Where nobody speaks nothing is decoded or encoded, and where only one speaker is
heard between two silences, that speaker's frames are the mix as they are (see `_Window.of`). A track can be made louder
or softer frame by frame, which costs no decoding either (`LevelledTrack`).
"""

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, Protocol, Self

from discord_recorder.audio.dual_mono import NoRoomError, is_dual_mono, to_mono, to_stereo
from discord_recorder.audio.encode import DEFAULT_QUALITY, encoder_output
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.framefile import storage_errors
from discord_recorder.audio.levelling import GainLine
from discord_recorder.audio.mp3 import (
    DELAY_SAMPLES,
    FRAME_SAMPLES,
    PREROLL_SAMPLES,
    SILENT_FRAME,
    is_silent,
    split_frames,
)
from discord_recorder.audio.spans import KEEP_BLOCKS, Span, frames_of, lay_out, spans_of

_FRAMES_BEFORE: Final = -(-PREROLL_SAMPLES // FRAME_SAMPLES) + 3
"""The encoder's pre-roll, a frame because blocks lie between frames, and two for the decoders to settle."""

_FRAMES_AFTER: Final = 2 * KEEP_BLOCKS
"""The encoder's look-ahead (3 blocks) and what shows whether sound goes on across the window's end."""

_LIMIT: Final = 10 ** (-2 / 20)
"""-2 dBFS: what the limiter lets through untouched. MP3 adds to that, 1.1 dB where shouts were clipped when recorded,
and beyond full scale players clip; only hiss of full scale would need 4 dB more."""

_LIMITER: Final = f"alimiter=limit={_LIMIT:.6f}:attack=5:release=50:level=disabled:latency=1"

_LEAD_SAMPLES: Final = FRAME_SAMPLES + DELAY_SAMPLES
"""What comes before the first block in every decoded input: one silent frame, and the coders' delay."""


class FrameSource(Protocol):
    """A track whose frames can be had by number: one that still grows, or a finished file."""

    def frames(self, first: int, last: int) -> list[bytes]:
        """The frames `first..last` (`last` not included), `SILENT_FRAME` where there is nothing; may block."""
        ...


@dataclass(frozen=True, slots=True)
class LevelledTrack:
    """A track whose frames are as loud as a gain line says."""

    source: FrameSource
    gains: GainLine

    def frames(self, first: int, last: int) -> list[bytes]:
        """As `FrameSource.frames`."""
        return self.gains.applied(first, self.source.frames(first, last))

    def may_clip(self, first: int, last: int) -> bool:
        """Whether those frames must not be heard without a limiter."""
        return self.gains.may_clip(first, last)


def needed_frames(first_frame: int, last_frame: int) -> tuple[int, int]:
    """The range of the sources' frames that the mix's frames `first..last` depend on (both `last` not included).

    A window can be mixed once every source's frames up to the range's end are final.
    """
    return max(0, first_frame - _FRAMES_BEFORE), last_frame + _FRAMES_AFTER


async def mix_frames(
    ffmpeg: Ffmpeg,
    sources: Sequence[FrameSource],
    *,
    first_frame: int,
    last_frame: int,
    quality: int = DEFAULT_QUALITY,
    scratch: Path | None = None,
) -> bytes:
    """The MP3 frames `first..last` (`last` not included) of the sum of `sources`, aligned with them to the sample.

    The sum is limited at -2 dBFS. No run of FFmpeg when no two sources have to be added. A window that
    is made again, because a source changed, has to be made with the same borders to join its neighbours.

    Args:
        ffmpeg: the program to run.
        sources: the tracks; they are read in a thread.
        first_frame: the first frame wanted.
        last_frame: the frame after the last one wanted.
        quality: LAME's VBR quality, 0 (best) to 9; the same for all windows of a mix.
        scratch: folder for a temporary folder of FFmpeg's inputs; the system's own by default.

    Raises:
        FfmpegError: as `Ffmpeg.run`.
        Mp3Error: FFmpeg gave something else than the frames asked for.
        StorageError: a source could not be read, or the folder not be written.
    """
    window = await asyncio.to_thread(_Window.of, sources, first_frame, last_frame)
    if not window.added:
        return await asyncio.to_thread(window.assemble, [])
    with tempfile.TemporaryDirectory(prefix="mix-", dir=scratch, ignore_cleanup_errors=True) as folder:
        try:
            mixed = await _mixed(ffmpeg, window, quality, Path(folder), mono=window.dual_mono)
        except NoRoomError:
            mixed = await _mixed(ffmpeg, window, quality, Path(folder), mono=False)
    return await asyncio.to_thread(window.assemble, mixed)


async def _mixed(ffmpeg: Ffmpeg, window: "_Window", quality: int, folder: Path, *, mono: bool) -> list[bytes]:
    """The frames of the spans where sources are added."""
    inputs = await asyncio.to_thread(window.write_inputs, folder, mono=mono)
    frames = split_frames(await ffmpeg.run((*_mixing(inputs), *encoder_output(quality))))
    return [to_stereo(frame) for frame in frames] if mono else frames


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """What a window is made of: the spans where sources are added, and the frames that are one source's own."""

    first: int
    last: int
    first_needed: int
    sources: list[list[bytes]]
    added: list[Span]
    copied: list[tuple[int, list[bytes]]]

    @property
    def dual_mono(self) -> bool:
        """Whether all that is added has two channels that are the same."""
        return all(map(is_dual_mono, chain.from_iterable(map(self._joined, self.sources))))

    @classmethod
    def of(cls, sources: Sequence[FrameSource], first: int, last: int) -> Self:
        """Read what the window depends on and decide how to make it.

        A span with one audible source is copied when it lies within the window. That joins without a seam: the span
        begins and ends with frames of digital silence in every source, so there the copied frames decode exactly as in
        their own track (no frame needs another's bits), and all that is encoded has died away. A span across one of
        the window's borders is encoded on both sides of it, from what both sides see alike (`needed_frames`).
        """
        low, high = needed_frames(first, last)
        sounding = [
            (source, frames) for source in sources if not all(map(is_silent, frames := source.frames(low, high)))
        ]
        heard = [frames for _, frames in sounding]
        active = [[not is_silent(frame) for frame in frames] for frames in heard]
        loud = [low + n for n, flags in enumerate(zip(*active, strict=True)) if any(flags)]
        added, copied = [], []
        for span in spans_of(_blocks_of(loud)):
            if span.last <= first or span.first >= last:
                continue
            start, end = max(span.first, low), min(span.last, high)
            here = [n for n, flags in enumerate(active) if any(flags[start - low : end - low])]
            alone = len(here) == 1 and not _may_clip(sounding[here[0]][0], start, end)
            if alone and first <= start and span.last <= last:
                copied.append((start, heard[here[0]][start - low : end - low]))
            else:
                added.append(Span(first=start, last=end))
        return cls(first=first, last=last, first_needed=low, sources=heard, added=added, copied=copied)

    def write_inputs(self, folder: Path, *, mono: bool) -> list[Path]:
        """Write one MP3 for each source that is heard where sources are added: those spans' frames, joined."""
        paths = []
        for number, frames in enumerate(self.sources):
            joined = self._joined(frames)
            if not all(map(is_silent, joined)):
                path = folder / f"{number}.mp3"
                padded = (SILENT_FRAME, *joined, SILENT_FRAME, SILENT_FRAME)
                with storage_errors("write", path):
                    path.write_bytes(b"".join(map(to_mono, padded) if mono else padded))
                paths.append(path)
        return paths

    def _joined(self, frames: Sequence[bytes]) -> list[bytes]:
        """A source's frames where sources are added."""
        first = self.first_needed
        return [frame for span in self.added for frame in frames[span.first - first : span.last - first]]

    def assemble(self, mixed: Iterable[bytes]) -> bytes:
        """Put the encoded spans and the copied ones in their places."""
        encoded = iter(mixed)
        pieces = [(span.first, frames_of(span, encoded)) for span in self.added]
        return lay_out(self.first, self.last, pieces + self.copied)


def _may_clip(source: FrameSource, first: int, last: int) -> bool:
    return isinstance(source, LevelledTrack) and source.may_clip(first, last)


def _blocks_of(loud: Sequence[int]) -> list[int]:
    """The blocks that frames with sound decode to: a frame's own and the one before it (see `DELAY_SAMPLES`)."""
    return sorted({block for frame in loud for block in (frame - 1, frame)})


def _mixing(inputs: Sequence[Path]) -> list[str]:
    """FFmpeg's arguments that decode `inputs`, add them and limit the sum, with block 0 at its very beginning."""
    arguments = [part for path in inputs for part in ("-threads", "1", "-f", "mp3", "-i", f"file:{path}")]
    graph = f"amix=inputs={len(inputs)}:normalize=0,atrim=start_sample={_LEAD_SAMPLES},asetpts=PTS-STARTPTS,{_LIMITER}"
    return [*arguments, "-filter_complex_threads", "1", "-filter_complex", graph]
