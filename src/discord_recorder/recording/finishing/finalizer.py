"""The finalizer: brings every meeting that this recorder owns to its end as soon as its transcodes have ended."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final

from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.assembly import MeetingAssembly
from discord_recorder.recording.finishing.promotion import Promoter
from discord_recorder.recording.finishing.recovery import Recovery
from discord_recorder.recording.signal import Signal
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.records import MeetingStatus

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
"""How often to look at meetings in processing: other recorders may have transcoded their chunks."""

TAKE_OVER_SECONDS: Final = 30.0
"""How often to look for meetings that a dead recorder left."""

LONGEST_PAUSE_SECONDS: Final = 60.0


class Finalizer:
    """Waits for transcodes, promotes, retries what could not be promoted, and takes over what was left behind."""

    def __init__(self, context: Context, recovery: Recovery, is_busy_with: Callable[[MeetingId], bool]) -> None:
        self._context = context
        self._promoter = Promoter(context)
        self._recovery = recovery
        self._is_busy_with = is_busy_with
        self._assemblies: dict[MeetingId, MeetingAssembly] = {}
        self._locks: dict[MeetingId, asyncio.Lock] = {}
        self._not_before: dict[MeetingId, float] = {}
        self._pauses: dict[MeetingId, float] = {}
        self._closing_at = math.inf
        self.changed = Signal()
        """Sent when the state of a chunk or a meeting has changed here."""
        self._due = Signal()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start working in the background."""
        self._task = asyncio.create_task(self._run(), name="finalizer")

    async def aclose(self) -> None:
        """Stop; what is not promoted stays in processing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._promoter.aclose()

    def adopt(self, meeting_id: MeetingId, assembly: MeetingAssembly) -> None:
        """Use the assembly of the session that captured the meeting."""
        self._assemblies[meeting_id] = assembly

    async def is_pending(self, meeting_id: MeetingId) -> bool:
        """True while chunks of the meeting are QUEUED or IN_PROGRESS, or one that is DONE is still being cleaned."""
        pending = await self._context.database.read(chunks.is_pending, meeting_id)
        return pending or self._is_busy_with(meeting_id)  # in this order: a chunk becomes DONE before it is put down

    async def wait_until_settled(self, meeting_id: MeetingId, max_wait_seconds: float) -> bool:
        """Wait for the meeting's transcodes; False when some are still pending at the limit."""
        deadline = self._context.clock.monotonic() + max_wait_seconds
        while True:
            ticket = self.changed.ticket()
            if not await self.is_pending(meeting_id):
                return True
            left = min(deadline, self._closing_at) - self._context.clock.monotonic()
            if left <= 0:
                return False
            await self.changed.wait(ticket, min(left, POLL_SECONDS))

    async def finalize(self, meeting_id: MeetingId) -> None:
        """Promote or mend a meeting now if it is ready and ours; raises what kept it from being done."""
        async with self.lock_of(meeting_id):
            meeting = await self._context.database.read(meetings.get, meeting_id)
            if meeting is None or meeting.status is not MeetingStatus.PROCESSING:
                return
            if meeting.owner != self._context.owner or await self.is_pending(meeting_id):
                return
            # Once used, an assembly is spent: after a failure the next try makes its files anew from the chunks.
            await self._promoter.finalize(meeting_id, self._assemblies.pop(meeting_id, None))
        self._not_before.pop(meeting_id, None)
        self._pauses.pop(meeting_id, None)
        self.changed.send()

    def lock_of(self, meeting_id: MeetingId) -> asyncio.Lock:
        """Held while a meeting is promoted or mended; hold it to keep that from happening."""
        return self._locks.setdefault(meeting_id, asyncio.Lock())

    def look_again(self) -> None:
        """Tell that a meeting in processing, or one of its chunks, has changed."""
        self.changed.send()
        self._due.send()

    def hurry(self, max_wait_seconds: float) -> None:
        """Let nobody wait for transcodes longer than that from now on, also who is waiting already."""
        self._closing_at = self._context.clock.monotonic() + max_wait_seconds
        self.changed.send()

    async def drain(self, max_wait_seconds: float) -> None:
        """Give meetings in processing that time to finish."""
        deadline = self._context.clock.monotonic() + max_wait_seconds
        ticket = self.changed.ticket()
        while await self._owned() and (left := deadline - self._context.clock.monotonic()) > 0:
            await self.changed.wait(ticket, min(left, POLL_SECONDS))
            ticket = self.changed.ticket()

    async def _run(self) -> None:
        look_again_at = 0.0
        while True:
            ticket = self._due.ticket()
            try:
                if self._context.clock.monotonic() >= look_again_at:
                    await self._recovery.take_over()
                    look_again_at = self._context.clock.monotonic() + TAKE_OVER_SECONDS
                await self._round()
            except Exception:
                log.exception("The finalizer was interrupted; it goes on")
            await self._due.wait(ticket, POLL_SECONDS)

    async def _round(self) -> None:
        now = self._context.clock.monotonic()
        for meeting_id in await self._owned():
            if self._not_before.get(meeting_id, 0.0) > now:
                continue
            try:
                await self.finalize(meeting_id)
            except Exception as error:  # whatever it was, the audio is safe and the next try may succeed
                await self._postpone(meeting_id, error)

    async def _postpone(self, meeting_id: MeetingId, error: Exception) -> None:
        pause = min(self._pauses.get(meeting_id, 0.5) * 2, LONGEST_PAUSE_SECONDS)
        self._pauses[meeting_id] = pause
        self._not_before[meeting_id] = self._context.clock.monotonic() + pause
        log.error(
            "A meeting could not be promoted yet", extra={"meeting": meeting_id, "again_in": pause}, exc_info=error
        )
        await self._context.database.write(meetings.change, meeting_id, error=str(error) or type(error).__name__)

    async def _owned(self) -> list[MeetingId]:
        find = meetings.find
        mine = await self._context.database.read(find, MeetingStatus.PROCESSING, owner=self._context.owner)
        return [meeting.id for meeting in mine]
