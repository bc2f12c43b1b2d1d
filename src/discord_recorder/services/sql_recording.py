"""The `sql_recording_service` of the API: what the database knows, as dictionaries."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypedDict

from sqlalchemy import Connection

from discord_recorder.audio.pcm import samples_to_ms
from discord_recorder.config import Settings
from discord_recorder.ids import MeetingId, parse_meeting_id, parse_snowflake
from discord_recorder.recording.finishing.gaps import ledgers
from discord_recorder.recording.finishing.manifest import Manifest, ms_if_known, read_manifest
from discord_recorder.recording.status import figures_in_ms
from discord_recorder.storage import chunks, marks, meetings, recordings
from discord_recorder.storage.database import Database
from discord_recorder.storage.files import RecordingStore
from discord_recorder.storage.records import (
    Chunk,
    MarkKind,
    Meeting,
    MeetingStatus,
    Recording,
    RecordingTrack,
    TrackKind,
    TranscodeStatus,
    user_of,
)


class TempRecordingDict(TypedDict):
    """One chunk; `transcode_status` is "queued", "in_progress", "done" or "failed", `start_ms` is session time."""

    id: int
    meeting_id: str
    user_id: str | None
    guild_id: str | None
    created_at: datetime
    completed_at: datetime | None
    transcode_status: str
    attempts: int
    error: str | None
    start_ms: int
    duration_ms: int
    sha256: str | None
    cleaned: bool
    source_path: str
    mp3_path: str


class FiguresDict(TypedDict):
    """What is heard of a speaker, and what is not; each is None where it is not known, and for the mix.

    `concealed_ms` is a part of `lost_ms`; `longest_gap_ms` is the longest stretch of which something is missing.
    """

    heard_ms: int | None
    lost_ms: int | None
    concealed_ms: int | None
    undecryptable_ms: int | None
    longest_gap_ms: int | None


class SpeakerDict(FiguresDict):
    """A speaker of a meeting, recorded or still in work."""

    user_id: str | None
    name: str | None


class TrackDict(FiguresDict):
    """One file of a recording; `kind` is "speaker" or "mix"."""

    user_id: str | None
    name: str | None
    kind: str
    path: str
    master_path: str | None
    duration_ms: int
    sha256: str
    size_bytes: int


class RecordingDict(TypedDict):
    """A finished recording; `path` is the mix, or the only speaker; `status` is "complete" or "incomplete"."""

    id: int
    meeting_id: str
    guild_id: str | None
    channel_id: str
    user_id: str | None
    started_at: datetime
    ended_at: datetime
    duration_ms: int
    title: str | None
    path: str
    sha256: str
    size_bytes: int
    status: str
    recovered: bool
    manifest_path: str | None
    tracks: list[TrackDict]


class MeetingDict(TypedDict):
    """A meeting; `status` is "recording", "paused", "processing", "completed" or "failed"."""

    meeting_id: str
    channel_id: str
    guild_id: str | None
    user_id: str | None
    title: str | None
    status: str
    end_reason: str | None
    error: str | None
    recovered: bool
    paused_dropped_bytes: int
    started_at: datetime
    ended_at: datetime | None


class NoteDict(TypedDict):
    """What somebody noted in a meeting; `at_ms` is session time, `user_id` is whose note it is, if that was told."""

    id: int
    meeting_id: str
    at_ms: int
    wall_at: datetime
    user_id: str | None
    text: str


class EventDict(TypedDict):
    """Something that happened to a whole meeting: `kind` is "connected", "disconnected", "paused" or "ended".

    `at_ms` and `duration_ms` are session time; a pause that stopped it has no duration, but took `wall_ms`.
    """

    kind: str
    at_ms: int
    duration_ms: int
    wall_at: datetime
    wall_ms: int
    reason: str | None


_EVENTS: Final = (MarkKind.CONNECTED, MarkKind.DISCONNECTED, MarkKind.PAUSED, MarkKind.ENDED)


class SqlRecordingService:
    """Reads meetings, chunks and recordings. Unknown meetings give empty lists, malformed ids `InvalidIdError`."""

    def __init__(self, started: Callable[[], Awaitable[Database]], settings: Settings, store: RecordingStore) -> None:
        self._started = started
        self._settings = settings
        self._store = store

    async def get_temp_recordings_for_meeting(self, meeting_id: str) -> list[TempRecordingDict]:
        """A meeting's chunks, by track and session time; those of a promoted meeting are gone but for FAILED ones."""
        parsed = parse_meeting_id(meeting_id)
        database = await self._started()
        return [self._chunk(chunk) for chunk in await database.read(chunks.of_meeting, parsed)]

    async def get_recordings_for_meeting(self, meeting_id: str) -> list[RecordingDict]:
        """The recording of a meeting: a list of one, or of none while it is not promoted."""
        parsed = parse_meeting_id(meeting_id)
        database = await self._started()
        return [self._recording(recording) for recording in await database.read(recordings.find, meeting_id=parsed)]

    async def list_recordings(
        self,
        *,
        guild_id: int | str | None = None,
        channel_id: int | str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[RecordingDict]:
        """Finished recordings, newest first; of one guild or channel if given."""
        guild = None if guild_id is None else parse_snowflake(guild_id, "guild id")
        channel = None if channel_id is None else parse_snowflake(channel_id, "channel id")
        database = await self._started()
        found = await database.read(recordings.find, guild_id=guild, channel_id=channel, limit=limit, offset=offset)
        return [self._recording(recording) for recording in found]

    async def get_manifest(self, meeting_id: str) -> Manifest | None:
        """What a recording's `manifest.json` says: meeting, files, and every gap with its reason.

        None for a meeting that is not promoted, and for a recording of a version that wrote none. Raises
        `StorageError` when the file is gone or damaged.
        """
        parsed = parse_meeting_id(meeting_id)
        found = await (await self._started()).read(recordings.find, meeting_id=parsed)
        if not found or (key := found[0].manifest_key) is None:
            return None
        return await asyncio.to_thread(read_manifest, self._store, key)

    async def get_speakers_for_meeting(self, meeting_id: str) -> list[SpeakerDict]:
        """Each speaker of a meeting in figures: of its recording, or of what is transcoded so far."""
        parsed = parse_meeting_id(meeting_id)
        return await (await self._started()).read(_speakers_of, parsed)

    async def get_meeting(self, meeting_id: str) -> MeetingDict | None:
        """A meeting and its status; None when there is none of that id."""
        parsed = parse_meeting_id(meeting_id)
        meeting = await (await self._started()).read(meetings.get, parsed)
        return None if meeting is None else _meeting(meeting)

    async def list_meetings(self) -> list[MeetingDict]:
        """All meetings, whatever their status, oldest first."""
        found = await (await self._started()).read(meetings.find, *MeetingStatus)
        return [_meeting(meeting) for meeting in found]

    async def get_events_for_meeting(self, meeting_id: str) -> list[EventDict]:
        """The pauses of a meeting, and what happened to its voice connection, in the order of session time."""
        parsed = parse_meeting_id(meeting_id)
        found = await (await self._started()).read(marks.of_meeting, parsed, *_EVENTS)
        return [
            EventDict(
                kind=mark.kind.value,
                at_ms=samples_to_ms(mark.at_sample),
                duration_ms=samples_to_ms(mark.sample_count),
                wall_at=mark.wall_at,
                wall_ms=mark.wall_ms,
                reason=mark.reason,
            )
            for mark in found
        ]

    async def get_notes_for_meeting(self, meeting_id: str) -> list[NoteDict]:
        """A meeting's notes in the order of session time, from the moment they are stored until it is deleted."""
        parsed = parse_meeting_id(meeting_id)
        notes = await (await self._started()).read(marks.of_meeting, parsed, MarkKind.NOTE)
        return [
            NoteDict(
                id=note.id or 0,
                meeting_id=parsed,
                at_ms=samples_to_ms(note.at_sample),
                wall_at=note.wall_at,
                user_id=note.user_id,
                text=note.text or "",
            )
            for note in notes
        ]

    def _chunk(self, chunk: Chunk) -> TempRecordingDict:
        return TempRecordingDict(
            id=chunk.id,
            meeting_id=chunk.meeting_id,
            user_id=user_of(chunk.track),
            guild_id=chunk.guild_id,
            created_at=chunk.created_at,
            completed_at=chunk.completed_at,
            transcode_status=chunk.transcode_status.value,
            attempts=chunk.attempts,
            error=chunk.error,
            start_ms=samples_to_ms(chunk.start_sample),
            duration_ms=samples_to_ms(chunk.sample_count),
            sha256=chunk.sha256,
            cleaned=chunk.cleaned,
            source_path=str(self._settings.temp_dir / chunk.source_key),
            mp3_path=str(self._settings.temp_dir / chunk.mp3_key),
        )

    def _recording(self, recording: Recording) -> RecordingDict:
        main = recording.main
        return RecordingDict(
            id=recording.id,
            meeting_id=recording.meeting_id,
            guild_id=recording.guild_id,
            channel_id=recording.channel_id,
            user_id=recording.user_id,
            started_at=recording.started_at,
            ended_at=recording.ended_at,
            duration_ms=samples_to_ms(recording.duration_samples or main.samples),
            title=recording.title,
            path=self._store.location(main.key),
            sha256=main.sha256,
            size_bytes=main.size_bytes,
            status=recording.status.value,
            recovered=recording.recovered,
            manifest_path=self._store.location(recording.manifest_key) if recording.manifest_key else None,
            tracks=[self._track(track) for track in recording.tracks],
        )

    def _track(self, track: RecordingTrack) -> TrackDict:
        return TrackDict(
            user_id=user_of(track.track),
            name=track.name,
            kind=track.kind.value,
            path=self._store.location(track.key),
            master_path=self._store.location(track.master_key) if track.master_key else None,
            duration_ms=samples_to_ms(track.samples),
            sha256=track.sha256,
            size_bytes=track.size_bytes,
            **_figures(track),
        )


def _speakers_of(tx: Connection, meeting_id: MeetingId) -> list[SpeakerDict]:
    for recording in recordings.find(tx, meeting_id=meeting_id):
        speakers = [track for track in recording.tracks if track.kind is TrackKind.SPEAKER]
        return [SpeakerDict(user_id=user_of(one.track), name=one.name, **_figures(one)) for one in speakers]
    names = meetings.speaker_names(tx, meeting_id)
    settled = chunks.of_meeting(tx, meeting_id, TranscodeStatus.DONE, TranscodeStatus.FAILED)
    tracks = sorted({*names, *(chunk.track for chunk in settled)})
    until = max((chunk.end_sample for chunk in settled), default=0)
    found = ledgers(until, tracks, settled, marks.of_meeting(tx, meeting_id))
    return [
        SpeakerDict(user_id=user_of(track), name=names.get(track), **figures_in_ms(found[track].figures))
        for track in tracks
    ]


def _figures(track: RecordingTrack) -> FiguresDict:
    return FiguresDict(
        heard_ms=ms_if_known(track.heard_samples),
        lost_ms=ms_if_known(track.lost_samples),
        concealed_ms=ms_if_known(track.concealed_samples),
        undecryptable_ms=ms_if_known(track.undecryptable_samples),
        longest_gap_ms=ms_if_known(track.longest_gap_samples),
    )


def _meeting(meeting: Meeting) -> MeetingDict:
    return MeetingDict(
        meeting_id=meeting.id,
        channel_id=meeting.channel_id,
        guild_id=meeting.guild_id,
        user_id=meeting.user_id,
        title=meeting.title,
        status=meeting.status.value,
        end_reason=meeting.end_reason,
        error=meeting.error,
        recovered=meeting.recovered,
        paused_dropped_bytes=meeting.paused_dropped_bytes,
        started_at=meeting.started_at,
        ended_at=meeting.ended_at,
    )
