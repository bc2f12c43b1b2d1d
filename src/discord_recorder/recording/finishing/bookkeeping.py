"""The books of a recording: its ledger of gaps in numbers on its tracks, and all of it in the manifest beside them."""

import asyncio
import dataclasses
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from discord_recorder.errors import StorageError
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.gaps import TrackLedger, ledgers, mended_ledger
from discord_recorder.recording.finishing.manifest import Manifest, Told, gaps_in, manifest_json, read_manifest
from discord_recorder.storage import marks, meetings
from discord_recorder.storage.files import MANIFEST, make_folder, sync_folder, write_durably
from discord_recorder.storage.records import (
    Chunk,
    Meeting,
    Recording,
    RecordingStatus,
    RecordingTrack,
    Track,
    TrackKind,
)

log = logging.getLogger(__name__)

_NO_HASHES: Final[Mapping[Track, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What is to be stored with a recording: its tracks, named and with their figures, and where its manifest is."""

    tracks: Sequence[RecordingTrack]
    duration_samples: int
    manifest_key: str


class Bookkeeper:
    """Writes manifests. They are files: stored before the transaction that names them, and safe to store again."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def open(
        self,
        meeting: Meeting,
        rows: Sequence[Chunk],
        tracks: Sequence[RecordingTrack],
        *,
        status: RecordingStatus,
        ended_at: datetime,
        master_hashes: Mapping[Track, str] = _NO_HASHES,
    ) -> Books:
        """Account for a meeting that is being promoted, whose files are stored.

        Args:
            meeting: its row.
            rows: all its chunks, DONE or FAILED.
            tracks: its files.
            status: of the recording.
            ended_at: when the meeting ended.
            master_hashes: SHA-256 of master files, where it is known; of the others it is made here.

        Raises:
            StorageError: the manifest could not be stored.
            OSError: the disk did not take it.
        """
        told = await self._context.database.read(_told_of, meeting.id)

        def write() -> Books:
            duration = max(track.samples for track in tracks)
            found = ledgers(duration, _speakers(tracks), rows, told.marks)
            named = [_with_figures(_named(track, told.names), found.get(track.track)) for track in tracks]
            text = manifest_json(
                meeting,
                ended_at=ended_at,
                status=status,
                duration_samples=duration,
                told=told,
                tracks=named,
                ledgers=found,
                master_hashes=self._all_hashes(tracks, master_hashes),
            )
            return Books(tracks=named, duration_samples=duration, manifest_key=self._store(meeting.id, text))

        return await asyncio.to_thread(write)

    async def amend(
        self,
        meeting: Meeting,
        recording: Recording,
        mended: Sequence[Chunk],
        tracks: Sequence[RecordingTrack],
        *,
        status: RecordingStatus,
        master_hashes: Mapping[Track, str] = _NO_HASHES,
    ) -> Sequence[RecordingTrack]:
        """Account for chunks that are put into a finished recording; gives its tracks with the new figures.

        A recording that has no manifest (one of an earlier version), or whose manifest cannot be read, goes without.

        Args:
            meeting: its row.
            recording: as it was.
            mended: the chunks, DONE now.
            tracks: its files as they are now.
            status: of the recording as it is now.
            master_hashes: SHA-256 of master files that are new.

        Raises:
            StorageError: the manifest could not be stored.
            OSError: the disk did not take it.
        """
        told = await self._context.database.read(_told_of, meeting.id)

        def write() -> Sequence[RecordingTrack]:
            named = [_named(track, told.names) for track in tracks]
            old = self._read(recording)
            if old is None:
                return named
            duration = old["duration_samples"]
            found = _mended_ledgers(old, recording, mended)
            named = [_with_figures(track, found.get(track.track)) for track in named]
            known = {
                Track(part["track"]): part["master_sha256"]
                for part in old["tracks"]
                if part["master_sha256"] is not None
            }
            text = manifest_json(
                meeting,
                ended_at=recording.ended_at,
                status=status,
                duration_samples=duration,
                told=told,
                tracks=named,
                ledgers=found,
                master_hashes=self._all_hashes(tracks, known | dict(master_hashes)),
            )
            self._store(meeting.id, text)
            return named

        return await asyncio.to_thread(write)

    def _store(self, meeting_id: MeetingId, text: str) -> str:
        folder = self._context.meeting_folder(meeting_id)
        make_folder(folder)
        file = folder / MANIFEST
        write_durably(file, text.encode())
        sync_folder(folder)
        key = f"{meeting_id}/{MANIFEST}"
        self._context.store.put(file, key)
        return key

    def _read(self, recording: Recording) -> Manifest | None:
        if recording.manifest_key is None:
            return None
        try:
            return read_manifest(self._context.store, recording.manifest_key)
        except StorageError as error:
            log.warning(
                "A recording is mended, but its manifest cannot be read",
                extra={"meeting": recording.meeting_id, "reason": str(error)},
            )
            return None

    def _all_hashes(self, tracks: Iterable[RecordingTrack], known: Mapping[Track, str]) -> dict[Track, str]:
        """The SHA-256 of each track's master."""
        return {
            track.track: known.get(track.track) or _sha256(self._context.store.local_file(track.master_key))
            for track in tracks
            if track.master_key is not None
        }


def _told_of(tx: Connection, meeting_id: MeetingId) -> Told:
    return Told(marks=marks.of_meeting(tx, meeting_id), names=meetings.speaker_names(tx, meeting_id))


def _speakers(tracks: Iterable[RecordingTrack]) -> list[Track]:
    return [track.track for track in tracks if track.kind is TrackKind.SPEAKER]


def _mended_ledgers(old: Manifest, recording: Recording, mended: Sequence[Chunk]) -> dict[Track, TrackLedger]:
    # From the rows, not from the old manifest: after a crash that may hold what is mended already.
    concealed = {track.track: track.concealed_samples or 0 for track in recording.tracks}
    found = {}
    for part in old["tracks"]:
        if part["kind"] != TrackKind.SPEAKER:
            continue
        track = Track(part["track"])
        own = [chunk for chunk in mended if chunk.track == track]
        found[track] = mended_ledger(
            old["duration_samples"], gaps_in(part), own, concealed_before=concealed.get(track, 0)
        )
    return found


def _named(track: RecordingTrack, names: Mapping[Track, str | None]) -> RecordingTrack:
    return dataclasses.replace(track, name=names.get(track.track))


def _with_figures(track: RecordingTrack, ledger: TrackLedger | None) -> RecordingTrack:
    if ledger is None:
        return track
    figures = ledger.figures
    return dataclasses.replace(
        track,
        heard_samples=figures.heard,
        lost_samples=figures.lost,
        concealed_samples=figures.concealed,
        undecryptable_samples=figures.undecryptable,
        longest_gap_samples=figures.longest_gap,
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
