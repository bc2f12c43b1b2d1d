"""Files that a track can be exported from, best first, and their sound as PCM of exactly the session's length."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.opus_playback import master_pcm
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.errors import NotAudioError, OggError, StorageError
from discord_recorder.recording.export.formats import ExportFormat
from discord_recorder.recording.export.material import Material
from discord_recorder.storage.files import RecordingStore
from discord_recorder.storage.records import RecordingTrack

_BLOCK_BYTES: Final = 1024 * 1024
_SILENCE: Final = bytes(SAMPLE_RATE * SAMPLE_BYTES)


class SourceError(StorageError):
    """A recorded file is damaged or gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One recorded file of a track; `sha256` as it was when it was recorded, where that is known."""

    path: Path
    sha256: str | None

    @property
    def kind(self) -> str:
        """Its format: `mp3`, `opus`, `flac` or `wav`."""
        return self.path.suffix.removeprefix(".")

    async def check(self) -> None:
        """Read all of it; raises `SourceError` unless it is what was recorded."""
        try:
            found = await asyncio.to_thread(_sha256, self.path)
        except FileNotFoundError:
            raise SourceError(f"{self.path} is gone. Get it back from a backup.") from None
        except OSError as error:
            raise self._unreadable(error) from error
        if self.sha256 not in (None, found):
            raise self.damaged(f"its SHA-256 is {found}, and was {self.sha256} when it was recorded")

    def blocks(self) -> Iterator[bytes]:
        """Its bytes; raises `SourceError`."""
        try:
            with self.path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
        except OSError as error:
            raise self._unreadable(error) from error

    def mapped(self) -> mmap:
        """All of it as memory; raises `SourceError`."""
        try:
            with self.path.open("rb") as file:
                return mmap(file.fileno(), 0, access=ACCESS_READ)
        except OSError as error:
            raise self._unreadable(error) from error
        except ValueError as error:
            raise self.damaged("it is empty") from error

    def damaged(self, reason: object) -> SourceError:
        """The error that says so."""
        return SourceError(f"{self.path} is damaged: {reason}. Get that file back from a backup.")

    async def pcm(self, ffmpeg: Callable[[], Ffmpeg], samples: int) -> AsyncGenerator[bytes, None]:
        """Its sound, s16le, 48 kHz, stereo, made exactly so long.

        Args:
            ffmpeg: called where FFmpeg is needed.
            samples: the length.

        Raises:
            SourceError: it is damaged.
            FfmpegError: as `Ffmpeg.decode`.
        """
        decoding = in_thread(self._opus_pcm()) if self.kind == ExportFormat.OPUS else ffmpeg().decode(self.path)
        left = samples * SAMPLE_BYTES
        async with aclosing(decoding) as blocks:
            try:
                async for block in blocks:
                    if left <= 0:
                        break
                    yield block[:left]
                    left -= len(block)
            except (NotAudioError, OggError) as error:
                raise self.damaged(error) from error
        while left > 0:
            yield _SILENCE[:left]
            left -= len(_SILENCE)

    def _opus_pcm(self) -> Iterator[bytes]:
        with self.mapped() as data:
            yield from master_pcm(data)

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(f"{self.path} cannot be read: {error.strerror}.")


def sources_of(
    material: Material, track: RecordingTrack, store: RecordingStore, export_format: ExportFormat
) -> list[Source]:
    """What a file of that format can be made from, best first. Blocks, where the store is elsewhere."""
    mp3 = Source(path=store.local_file(track.key), sha256=track.sha256)
    if export_format is ExportFormat.MP3 or track.master_key is None:
        return [mp3]
    master = Source(path=store.local_file(track.master_key), sha256=material.master_sha256(track.track))
    return [master, mp3]


async def in_thread(blocks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """What an iterator that blocks gives."""
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
