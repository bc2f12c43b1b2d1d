"""Recovery: meetings that a dead recorder left are sealed and taken over, so that they finish by themselves."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.errors import DatabaseError
from discord_recorder.ids import MeetingId
from discord_recorder.recording.chunk_file import ChunkPlace, ClosedChunk
from discord_recorder.recording.context import Context
from discord_recorder.recording.queue import SqlTranscodeQueue
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.files import files_below, sync_folder
from discord_recorder.storage.records import LIVE, UNKNOWN_TRACK, Meeting, MeetingStatus, NewChunk, Track

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
        async with self._context.database.write() as tx:
            # Within the transaction: whoever owns a row that can be read here was known as alive before he wrote it.
            alive = await asyncio.to_thread(self._context.registry.alive)
            await chunks.requeue_dead(tx, alive)
            left = await meetings.unowned(tx, alive)
            mine = [meeting for meeting in left if await meetings.take_over(tx, meeting, self._context.owner)]
        self._unsealed_meetings |= {meeting.id: meeting for meeting in mine}
        waiting = list(self._unsealed_meetings.values())
        sealed = [meeting for meeting in waiting if await self._seal_if_possible(meeting)]
        if sealed:
            self._queue.announce()
        return sealed

    async def _seal_if_possible(self, meeting: Meeting) -> bool:
        try:
            await self._seal(meeting)
        except (DatabaseError, OSError):
            log.exception("A meeting could not be taken over yet; it is tried again", extra={"meeting": meeting.id})
            return False
        del self._unsealed_meetings[meeting.id]
        return True

    async def _seal(self, meeting: Meeting) -> None:
        async with self._context.database.read() as tx:
            known = {row.source_key for row in await chunks.of_meeting(tx, meeting.id)}
        last_audio = await asyncio.to_thread(self._last_audio, meeting)
        found = await asyncio.to_thread(lambda: list(self._unsealed(meeting, known)))
        values = {
            "status": MeetingStatus.PROCESSING,
            "ended_at": meeting.ended_at or last_audio or self._context.clock.now(),
        }
        if meeting.owner is not None or meeting.status in LIVE:  # who leaves in good order owns nothing
            values |= {"recovered": True, "end_reason": meeting.end_reason or INTERRUPTED}
        async with self._context.database.write() as tx:
            await meetings.name_speakers(tx, meeting.id, dict.fromkeys(chunk.track for chunk in found))
            await self._queue.enqueue(tx, found)
            await meetings.change(tx, meeting.id, **values)
        log.warning("A meeting was taken over", extra={"meeting": meeting.id, "unsealed_chunks": len(found)})

    def _last_audio(self, meeting: Meeting) -> datetime | None:
        """When the last file of the meeting was written to."""
        times = [path.lstat().st_mtime for path in files_below(self._context.meeting_folder(meeting.id))]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def _unsealed(self, meeting: Meeting, known: set[str]) -> Iterator[NewChunk]:
        """Chunk files that no row names; a torn last sample is passed over, a file without audio is removed."""
        folder = self._context.meeting_folder(meeting.id)
        for path in sorted(files_below(folder)):
            place, key = _place_of(path), self._context.temp_key(path)
            if place is None or key in known or path.parent.parent != folder:
                continue
            samples = path.stat().st_size // SAMPLE_BYTES - place.preroll_samples
            if samples <= 0:
                path.unlink()
                continue
            ClosedChunk(path=path, place=place, sample_count=samples).settle()
            sync_folder(path.parent)
            yield NewChunk(
                meeting_id=meeting.id,
                track=Track(path.parent.name),
                guild_id=meeting.guild_id,
                start_sample=place.start_sample,
                sample_count=samples,
                preroll_samples=place.preroll_samples,
                source_key=key,
                mp3_key=self._context.temp_key(path.with_suffix(".mp3")),
            )


def _place_of(path: Path) -> ChunkPlace | None:
    """Where a file's audio belongs; None when it is no chunk file of a speaker's."""
    track = path.parent.name
    of_speaker = track == UNKNOWN_TRACK or (track.isascii() and track.isdecimal())
    return ChunkPlace.of_file(path) if of_speaker and path.is_file() and not path.is_symlink() else None
