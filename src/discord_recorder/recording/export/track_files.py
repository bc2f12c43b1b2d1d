"""One track as a file of one format."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from discord_recorder.audio.ffmpeg import PCM_FORMAT, Ffmpeg
from discord_recorder.audio.id3 import id3v2_tag
from discord_recorder.audio.opus_tags import with_comments
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.audio.tags import Tags
from discord_recorder.audio.wav import wav_header
from discord_recorder.errors import FfmpegError, OggError, StorageError
from discord_recorder.recording.export.formats import ExportFormat
from discord_recorder.recording.export.new_files import write_blocks
from discord_recorder.recording.export.sources import Source, in_thread

Advance = Callable[[int], object]
"""Told of every so many samples of a track that are done."""

_ENCODERS: Final = {
    ExportFormat.FLAC: ("-c:a", "flac", "-f", "flac"),
    # Twice what Discord's clients send, for it is encoded for the second or third time.
    ExportFormat.OPUS: ("-c:a", "libopus", "-b:a", "128k", "-f", "opus"),
}


class TrackFileMaker:
    """Makes the files of a recording's tracks.

    Args:
        ffmpeg: called when FFmpeg is needed; may raise `FfmpegNotFoundError`.
        samples: length of the session, which files that are decoded get.
    """

    def __init__(self, ffmpeg: Callable[[], Ffmpeg], samples: int) -> None:
        self._ffmpeg = ffmpeg
        self._samples = samples

    async def make(
        self, source: Source, export_format: ExportFormat, tags: Tags, target: Path, advance: Advance
    ) -> None:
        """Write a file, over what is there.

        Args:
            source: the file that it is made from.
            export_format: what it becomes.
            tags: what it tells of itself; a WAV file tells nothing.
            target: where to write it.
            advance: told of every so many samples that are done.

        Raises:
            SourceError: the source is damaged or gone.
            StorageError: the target cannot be written.
            FfmpegError: FFmpeg could not be run, or did not do it.
        """
        await source.check()
        if is_copy(source, export_format):
            size = max(1, source.path.stat().st_size)
            blocks = in_thread(_COPIES[export_format](source, tags))
            await write_blocks(target, blocks, lambda count: advance(count * self._samples // size))
            return
        async with aclosing(source.pcm(self._ffmpeg, self._samples)) as pcm:
            if export_format is ExportFormat.WAV:
                header = wav_header(self._samples * SAMPLE_BYTES)
                await write_blocks(target, pcm, lambda count: advance(count // SAMPLE_BYTES), header=header)
            else:
                await self._encode(_counted(pcm, advance), export_format, tags, target)

    async def _encode(self, pcm: AsyncIterable[bytes], export_format: ExportFormat, tags: Tags, target: Path) -> None:
        told = [part for comment in tags.comments() for part in ("-metadata", comment)]
        output = (*told, *_ENCODERS[export_format], "-y", f"file:{target}")
        ffmpeg = self._ffmpeg()
        try:
            await ffmpeg.encode((*PCM_FORMAT, "-i", "pipe:0", *output), pcm)
        except FfmpegError as error:
            raise StorageError(f"no {export_format} file could be written in {target.parent}: {error}") from error


def is_copy(source: Source, export_format: ExportFormat) -> bool:
    """Whether a file of that format is what was recorded with tags, not encoded again."""
    return source.kind == export_format and export_format in _COPIES


async def _counted(pcm: AsyncIterable[bytes], advance: Advance) -> AsyncIterator[bytes]:
    async for block in pcm:
        yield block
        advance(len(block) // SAMPLE_BYTES)


def _tagged_mp3(source: Source, tags: Tags) -> Iterator[bytes]:
    yield id3v2_tag(tags)
    yield from source.blocks()


def _tagged_opus(source: Source, tags: Tags) -> Iterator[bytes]:
    try:
        with source.mapped() as data:
            yield from with_comments(data, tags.comments())
    except OggError as error:
        raise source.damaged(error) from error


_COPIES: Final = {ExportFormat.MP3: _tagged_mp3, ExportFormat.OPUS: _tagged_opus}
