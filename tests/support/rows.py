"""Rows as values, with everything filled in that a test does not care for."""

from datetime import UTC, datetime
from typing import Any

from discord_recorder.ids import MeetingId
from discord_recorder.storage.records import (
    Chunk,
    Meeting,
    MeetingStatus,
    NewChunk,
    RecordingTrack,
    Track,
    TrackKind,
    TranscodeStatus,
)

STARTED_AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
MEETING_ID = MeetingId("0123456789abcdef")
ALICE_TRACK = Track("1001")
BOB_TRACK = Track("1002")


def a_meeting(**values: Any) -> Meeting:
    """A meeting that is being recorded."""
    given: dict[str, Any] = {
        "id": MEETING_ID,
        "channel_id": "55",
        "guild_id": "66",
        "user_id": "1001",
        "title": "Stand-up",
        "status": MeetingStatus.RECORDING,
        "end_reason": None,
        "error": None,
        "owner": "host-1-aa",
        "recovered": False,
        "paused_dropped_bytes": 0,
        "started_at": STARTED_AT,
        "ended_at": None,
    }
    return Meeting(**{**given, **values})


def a_chunk(number: int = 0, *, meeting_id: MeetingId = MEETING_ID, track: Track = ALICE_TRACK) -> NewChunk:
    """The chunk of that number of a track, 10 s each."""
    start = number * 480_000
    return NewChunk(
        meeting_id=meeting_id,
        track=track,
        guild_id="66",
        start_sample=start,
        sample_count=480_000,
        preroll_samples=min(start, 24_000),
        source_key=f"{meeting_id}/{track}/{start:012d}.pcm",
        mp3_key=f"{meeting_id}/{track}/{start:012d}.mp3",
    )


def a_track(track: Track = ALICE_TRACK, **values: Any) -> RecordingTrack:
    """A speaker's file in a recording."""
    given: dict[str, Any] = {
        "track": track,
        "kind": TrackKind.SPEAKER,
        "name": None,
        "key": f"{MEETING_ID}/{track}.mp3",
        "master_key": None,
        "samples": 480_000,
        "size_bytes": 1000,
        "sha256": "0" * 64,
    }
    return RecordingTrack(**{**given, **values})


def a_chunk_row(number: int = 0, **values: Any) -> Chunk:
    """The row of that chunk, DONE."""
    new = a_chunk(number)
    given: dict[str, Any] = {name: getattr(new, name) for name in NewChunk.__dataclass_fields__}
    given |= {
        "id": number + 1,
        "transcode_status": TranscodeStatus.DONE,
        "attempts": 1,
        "owner": None,
        "lease_expires_at": None,
        "not_before": 0.0,
        "error": None,
        "created_at": STARTED_AT,
        "completed_at": STARTED_AT,
        "sha256": "0" * 64,
        "cleaned": True,
    }
    return Chunk(**{**given, **values})
