"""Recovery: meetings that a dead recorder left are sealed and taken over, so that they finish by themselves."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from discord_recorder.errors import DatabaseError
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing import left_marks
from discord_recorder.recording.finishing.left_files import left_chunk
from discord_recorder.recording.tracks.chunk_file import JOURNAL, ChunkPlace
from discord_recorder.recording.transcoding.queue import SqlTranscodeQueue
from discord_recorder.storage import chunks, marks, meetings
from discord_recorder.storage.files import files_below, sync_folder
from discord_recorder.storage.records import LIVE, UNKNOWN_TRACK, Chunk, Meeting, MeetingStatus, NewChunk, Track

log = logging.getLogger(__name__)

INTERRUPTED = "interrupted: the recorder's process ended without stopping the session"


class Recovery:
    """Finds what nobody alive owns and makes this recorder its owner."""

    def __init__(self, context: Context, queue: SqlTranscodeQueue) -> None:
        self._context = context
        self._queue = queue
        self._unsealed_meetings: dict[MeetingId, Meeting] = {}

    async def take_over(self) -> list[Meeting]:
        """Own every unfinished meeting that no live recorder owns, with all its audio sealed; gives them.

        Jobs that a dead worker had in hand are QUEUED again. Meetings of other live recorders are left alone. One that
        cannot be sealed yet does not hold the others up, and is tried again by the next call.
        """
        mine = await self._context.database.write(self._own)
        self._unsealed_meetings |= {meeting.id: meeting for meeting in mine}
        waiting = list(self._unsealed_meetings.values())
        sealed = [meeting for meeting in waiting if await self._seal_if_possible(meeting)]
        if sealed:
            self._queue.announce()
        return sealed

    def _own(self, tx: Connection) -> list[Meeting]:
        # Within the transaction: whoever owns a row that can be read here was known as alive before he wrote it.
        alive = self._context.registry.alive()
        chunks.requeue_dead(tx, alive)
        left = meetings.unowned(tx, alive)
        return [meeting for meeting in left if meetings.take_over(tx, meeting, self._context.owner)]

    async def _seal_if_possible(self, meeting: Meeting) -> bool:
        try:
            await self._seal(meeting)
        except (DatabaseError, OSError):
            log.exception("A meeting could not be taken over yet; it is tried again", extra={"meeting": meeting.id})
            return False
        del self._unsealed_meetings[meeting.id]
        return True

    async def _seal(self, meeting: Meeting) -> None:
        rows = await self._context.database.read(chunks.of_meeting, meeting.id)
        last_audio = await asyncio.to_thread(self._last_audio, meeting)
        found = await asyncio.to_thread(lambda: list(self._unsealed(meeting, rows)))
        left = await asyncio.to_thread(left_marks.read, self._context.meeting_folder(meeting.id))
        values: dict[str, Any] = {
            "status": MeetingStatus.PROCESSING,
            "ended_at": meeting.ended_at or last_audio or self._context.clock.now(),
        }
        if meeting.status in LIVE:
            marked = [*await self._context.database.read(marks.of_meeting, meeting.id), *left]
            ends = [*(chunk.end_sample for chunk in (*rows, *found)), *(mark.end_sample for mark in marked)]
            values["duration_samples"] = max(ends, default=0)
        if meeting.owner is not None or meeting.status in LIVE:  # who leaves in good order owns nothing
            values |= {"recovered": True, "end_reason": meeting.end_reason or INTERRUPTED}

        def enqueue(tx: Connection) -> None:
            meetings.name_speakers(tx, meeting.id, dict.fromkeys(chunk.track for chunk in found))
            self._queue.enqueue(tx, found)
            left_marks.store(tx, meeting.id, left)
            meetings.change(tx, meeting.id, **values)

        await self._context.database.write(enqueue)
        log.warning("A meeting was taken over", extra={"meeting": meeting.id, "unsealed_chunks": len(found)})

    def _last_audio(self, meeting: Meeting) -> datetime | None:
        """When the last file of the meeting was written to."""
        times = [path.lstat().st_mtime for path in files_below(self._context.meeting_folder(meeting.id))]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def _unsealed(self, meeting: Meeting, rows: Sequence[Chunk]) -> Iterator[NewChunk]:
        """Chunks that no row names, from their files, torn ends passed over; a file without audio is removed."""
        known = {row.source_key for row in rows}
        ends: dict[str, int] = {}  # of what is recorded of each track
        for row in rows:
            ends[row.track] = max(row.end_sample, ends.get(row.track, 0))
        folder = self._context.meeting_folder(meeting.id)
        found = [(path, place) for path in files_below(folder) if (place := _place_of(path)) is not None]
        # Journals last: of them only what comes after all other audio of their track is to be recorded.
        for path, place in sorted(found, key=lambda each: (each[1].suffix == JOURNAL, each[0])):
            if self._context.temp_key(path) in known or path.parent.parent != folder:
                continue
            track = Track(path.parent.name)
            left = left_chunk(path, place, recorded_until=ends.get(track, 0))
            if left is None:
                continue
            left.settle()
            sync_folder(path.parent)
            new = NewChunk(
                meeting_id=meeting.id,
                track=track,
                guild_id=meeting.guild_id,
                start_sample=left.place.start_sample,
                sample_count=left.sample_count,
                preroll_samples=left.place.preroll_samples,
                source_key=self._context.temp_key(left.path),
                mp3_key=self._context.temp_key(left.path.with_suffix(".mp3")),
            )
            ends[track] = max(new.start_sample + new.sample_count, ends.get(track, 0))
            yield new


def _place_of(path: Path) -> ChunkPlace | None:
    """Where a file's audio belongs; None when it is no chunk file of a speaker's."""
    track = path.parent.name
    of_speaker = track == UNKNOWN_TRACK or (track.isascii() and track.isdecimal())
    return ChunkPlace.of_file(path) if of_speaker and path.is_file() and not path.is_symlink() else None
