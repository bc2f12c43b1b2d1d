"""The tracks of a session's pushed audio: whose they are, and where the next push goes."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.ids import parse_snowflake
from discord_recorder.recording.tracks.chunk_file import ClosedChunk
from discord_recorder.recording.tracks.track_writer import TrackWriter
from discord_recorder.storage.records import Track

_ID_TYPES: Final = frozenset((int, str, type(None)))
"""Exactly these: True and 1.0 equal 1, and are no ids."""


class PushedTracks:
    """Writes pushed PCM; chunks that end are submitted to be sealed. Knows nothing of a session's states.

    Args:
        own_track: of audio that is pushed without a user id.
        folder: gives the folder of a track.
        monotonic: the clock by which open chunks are cut.
        submit: takes chunks that ended; tells whether there were any.
    """

    def __init__(
        self,
        *,
        own_track: Track,
        folder: Callable[[Track], Path],
        monotonic: Callable[[], float],
        submit: Callable[[Track, Sequence[ClosedChunk]], bool],
    ) -> None:
        self._own_track = own_track
        self._folder = folder
        self._monotonic = monotonic
        self._submit = submit
        self._writers: dict[Track, TrackWriter] = {}
        self._locks: dict[Track, asyncio.Lock] = {}
        self._known_ids: dict[int | str | None, tuple[Track, asyncio.Lock]] = {}
        self._skips: dict[Track, int] = {}

    # --- whose track it is

    def track_of(self, user_id: int | str | None) -> Track:
        """The track of a user; raises `InvalidIdError`."""
        return self._own_track if user_id is None else Track(parse_snowflake(user_id, "user id"))

    def find(self, user_id: int | str | None) -> tuple[Track, asyncio.Lock]:
        """A user's track, and what is to be held while it is pushed to; an id is checked once. As `track_of`."""
        known = self._known_ids.get(user_id) if type(user_id) in _ID_TYPES else None
        if known is not None:
            return known
        track = self.track_of(user_id)
        found = track, self._locks.setdefault(track, asyncio.Lock())
        if type(user_id) in _ID_TYPES:
            self._known_ids[user_id] = found
        return found

    # --- audio in

    def position(self, track: Track) -> int:
        """Session time, in samples, at which a track ends."""
        writer = self._writers.get(track)
        return 0 if writer is None else writer.position

    def write(self, track: Track, pcm: memoryview, chunk_samples: int, *, at_sample: int | None) -> bool:
        """Append to a track, at `at_sample` where that is given; True when chunks ended by it.

        Raises `InvalidAudioError` for a wrong place, and `OSError` when the disk does not take it.
        """
        writer = self._writer(track)
        if skip := self._skips.pop(track, 0):
            at_sample = writer.position + skip if at_sample is None else at_sample
        try:
            if at_sample is not None:
                writer.seek(at_sample, chunk_samples)
            writer.append(pcm, chunk_samples)
        finally:
            filled = self._submit(track, writer.take_closed())
        return filled

    def fill_up(self, track: Track, pcm: bytes, chunk_samples: int, *, at_sample: int) -> None:
        """Write what of that audio is not on the track yet."""
        writer = self._writer(track)
        rest = memoryview(pcm)[max(0, writer.position - at_sample) * SAMPLE_BYTES :]
        if rest:
            writer.drop_half_sample()
            self.write(track, rest, chunk_samples, at_sample=max(at_sample, writer.position))

    def skip(self, samples: int) -> None:
        """Let the next contiguous push to each track leave out so much time, as silence."""
        for track in self._writers if samples else ():
            self._skips[track] = self._skips.get(track, 0) + samples

    # --- chunks

    def cut(self) -> None:
        """End the open chunks, however short."""
        for track, writer in self._writers.items():
            writer.cut()
            self._submit(track, writer.take_closed())

    def cut_if_older(self, seconds: float) -> None:
        """End open chunks whose first audio came longer ago than that."""
        for track, writer in self._writers.items():
            writer.cut_if_older(seconds)
            self._submit(track, writer.take_closed())

    def finish(self) -> None:
        """End the tracks, or their part before a pause: half a sample cannot be completed any more."""
        for track in self._writers:
            self.finish_track(track)

    def finish_track(self, track: Track) -> int:
        """The same for one track; gives the session time at which it ends."""
        writer = self._writers.get(track)
        if writer is None:
            return 0
        writer.finish()
        self._submit(track, writer.take_closed())
        return writer.position

    # --- what there is

    def ends(self) -> dict[Track, int]:
        """Where each track ends, in samples of session time."""
        return {track: writer.position for track, writer in self._writers.items()}

    def open_tracks(self) -> dict[Track, int]:
        """Session time at which each track's open chunk begins."""
        return {track: start for track, w in self._writers.items() if (start := w.open_from) is not None}

    @property
    def buffered_bytes(self) -> int:
        """Bytes accepted that are in no closed chunk."""
        return sum(writer.buffered_bytes for writer in self._writers.values())

    def unsynced_descriptors(self) -> Iterator[int]:
        """Descriptors of all open files for `sync_and_close`."""
        return (d for writer in self._writers.values() if (d := writer.unsynced_descriptor()) is not None)

    def _writer(self, track: Track) -> TrackWriter:
        if track not in self._writers:
            self._writers[track] = TrackWriter(self._folder(track), self._monotonic)
        return self._writers[track]
