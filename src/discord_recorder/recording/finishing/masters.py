"""Opus masters: what a live call's speaker sent, as it was received, in one file a track that any player plays.

A master grows while the meeting goes on, so that little is left to do at its end. The growing file is a cache: whatever
kept it from being written, it is made again from the sources of the track's chunks, which stay until promotion.
A chunk's Opus is in the master whether or not it could be transcoded.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from discord_recorder.audio.framefile import FinishedTrack
from discord_recorder.audio.opus_losses import in_order
from discord_recorder.audio.opus_master import OpusMaster
from discord_recorder.audio.opus_reader import PlacedPacket, read_ogg_opus
from discord_recorder.audio.pcm import SAMPLE_RATE
from discord_recorder.errors import OggError
from discord_recorder.recording.tracks.chunk_file import OPUS
from discord_recorder.storage.files import make_folder
from discord_recorder.storage.records import Chunk, Track, TranscodeStatus

log = logging.getLogger(__name__)

MASTER_OPUS: Final = "master.opus"
"""The growing master of a track, in its folder."""

FILL_SAMPLES: Final = 60 * SAMPLE_RATE
"""Silence is written so much at a time while its speaker says nothing."""

_SYNC_BYTES: Final = 4 * 1024 * 1024
"""How much may be written before it is synced, so that finishing need not wait for the disk to take a whole meeting."""


class OpusGoneError(Exception):
    """The source of a chunk that is DONE is gone, and with it the only copy of its Opus."""


def has_opus(chunk: Chunk) -> bool:
    """Whether a chunk's source is Opus that was not deleted."""
    return chunk.source_key.endswith(OPUS) and not chunk.cleaned


@dataclass(frozen=True, slots=True, kw_only=True)
class Masters:
    """The finished masters of a meeting, still in the temp folder.

    Args:
        made: by track; a track that has none is in neither.
        errors: what kept the others from being written.
    """

    made: Mapping[Track, FinishedTrack]
    errors: Mapping[Track, Exception]

    @property
    def hashes(self) -> dict[Track, str]:
        """The SHA-256 of each that is made."""
        return {track: master.sha256 for track, master in self.made.items()}


async def finish_masters(growing: Mapping[Track, "MasterTrack"], rows: Iterable[Chunk], total_samples: int) -> Masters:
    """Complete masters; one that cannot be written is told of, and keeps nothing else from being finished.

    Args:
        growing: those that may be, by track.
        rows: all chunks of these tracks, those of a track in order of session time.
        total_samples: how long all tracks are to be.
    """
    chunks: dict[Track, list[Chunk]] = {track: [] for track in growing}
    for row in rows:
        if row.track in chunks:
            chunks[row.track].append(row)

    def finish(track: Track) -> FinishedTrack | Exception | None:
        try:
            return growing[track].finish(chunks[track], total_samples)
        except Exception as error:  # whatever it was, the MP3s are not to suffer from it
            return error

    ends = dict(zip(chunks, await asyncio.gather(*(asyncio.to_thread(finish, track) for track in chunks)), strict=True))
    return Masters(
        made={track: end for track, end in ends.items() if isinstance(end, FinishedTrack)},
        errors={track: end for track, end in ends.items() if isinstance(end, Exception)},
    )


