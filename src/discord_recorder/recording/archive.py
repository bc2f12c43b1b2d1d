"""What can be done with a meeting that has ended: wait for its recording, retry what failed, delete it."""

import asyncio
import shutil
from collections.abc import Sequence

from discord_recorder.errors import MeetingActiveError, MeetingNotFoundError
from discord_recorder.ids import MeetingId, parse_meeting_id
from discord_recorder.recording.context import Context
from discord_recorder.recording.finalizer import POLL_SECONDS, Finalizer
from discord_recorder.recording.queue import SqlTranscodeQueue
from discord_recorder.storage import chunks, meetings, recordings
from discord_recorder.storage.records import LIVE, Meeting, MeetingStatus


class Archive:
    """Meetings that are no sessions any more."""

    def __init__(self, context: Context, queue: SqlTranscodeQueue, finalizer: Finalizer) -> None:
        self._context = context
        self._queue = queue
        self._finalizer = finalizer

    async def wait_until_ended(self, meeting_id: str, max_wait_seconds: float) -> bool:
        """Wait until a stopped or retried meeting is out of processing; False when it still is in it at the limit."""
        parsed = parse_meeting_id(meeting_id)
        deadline = self._context.clock.monotonic() + max_wait_seconds
        while True:
            ticket = self._finalizer.changed.ticket()
            if (await self._meeting(parsed)).status is not MeetingStatus.PROCESSING:
                return True
            left = deadline - self._context.clock.monotonic()
            if left <= 0:
                return False
            await self._finalizer.changed.wait(ticket, min(left, POLL_SECONDS))

    async def retry(self, meeting_id: str) -> int:
        """Queue a meeting's FAILED chunks again, and mend its recording when they are done; gives their number.

        Raises `MeetingNotFoundError`, and `MeetingActiveError` while another recorder owns the meeting.
        """
        parsed = parse_meeting_id(meeting_id)
        # Not while it is promoted or mended: that goes by what FAILED when it began, and deletes the rest.
        async with self._finalizer.lock_of(parsed), self._context.database.write() as tx:
            alive = await asyncio.to_thread(self._context.registry.alive)
            meeting = await meetings.get(tx, parsed)
            if meeting is None:
                raise _unknown(parsed)
            if meeting.owner != self._context.owner and meeting.owner in alive:
                raise MeetingActiveError(f"Meeting {parsed} belongs to another running recorder; retry it there.")
            queued = await chunks.retry_failed(tx, parsed)
            if meeting.status not in LIVE:
                await meetings.change(
                    tx, parsed, status=MeetingStatus.PROCESSING, owner=self._context.owner, error=None
                )
        self._queue.announce()
        self._finalizer.changed.send()
        return queued

    async def delete(self, meeting_id: str) -> None:
        """Delete a meeting with everything it left: rows first, then files, so that nothing can bring it back.

        Raises `MeetingNotFoundError`, `MeetingActiveError` while it is recorded or processed, `StorageError` for files
        that could not be deleted (the cleanup tries again). One that cannot be promoted may be deleted all the same.
        """
        parsed = parse_meeting_id(meeting_id)
        async with self._finalizer.lock_of(parsed):
            keys = await self._delete_rows(parsed)
            await asyncio.to_thread(self._delete_files, parsed, keys)
            async with self._context.database.write() as tx:
                await meetings.forget_deletions(tx, [parsed])

    async def _meeting(self, meeting_id: MeetingId) -> Meeting:
        async with self._context.database.read() as tx:
            meeting = await meetings.get(tx, meeting_id)
        if meeting is None:
            raise _unknown(meeting_id)
        return meeting

    async def _delete_rows(self, meeting_id: MeetingId) -> list[str]:
        """Forget a meeting, and give the keys of its files."""
        async with self._context.database.write() as tx:
            alive = await asyncio.to_thread(self._context.registry.alive)
            meeting = await meetings.get(tx, meeting_id)
            if meeting is None:
                raise _unknown(meeting_id)
            pending = meeting_id in await chunks.pending_meetings(tx)
            stuck = meeting.owner == self._context.owner and meeting.error is not None and not pending
            if meeting.status in LIVE or (meeting.owner in alive and not stuck):
                raise MeetingActiveError(
                    f"Meeting {meeting_id} is still {meeting.status}. Stop it and let it finish first."
                )
            found = await recordings.find(tx, meeting_id=meeting_id)
            await recordings.remove(tx, meeting_id)
            await chunks.remove(tx, [chunk.id for chunk in await chunks.of_meeting(tx, meeting_id)])
            await meetings.remove(tx, meeting_id)
            await meetings.note_deletion(tx, meeting_id)
        tracks = [track for recording in found for track in recording.tracks]
        return [key for track in tracks for key in (track.key, track.master_key) if key]

    def _delete_files(self, meeting_id: MeetingId, keys: Sequence[str]) -> None:
        shutil.rmtree(self._context.meeting_folder(meeting_id), ignore_errors=True)
        for key in keys:
            self._context.store.delete(key)


def _unknown(meeting_id: MeetingId) -> MeetingNotFoundError:
    return MeetingNotFoundError(f"There is no meeting {meeting_id}. `discord-recorder recordings` lists them.")
