"""What the database is told of a session beside its chunks: status, marks, names, counters, and its end.

Nothing here holds capture up: changes are kept in memory and stored in the background, all there are in one
transaction. While the database is busy they wait, and are tried again.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing import left_marks
from discord_recorder.recording.session import mark_log
from discord_recorder.recording.session.mark_log import MarkLog, Unstored
from discord_recorder.storage import meetings
from discord_recorder.storage.records import MeetingStatus, Track

log = logging.getLogger(__name__)

FIGURES_SECONDS: Final = 10.0
"""How often figures are stored that change all the time: packet counters, the length of a pause."""

RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a session is like now."""

    status: MeetingStatus | None
    """None when it has ended: `SessionStore.end` stores what it is then."""
    paused_dropped_bytes: int
    packets: str | None
    """JSON, see `status.stored_packets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """How a session ended."""

    reason: str
    ended_at: datetime
    duration_samples: int


class SessionStore:
    """Stores what changes in a session. All of it is stored by tasks of its own, so no cancelled caller matters.

    Args:
        context: of the recorder.
        meeting_id: whose rows are written.
        figures: gives what the session is like now.
    """

    def __init__(self, context: Context, meeting_id: MeetingId, marks: MarkLog, figures: Callable[[], Figures]) -> None:
        self._context = context
        self._meeting_id = meeting_id
        self._marks = marks
        self._figures = figures
        self._names: dict[Track, str] = {}
        self._stored: dict[str, Any] = {"status": MeetingStatus.RECORDING, "paused_dropped_bytes": 0}
        self._figures_at = -math.inf
        self._has_ended = False
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._storing: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Store in the background what `tick` finds."""
        self._figures_at = self._context.clock.monotonic()
        self._task = asyncio.create_task(self._run(), name=f"store of {self._meeting_id}")

    def tick(self) -> None:
        """Have stored what is new; from time to time, figures as well."""
        if self._are_figures_due():
            self._marks.lengthen_pause()
            self._wanted.set()
        elif self._marks.unstored() or self._names:
            self._wanted.set()

    def name(self, track: Track, name: str) -> asyncio.Future[None]:
        """Have a speaker's name stored; await the result to know that it is, or why it has to wait."""
        self._names[track] = name
        stored = asyncio.shield(self._next_round())
        stored.add_done_callback(_look_at)
        return stored

    async def store(self) -> None:
        """Store what is new now; raises `DatabaseError` when that has to wait, and it is tried again."""
        await asyncio.shield(self._next_round())

    async def end(self, end: SessionEnd) -> None:
        """Store all there is, and that the meeting is in processing; raises `DatabaseError`: call again."""
        await asyncio.shield(self._begin(self._store(end)))

    async def aclose(self, *, is_forgotten: bool = False) -> None:
        """Store no more; what is being stored now is ended first, and what is not stored then is left for recovery."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await asyncio.gather(*self._storing, return_exceptions=True)
        left = [replace(mark, id=entry.row_id) for entry, mark in self._marks.unstored()]
        if left and not self._has_ended and not is_forgotten:
            folder = self._context.meeting_folder(self._meeting_id)
            try:
                await asyncio.to_thread(left_marks.leave, folder, left)
            except OSError:
                log.exception("What happened to a meeting could not be kept", extra={"meeting": self._meeting_id})

    # --- inside

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.store()
            except Exception:
                log.warning(
                    "What happened to a meeting could not be stored yet; it is tried again",
                    extra={"meeting": self._meeting_id},
                    exc_info=True,
                )
                await self._context.clock.sleep(RETRY_SECONDS)
                self._wanted.set()

    async def _store(self, end: SessionEnd | None = None) -> None:
        async with self._lock:
            if end is None:
                self._waiting = None
            now, values = self._context.clock.monotonic(), self._changes(end)
            marks, names = self._marks.unstored(), dict(self._names)
            if values or marks or names:
                row_ids = await self._context.database.write(self._write, values, marks, names)
                self._stored |= values
                self._marks.was_stored(marks, row_ids)
                self._names = {track: name for track, name in self._names.items() if names.get(track) != name}
            self._has_ended = self._has_ended or end is not None
            if now - self._figures_at >= FIGURES_SECONDS:
                self._figures_at = now

    def _write(self, tx: Connection, values: dict[str, Any], marks: Unstored, names: dict[Track, str]) -> list[int]:
        if names:
            meetings.name_speakers(tx, self._meeting_id, names)
        if values:
            meetings.change(tx, self._meeting_id, **values)
        return mark_log.write(tx, self._meeting_id, marks)

    def _changes(self, end: SessionEnd | None) -> dict[str, Any]:
        """The meeting's values that are not stored yet; figures only with others, or when they are due."""
        now = self._figures()
        values: dict[str, Any] = {}
        if end is not None:
            values = {
                "status": MeetingStatus.PROCESSING,
                "end_reason": end.reason,
                "ended_at": end.ended_at,
                "duration_samples": end.duration_samples,
            }
        elif now.status is not None and now.status is not self._stored["status"]:
            values = {"status": now.status}
        if values or self._are_figures_due():
            values |= {"paused_dropped_bytes": now.paused_dropped_bytes, "packets": now.packets}
        return {name: value for name, value in values.items() if value != self._stored.get(name)}

    def _are_figures_due(self) -> bool:
        return self._context.clock.monotonic() - self._figures_at >= FIGURES_SECONDS

    def _next_round(self) -> asyncio.Task[None]:
        """What will store all there is now: one for all who ask while another is going on."""
        if self._waiting is None:
            self._waiting = self._begin(self._store())
        return self._waiting

    def _begin(self, storing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(storing)
        self._storing.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._storing.discard(task)
        if _look_at(task) is not None:
            self._wanted.set()  # the background goes on, and tells


def _look_at(ended: asyncio.Future[None]) -> BaseException | None:
    """Why it failed; nobody else may want to know."""
    return None if ended.cancelled() else ended.exception()
