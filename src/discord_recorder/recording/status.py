"""What callers see of a live session."""

from datetime import datetime
from typing import TypedDict


class ChunkCounts(TypedDict):
    """How many chunks are in each transcode status."""

    queued: int
    in_progress: int
    done: int
    failed: int


class TrackStatus(TypedDict):
    """One speaker of a live session."""

    user_id: str | None
    name: str | None
    duration_ms: int


class SessionStatus(TypedDict):
    """A live session as callers see it; `duration_ms` is session time, `buffer_size_bytes` is in no sealed chunk."""

    meeting_id: str
    channel_id: str
    guild_id: str | None
    user_id: str | None
    title: str | None
    is_recording: bool
    is_paused: bool
    started_at: datetime
    duration_ms: int
    total_chunks: int
    chunk_statuses: ChunkCounts
    buffer_size_bytes: int
    dropped_bytes: int
    warnings: list[str]
    tracks: list[TrackStatus]
