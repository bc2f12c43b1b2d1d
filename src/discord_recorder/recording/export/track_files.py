"""One track as a file of one format."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
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
from discord_recorder.recording.export.sources import Source, SourceError, in_thread, mapped

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
        if source.kind == export_format and export_format is ExportFormat.MP3:
            await write_blocks(target, self._counted(_behind(id3v2_tag(tags), source.blocks()), source, advance))
        elif source.kind == export_format and export_format is ExportFormat.OPUS:
            blocks = in_thread(_tagged_opus(source.path, tags))
            await write_blocks(target, self._counted(blocks, source, advance))
        else:
            async with aclosing(self._pcm(source, advance)) as pcm:
                if export_format is ExportFormat.WAV:
                    await write_blocks(target, _behind(wav_header(self._samples * SAMPLE_BYTES), pcm))
                else:
                    await self._encode(pcm, export_format, tags, target)

    async def _encode(self, pcm: AsyncIterable[bytes], export_format: ExportFormat, tags: Tags, target: Path) -> None:
        told = [part for comment in tags.comments() for part in ("-metadata", comment)]
        output = (*told, *_ENCODERS[export_format], "-y", f"file:{target}")
        ffmpeg = self._ffmpeg()
        try:
            await ffmpeg.encode((*PCM_FORMAT, "-i", "pipe:0", *output), pcm)
        except FfmpegError as error:
            raise StorageError(f"no {export_format} file could be written in {target.parent}: {error}") from error

    async def _pcm(self, source: Source, advance: Advance) -> AsyncGenerator[bytes, None]:
        async with aclosing(source.pcm(self._ffmpeg, self._samples)) as blocks:
            async for block in blocks:
                yield block
                advance(len(block) // SAMPLE_BYTES)

    async def _counted(self, blocks: AsyncIterable[bytes], source: Source, advance: Advance) -> AsyncIterator[bytes]:
        """A copy's blocks; each counts as its part of the track."""
        size = max(1, source.path.stat().st_size)
        async for block in blocks:
            yield block
            advance(len(block) * self._samples // size)


async def _behind(head: bytes, blocks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for block in blocks:
        yield block


def _tagged_opus(path: Path, tags: Tags) -> Iterator[bytes]:
    try:
        with mapped(path) as data:
            yield from with_comments(data, tags.comments())
    except OggError as error:
        raise SourceError(f"{path} is damaged: {error}. Get that file back from a backup.") from error