class MasterTrack:
    """One track's master; there is none of a track with pushed audio, or with a chunk whose source is deleted.

    Blocking; one lock makes it safe to call from several threads.

    Args:
        path: the growing file; made with the first chunk.
        source_of: where a chunk's source is, by its key.
    """

    def __init__(self, path: Path, source_of: Callable[[str], Path]) -> None:
        self._path = path
        self._source_of = source_of
        self._file: _GrowingMaster | None = None
        self._chunks = 0
        self._until = 0
        self._is_given_up = False
        self._lock = Lock()

    def add(self, chunk: Chunk) -> None:
        """Take in the Opus of a chunk that was settled, in order of session time.

        Where that fails, or the chunk comes out of order, the growing file is given up, and its room with it; `finish`
        makes it anew.
        """
        with self._lock:
            self._add(chunk)

    def fill(self, until_sample: int) -> None:
        """Write the silence of a speaker of whom nothing before `until_sample` is to be expected any more."""
        with self._lock:
            if self._file is None or until_sample - self._until < FILL_SAMPLES:
                return
            try:
                self._file.fill(until_sample)
            except OSError:
                self._give_up()
            else:
                self._until = until_sample

    def finish(self, rows: Sequence[Chunk], total_samples: int) -> FinishedTrack | None:
        """Make the file a track of exactly `total_samples`; it is the caller's to move. None where there is none.

        May be repeated, also when it failed.

        Args:
            rows: all chunks of the track, in order of session time.
            total_samples: length of the track.

        Raises:
            OSError: the file could not be written, or a source not be read.
            DiscordRecorderError: a source is no Ogg Opus.
        """
        with self._lock:
            try:
                finished = self._finish(rows, total_samples)
            except BaseException:
                self._give_up()
                raise
            if finished is None:
                self._give_up()
            return finished

    def _add(self, chunk: Chunk) -> None:
        if self._is_given_up:
            return
        if not has_opus(chunk) or chunk.start_sample < self._until:
            self._give_up()
            return
        try:
            if self._file is None:
                self._file = _GrowingMaster(self._path)
            self._file.append(self._packets(chunk))
        except Exception as error:  # whatever it was, the MP3s are not to suffer from it
            log.warning(
                "An Opus master cannot be written; it is tried again when the recording is finished",
                extra={"meeting": chunk.meeting_id, "track": chunk.track, "reason": str(error)},
            )
            self._give_up()
            return
        self._chunks += 1
        self._until = chunk.end_sample

    def _finish(self, rows: Sequence[Chunk], total_samples: int) -> FinishedTrack | None:
        if not rows or not all(map(has_opus, rows)):
            return None
        try:
            if self._file is not None and self._chunks == len(rows):
                with contextlib.suppress(OSError, OggError):  # gone, longer than that, or finished before
                    return self._file.finish(total_samples)
            return self._made_anew(rows, total_samples)
        except OpusGoneError as error:
            log.warning(
                "No Opus master is made of a track",
                extra={"meeting": rows[0].meeting_id, "track": rows[0].track, "reason": str(error)},
            )
            return None

    def _made_anew(self, rows: Sequence[Chunk], total_samples: int) -> FinishedTrack:
        file = _GrowingMaster(self._path, total_samples)
        for chunk in rows:
            file.append(self._packets(chunk))
        return file.finish(total_samples)

    def _packets(self, chunk: Chunk) -> list[PlacedPacket]:
        """The packets that begin in a chunk, without its pre-roll, in order; none of a FAILED one without any audio."""
        source = self._source_of(chunk.source_key)
        try:
            found = read_ogg_opus(source.read_bytes()).packets
        except FileNotFoundError:
            if chunk.transcode_status is not TranscodeStatus.FAILED:
                raise OpusGoneError(f"the source {source} is gone") from None
            return []
        except OggError:
            if chunk.transcode_status is not TranscodeStatus.FAILED:
                raise
            return []
        return in_order(packet for packet in found if chunk.start_sample <= packet.at_sample < chunk.end_sample)

    def _give_up(self) -> None:
        self._is_given_up = True
        self._file = None
        with contextlib.suppress(OSError):  # promotion removes what is in the folder, and the cleanup what it leaves
            self._path.unlink(missing_ok=True)


class _GrowingMaster:
    """The file while it is written: appended to, hashed as it goes, no file handle kept."""

    def __init__(self, path: Path, total_samples: int | None = None) -> None:
        make_folder(path.parent)
        path.write_bytes(b"")
        self._path = path
        self._opus = OpusMaster(total_samples=total_samples)
        self._hash = hashlib.sha256()
        self._size = 0
        self._unsynced_bytes = 0

    def append(self, packets: Iterable[PlacedPacket]) -> None:
        self._write(self._opus.append(packets))

    def fill(self, until_sample: int) -> None:
        self._write(self._opus.fill(until_sample))

    def finish(self, total_samples: int) -> FinishedTrack:
        self._write(self._opus.finish(total_samples), is_last=True)
        return FinishedTrack(
            path=self._path, sha256=self._hash.hexdigest(), size_bytes=self._size, samples=total_samples
        )

    def _write(self, data: bytes, *, is_last: bool = False) -> None:
        if not data:
            return
        with self._path.open("r+b") as stream:
            stream.seek(self._size)
            stream.write(data)
            self._unsynced_bytes += len(data)
            if is_last or self._unsynced_bytes >= _SYNC_BYTES:
                stream.flush()
                os.fsync(stream.fileno())
                self._unsynced_bytes = 0
        self._hash.update(data)
        self._size += len(data)
