"""MP3 frames in a file, behind the room for their Info frame; any of them is found by its number in one small read."""

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final, Self

from discord_recorder.audio.mp3 import (
    INFO_FRAME_BYTES,
    SILENT_FRAME,
    TOC_ENTRIES,
    frame_count,
    frame_sizes,
    info_frame,
    info_samples,
    split_frames,
)
from discord_recorder.errors import Mp3Error, StorageError

_STRIDE: Final = 32
"""Every how many frames the byte offset is kept: 110 kB of memory for 3 hours, and 10 kB to read to find a frame."""

_SYNC_BYTES: Final = 4 * 1024 * 1024
"""How much may be written before it is synced, so that finishing need not wait for the disk to take a whole meeting."""

_LEAST_FRAMES: Final = 4
"""Of fewer, FFmpeg does not believe that they are MP3; of more, the Info frame could not say that all are padding."""

_BLOCK_FRAMES: Final = 4096
"""How many frames of silence, or of a copy, are in memory at once."""


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn what the system says about the file at `path` into a `StorageError` that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"could not {action} {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTrack:
    """A complete, synced MP3 file: its SHA-256 (hexadecimal), size, and the exact length that players hear."""

    path: Path
    sha256: str
    size_bytes: int
    samples: int


class FrameFile:
    """One MP3 file: frames `0..count` on a track's grid, at most one writer, no file handle kept.

    A write that fails half-way leaves the frames as they were: the next one goes to the same place again.
    All methods raise `StorageError` when the file cannot be written or read.
    """

    def __init__(self, path: Path) -> None:
        """Describe the file at `path` as empty; use `create` or `open`."""
        self.path = path
        self.count = 0
        self._bytes = 0
        self._marks = array("Q")  # byte offset, counted from frame 0, of every _STRIDE-th frame
        self._unsynced_bytes = 0

    @classmethod
    def create(cls, path: Path) -> Self:
        """An empty file, in place of what was at `path`."""
        with storage_errors("create", path):
            path.write_bytes(bytes(INFO_FRAME_BYTES))
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """A finished file of this recorder; reads through it once (0.1 s for 3 hours).

        Raises:
            Mp3Error: it is not such a file, or not all of it.
        """
        file = cls(path)
        with storage_errors("read", path), path.open("rb") as stream:
            expected = _frames_of(info_samples(stream.read(INFO_FRAME_BYTES)))
            with mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
                file._note(frame_sizes(data, INFO_FRAME_BYTES))
        if file.count != expected:
            raise Mp3Error(f"{path} has {file.count} frames instead of {expected}")
        return file

    @property
    def samples(self) -> int:
        """The exact length that a finished file's Info frame states."""
        with storage_errors("read", self.path), self.path.open("rb") as stream:
            return info_samples(stream.read(INFO_FRAME_BYTES))

    def frames(self, first: int, last: int) -> list[bytes]:
        """The frames `first..last` (`last` not included); silence beyond the end of the file."""
        end = min(last, self.count)
        if first >= end:
            return [SILENT_FRAME] * (last - first)
        mark = first // _STRIDE
        start_byte = self._marks[mark]
        next_mark = -(-end // _STRIDE)
        end_byte = self._marks[next_mark] if next_mark < len(self._marks) else self._bytes
        with storage_errors("read", self.path), self.path.open("rb") as stream:
            stream.seek(INFO_FRAME_BYTES + start_byte)
            data = stream.read(end_byte - start_byte)
        found = split_frames(data)[first - mark * _STRIDE : end - mark * _STRIDE]
        return found + [SILENT_FRAME] * (last - end)

    def append(self, frames: Sequence[bytes]) -> None:
        """Write `frames` behind the last one."""
        self._write(b"".join(frames))
        self._note([len(frame) for frame in frames])

    def append_silence(self, count: int) -> None:
        """Write `count` silent frames behind the last one."""
        for done in range(0, count, _BLOCK_FRAMES):
            block = min(_BLOCK_FRAMES, count - done)
            self._write(SILENT_FRAME * block)
            self._note([len(SILENT_FRAME)] * block)

    def cut(self, count: int) -> None:
        """Forget all frames from number `count` on."""
        self._bytes = self._offset(count)
        self.count = count
        del self._marks[-(-count // _STRIDE) :]

    def finish(self, samples: int) -> FinishedTrack:
        """Make it a recording of exactly `samples`: cut or filled with silence, with its Info frame, synced, hashed."""
        count = _frames_of(samples)
        if count < self.count:
            self.cut(count)
        self.append_silence(count - self.count)
        offsets = [self._offset(count * percent // TOC_ENTRIES) for percent in range(TOC_ENTRIES)]
        head = info_frame(frames=count, samples=samples, data_bytes=self._bytes, offsets=offsets)
        with storage_errors("write", self.path), self.path.open("r+b") as stream:
            stream.write(head)
            stream.truncate(INFO_FRAME_BYTES + self._bytes)
            os.fsync(stream.fileno())
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return FinishedTrack(path=self.path, sha256=digest, size_bytes=INFO_FRAME_BYTES + self._bytes, samples=samples)

    def _offset(self, number: int) -> int:
        if number == self.count:
            return self._bytes
        mark = number // _STRIDE
        return self._marks[mark] + sum(map(len, self.frames(mark * _STRIDE, number)))

    def _write(self, data: bytes) -> None:
        with storage_errors("write", self.path), self.path.open("r+b") as stream:
            stream.seek(INFO_FRAME_BYTES + self._bytes)
            stream.write(data)
            self._unsynced_bytes += len(data)
            if self._unsynced_bytes >= _SYNC_BYTES:
                stream.flush()
                os.fsync(stream.fileno())
                self._unsynced_bytes = 0

    def _note(self, sizes: Sequence[int]) -> None:
        offsets = list(accumulate(sizes, initial=self._bytes))
        self._bytes = offsets.pop()
        self._marks.extend(offsets[-self.count % _STRIDE :: _STRIDE])
        self.count += len(sizes)


def replace_frames(source: Path, target: Path, *, first_frame: int, frames: bytes) -> FinishedTrack:
    """Write to `target` the finished recording `source` with its frames from `first_frame` on replaced by `frames`.

    Number of frames and length stay; what would stand beyond the end is left out. The caller cuts `frames` where the
    next segment begins, as a splice would.

    Raises:
        Mp3Error: `source` is not a finished file of this recorder, or `frames` are not frames.
        StorageError: a file could not be read or written.
    """
    old = FrameFile.open(source)
    new = FrameFile.create(target)
    middle = split_frames(frames)[: max(0, old.count - first_frame)]
    _copy(old, new, 0, min(first_frame, old.count))
    new.append(middle)
    _copy(old, new, new.count, old.count)
    return new.finish(old.samples)


def _frames_of(samples: int) -> int:
    """How many frames a finished file of that length has."""
    return max(frame_count(samples), _LEAST_FRAMES)


def _copy(source: FrameFile, target: FrameFile, first: int, last: int) -> None:
    for start in range(first, last, _BLOCK_FRAMES):
        target.append(source.frames(start, min(last, start + _BLOCK_FRAMES)))
