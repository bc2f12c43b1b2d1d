"""Recovery: meetings that a dead recorder left are sealed and taken over, so that they finish by themselves."""

import asyncio
import logging
from collections.abc import Iterator

from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.recording.chunk_file import SUFFIX, ChunkPlace, ClosedChunk
from discord_recorder.recording.context import Context
from discord_recorder.recording.queue import SqlTranscodeQueue
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.files import sync_folder
from discord_recorder.storage.records import LIVE, Meeting, MeetingStatus, NewChunk, Track

log = logging.getLogger(__name__)

INTERRUPTED = "interrupted: the recorder's process ended without stopping the session"


class Recovery:
    """Finds what nobody alive owns and makes this recorder its owner."""

    def __init__(self, context: Context, queue: SqlTranscodeQueue) -> None:
        self._context = context
        self._queue = queue

    async def take_over(self) -> list[Meeting]:
        """Own every unfinished meeting that no live recorder owns, with all its audio sealed; gives them.

        Jobs that a dead worker had in hand are QUEUED again. Meetings of other live recorders are left alone.
        """
        alive = await asyncio.to_thread(self._context.registry.alive)
        async with self._context.database.write() as tx:
            await chunks.requeue_dead(tx, alive)
            left = await meetings.unowned(tx, alive)
            mine = [meeting for meeting in left if await meetings.take_over(tx, meeting, self._context.owner)]
        for meeting in mine:
            await self._seal(meeting)
        if mine:
            self._queue.announce()
        return mine

    async def _seal(self, meeting: Meeting) -> None:
        async with self._context.database.read() as tx:
            known = {row.source_key for row in await chunks.of_meeting(tx, meeting.id)}
        found = await asyncio.to_thread(lambda: list(self._unsealed(meeting, known)))
        values = {"status": MeetingStatus.PROCESSING, "ended_at": meeting.ended_at or self._context.clock.now()}
        if meeting.status in LIVE:
            values |= {"recovered": True, "end_reason": INTERRUPTED}
        async with self._context.database.write() as tx:
            await meetings.name_speakers(tx, meeting.id, dict.fromkeys(chunk.track for chunk in found))
            await self._queue.enqueue(tx, found)
            await meetings.change(tx, meeting.id, **values)
        log.warning("A meeting was taken over", extra={"meeting": meeting.id, "unsealed_chunks": len(found)})

    def _unsealed(self, meeting: Meeting, known: set[str]) -> Iterator[NewChunk]:
        """Chunk files that no row names; a torn last sample is passed over, a file without audio is removed."""
        for path in sorted(self._context.meeting_folder(meeting.id).glob(f"*/*{SUFFIX}")):
            place, key = ChunkPlace.of_file(path), self._context.temp_key(path)
            if place is None or key in known:
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
