"""What can be done with a meeting that has ended: wait for its recording, retry what failed, delete it."""

import asyncio
import shutil
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from discord_recorder.errors import MeetingActiveError, MeetingNotFoundError
from discord_recorder.ids import MeetingId, parse_meeting_id
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.finalizer import POLL_SECONDS, Finalizer
from discord_recorder.recording.transcoding.queue import SqlTranscodeQueue
from discord_recorder.storage import chunks, meetings, recordings
from discord_recorder.storage.records import LIVE, Meeting, MeetingStatus

T = TypeVar("T")


class Archive:
    """Meetings that are no sessions any more."""

    def __init__(self, context: Context, queue: SqlTranscodeQueue, finalizer: Finalizer) -> None:
        self._context = context
        self._queue = queue
        self._finalizer = finalizer
        self._working: set[asyncio.Task[Any]] = set()

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
        return await self._to_the_end(self._retry(parse_meeting_id(meeting_id)))

    async def delete(self, meeting_id: str) -> None:
        """Delete a meeting with everything it left: rows first, then files, so that nothing can bring it back.

        Raises `MeetingNotFoundError`, `MeetingActiveError` while it is recorded or processed, `StorageError` for files
        that could not be deleted (the cleanup tries again). One that cannot be promoted may be deleted all the same.
        """
        await self._to_the_end(self._delete(parse_meeting_id(meeting_id)))

    async def aclose(self) -> None:
        """Let what is going on end."""
        await asyncio.gather(*self._working, return_exceptions=True)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what a lock is held for; a caller that is cancelled stops waiting, the work goes on under its lock."""
        working = asyncio.create_task(work)
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        return await asyncio.shield(working)

    async def _retry(self, meeting_id: MeetingId) -> int:
        # Not while it is promoted or mended: that goes by what FAILED when it began, and deletes the rest.
        async with self._finalizer.lock_of(meeting_id):
            queued = await self._context.database.write(self._queue_again, meeting_id)
        self._queue.announce()
        self._finalizer.look_again()
        return queued

    async def _delete(self, meeting_id: MeetingId) -> None:
        async with self._finalizer.lock_of(meeting_id):
            keys = await self._context.database.write(self._delete_rows, meeting_id)
            await asyncio.to_thread(self._delete_files, meeting_id, keys)
            await self._context.database.write(meetings.forget_deletions, [meeting_id])

    async def _meeting(self, meeting_id: MeetingId) -> Meeting:
        return await self._context.database.read(_existing, meeting_id)

    def _queue_again(self, tx: Connection, meeting_id: MeetingId) -> int:
        meeting = _existing(tx, meeting_id)
        if meeting.owner != self._context.owner and meeting.owner in self._context.registry.alive():
            raise MeetingActiveError(f"Meeting {meeting_id} belongs to another running recorder; retry it there.")
        queued = chunks.retry_failed(tx, meeting_id)
        if meeting.status not in LIVE:
            meetings.change(tx, meeting_id, status=MeetingStatus.PROCESSING, owner=self._context.owner, error=None)
        return queued

    def _delete_rows(self, tx: Connection, meeting_id: MeetingId) -> list[str]:
        """Forget a meeting, and give the keys of its files."""
        meeting = _existing(tx, meeting_id)
        pending = chunks.is_pending(tx, meeting_id)
        stuck = meeting.owner == self._context.owner and meeting.error is not None and not pending
        if meeting.status in LIVE or (meeting.owner in self._context.registry.alive() and not stuck):
            raise MeetingActiveError(
                f"Meeting {meeting_id} is still {meeting.status}. Stop it and let it finish first."
            )
        found = recordings.find(tx, meeting_id=meeting_id)
        recordings.remove(tx, meeting_id)
        chunks.remove(tx, [chunk.id for chunk in chunks.of_meeting(tx, meeting_id)])
        meetings.remove(tx, meeting_id)
        meetings.note_deletion(tx, meeting_id)
        return [key for recording in found for key in recording.keys]

    def _delete_files(self, meeting_id: MeetingId, keys: Sequence[str]) -> None:
        shutil.rmtree(self._context.meeting_folder(meeting_id), ignore_errors=True)
        for key in keys:
            self._context.store.delete(key)


def _existing(tx: Connection, meeting_id: MeetingId) -> Meeting:
    meeting = meetings.get(tx, meeting_id)
    if meeting is None:
        raise MeetingNotFoundError(f"There is no meeting {meeting_id}. `discord-recorder recordings` lists them.")
    return meeting
