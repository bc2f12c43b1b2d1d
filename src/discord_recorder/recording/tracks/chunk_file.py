"""The files of chunks, which tell by their names where they belong, and the raw PCM of pushed audio in them.

Audio is written as it comes, so that a killed process loses nothing that was accepted. The name holds all that is
needed to place the file when no row names it yet (`temp/MEETING/TRACK/START-PREROLL.pcm`, both in samples). Opus files
(`opus_file`) are named in the same way.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.storage.files import sync_file

PCM: Final = ".pcm"
"""A chunk of pushed audio."""

OPUS: Final = ".ogg"
"""A chunk of a live call: Opus as it was received."""

JOURNAL: Final = ".journal"
"""Opus as it was received, kept until the handler class's own audio of that time is stored; of a chunk's form."""

_NAME: Final = re.compile(r"(?P<start>\d{12})-(?P<preroll>\d{1,6})(?P<suffix>\.(?:pcm|ogg|journal))", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPlace:
    """Where a chunk file's audio belongs: session time of its first sample, and how much pre-roll comes before."""

    start_sample: int
    preroll_samples: int
    suffix: str = PCM

    @property
    def file_name(self) -> str:
        """The name that says it."""
        return f"{self.start_sample:012d}-{self.preroll_samples}{self.suffix}"

    @classmethod
    def of_file(cls, path: Path) -> "ChunkPlace | None":
        """What a file's name says; None when it is no chunk file."""
        match = _NAME.fullmatch(path.name)
        return match and cls(
            start_sample=int(match["start"]), preroll_samples=int(match["preroll"]), suffix=match["suffix"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedChunk:
    """A chunk that takes no more audio; `settle` brings its bytes to the disk."""

    path: Path
    place: ChunkPlace
    sample_count: int
    accepted_bytes: int = 0
    """What was pushed or received of it; the rest is silence in between."""
    descriptor: int | None = None
    """The open file, where this process wrote it."""

    def settle(self) -> None:
        """Wait until the bytes are on the disk, and close the file; call once, from a thread."""
        if self.descriptor is None:
            sync_file(self.path)
            return
        try:
            os.fsync(self.descriptor)
        finally:
            os.close(self.descriptor)

    def discard(self) -> None:
        """Remove a chunk that holds no audio."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        self.path.unlink(missing_ok=True)


class OpenChunk:
    """The chunk file that a track is writing; raises `OSError` when the disk does not take a write."""

    def __init__(self, folder: Path, place: ChunkPlace, preroll: bytes, *, opened_at: float) -> None:
        self.place = place
        self.sample_count = 0
        self.accepted_bytes = 0
        self.opened_at = opened_at
        self.path = folder / place.file_name
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._base = len(preroll)
        self._dirty = True
        try:
            self._write_at(0, preroll)
        except OSError:
            os.close(self._descriptor)
            self.path.unlink(missing_ok=True)
            raise

    def append(self, pcm: memoryview) -> None:
        """Write whole samples after what is there; after a failed write the chunk is as it was before."""
        self._write_at(self._base + self.sample_count * SAMPLE_BYTES, pcm)
        self.sample_count += len(pcm) // SAMPLE_BYTES
        self.accepted_bytes += len(pcm)

    def append_silence(self, samples: int) -> None:
        """Lengthen the chunk by a hole, which reads as zeros and takes no room."""
        self._dirty = True
        os.ftruncate(self._descriptor, self._base + (self.sample_count + samples) * SAMPLE_BYTES)
        self.sample_count += samples

    def tail(self, most_bytes: int) -> bytes:
        """The last bytes of the file, its pre-roll included; nothing when the disk does not give them back."""
        size = self._base + self.sample_count * SAMPLE_BYTES
        length = min(size, most_bytes)
        try:
            return os.pread(self._descriptor, length, size - length)
        except OSError:  # the audio is on its way to the disk all the same; only the seam suffers
            return b""

    def unsynced_descriptor(self) -> int | None:
        """A descriptor of its own for `sync_and_close`, None when nothing was written since the last one."""
        if not self._dirty:
            return None
        self._dirty = False
        return os.dup(self._descriptor)

    def close(self) -> ClosedChunk:
        """End the chunk; it has to be settled before a row names it."""
        return ClosedChunk(
            path=self.path,
            place=self.place,
            sample_count=self.sample_count,
            accepted_bytes=self.accepted_bytes,
            descriptor=self._descriptor,
        )

    def _write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._dirty = True
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                offset += written
                view = view[written:]
        except OSError:
            os.ftruncate(self._descriptor, self._base + self.sample_count * SAMPLE_BYTES)
            raise


def sync_and_close(descriptors: Iterable[int]) -> None:
    """Wait until the files' bytes are on the disk; call from a thread. Raises `OSError` after closing all."""
    failed: OSError | None = None
    for descriptor in descriptors:
        try:
            os.fsync(descriptor)
        except OSError as error:
            failed = error
        finally:
            os.close(descriptor)
    if failed:
        raise failed
