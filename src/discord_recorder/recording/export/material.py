"""What is known of a recording that is to be exported: its rows, and its manifest or what rows tell in place of one."""

import asyncio
import json
from dataclasses import dataclass

from sqlalchemy import Connection

from discord_recorder.errors import StorageError
from discord_recorder.ids import MeetingId
from discord_recorder.recording.finishing.manifest import Manifest, Told, manifest_json, read_manifest
from discord_recorder.storage import marks, meetings, recordings
from discord_recorder.storage.database import Database
from discord_recorder.storage.files import RecordingStore
from discord_recorder.storage.records import Meeting, Recording, RecordingTrack, Track, TrackKind, user_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A recording, and what its files are to tell.

    Args:
        recording: its rows.
        manifest: its own, else one that the rows make up: it knows no gaps.
        fault: why its own manifest cannot be used, if it has one.
    """

    recording: Recording
    manifest: Manifest
    fault: str | None = None

    @property
    def meeting_id(self) -> MeetingId:
        """The meeting's id."""
        return self.recording.meeting_id

    @property
    def name(self) -> str:
        """What to call the meeting."""
        return self.recording.title or self.recording.meeting_id

    @property
    def samples(self) -> int:
        """Length of the session, and of every file that is made anew."""
        return self.manifest["duration_samples"]

    @property
    def speakers(self) -> list[str]:
        """Everybody who is heard."""
        return [name_of(track) for track in self.recording.tracks if track.kind is TrackKind.SPEAKER]

    def master_sha256(self, track: Track) -> str | None:
        """The checksum of a track's master, where it is known."""
        return next((part["master_sha256"] for part in self.manifest["tracks"] if part["track"] == track), None)


def name_of(track: RecordingTrack) -> str:
    """Who is heard on a track."""
    return track.name or user_of(track.track) or ("mix" if track.kind is TrackKind.MIX else "unknown speaker")


async def read_material(database: Database, store: RecordingStore, meeting_id: MeetingId) -> Material | None:
    """What is known of a meeting's recording; None where there is none."""
    meeting, found, told = await database.read(_rows_of, meeting_id)
    if meeting is None or not found:
        return None
    recording, fault = found[0], None
    if recording.manifest_key is not None:
        try:
            manifest = await asyncio.to_thread(read_manifest, store, recording.manifest_key)
        except StorageError as error:
            fault = f"{error}. What was exported knows no gaps."
        else:
            return Material(recording=recording, manifest=manifest)
    return Material(recording=recording, manifest=_made_up(meeting, recording, told), fault=fault)


def _rows_of(tx: Connection, meeting_id: MeetingId) -> tuple[Meeting | None, list[Recording], Told]:
    told = Told(marks=marks.of_meeting(tx, meeting_id), names=meetings.speaker_names(tx, meeting_id))
    return meetings.get(tx, meeting_id), recordings.find(tx, meeting_id=meeting_id), told


def _made_up(meeting: Meeting, recording: Recording, told: Told) -> Manifest:
    text = manifest_json(
        meeting,
        ended_at=recording.ended_at,
        status=recording.status,
        duration_samples=recording.duration_samples or max(track.samples for track in recording.tracks),
        told=told,
        tracks=recording.tracks,
        ledgers={},
        master_hashes={},
    )
    manifest: Manifest = json.loads(text)
    return manifest
