"""The file of one chunk of a live call: Ogg Opus with the session clock as granule position, written as it arrives.

Every page that was written is whole for any reader, whatever happens afterwards: the open file is its own journal.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from discord_recorder.audio.opus_writer import OggOpusWriter
from discord_recorder.recording.tracks.chunk_file import ChunkPlace, ClosedChunk


class OpusFile:
    """A chunk file that takes packets; raises `OSError` when it cannot be made.

    A write that fails is tried again with the next one; `error` is the last failure's.
    """

    def __init__(self, folder: Path, place: ChunkPlace, preroll: Iterable[tuple[bytes, int]]) -> None:
        self.place = place
        self.path = folder / place.file_name
        self.accepted_bytes = 0
        self.error: OSError | None = None
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._size = 0
        self._unwritten = b""
        self._dirty = True
        self._mark: tuple[int, int] | None = None
        self._writer = OggOpusWriter()
        for opus, at_sample in preroll:
            self._writer.write(opus, at_sample)

    def write(self, opus: bytes, at_sample: int) -> None:
        """Take a packet; it is in the file after the next `flush`.

        Raises:
            OpusError: it is too long for a page.
        """
        self._writer.write(opus, at_sample)
        self.accepted_bytes += len(opus)

    def flush(self) -> None:
        """Write all packets so far, so that the death of this process cannot take them."""
        self._append(self._writer.flush())

    def mark(self) -> None:
        """Remember this place: what is written from here on may be written anew."""
        pages, number = self._writer.mark()
        self._append(pages)
        self._mark = None if self._unwritten else (self._size, number)

    def rewrite(self, packets: Iterable[tuple[bytes, int]]) -> bool:
        """Put these packets in the place of all that was written since `mark`; false when that cannot be done."""
        if self._mark is None or self._unwritten:
            return False
        end = self._size
        self._size, number = self._mark
        self._writer.rewind(number)
        for opus, at_sample in packets:
            self._writer.write(opus, at_sample)
        self._append(self._writer.flush())
        if self._size < end and not self._unwritten:
            os.ftruncate(self._descriptor, self._size)
        return True

    def unsynced_descriptor(self) -> int | None:
        """A descriptor of its own for `sync_and_close`, None when nothing was written since the last one."""
        if not self._dirty:
            return None
        self._dirty = False
        return os.dup(self._descriptor)

    def close(self, sample_count: int) -> ClosedChunk:
        """End the chunk with that length; it has to be settled before a row names it."""
        self._append(self._writer.finish())
        return ClosedChunk(
            path=self.path,
            place=self.place,
            sample_count=sample_count,
            accepted_bytes=self.accepted_bytes,
            descriptor=self._descriptor,
        )

    def _append(self, pages: bytes) -> None:
        data = self._unwritten + pages if self._unwritten else pages
        if not data:
            return
        self._dirty = True
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:] if written else data, self._size + written)
        except OSError as error:
            self.error = error
        else:
            self.error = None
        self._size += written
        self._unwritten = data[written:]
