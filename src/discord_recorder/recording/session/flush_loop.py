"""The flush loop of a session: seals what is due, syncs what is open, has stored what is new, and watches the disk."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any, Final

from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.disk import CHECK_SECONDS, DiskWatch
from discord_recorder.recording.session.session_store import SessionStore
from discord_recorder.recording.session.session_tracks import SessionTracks
from discord_recorder.recording.tracks.chunk_file import sync_and_close

log = logging.getLogger(__name__)

SEAL_GRACE: Final = 0.1
"""Part of the flush interval that a chunk may be late: audio in real time fills its chunk a little after it is due,
and is sealed full; only a slower one is sealed by the clock."""

LONGEST_TICK_SECONDS: Final = 0.9
"""Open chunk files are synced at least this often."""


class FlushLoop:
    """Does its round several times in a flush interval. `task` is what runs it: another one takes the old one's place.

    Args:
        context: of the recorder.
        meeting_id: for the log.
        tracks: whose chunks are cut and synced.
        store: what else of the session is stored.
        interval_seconds: gives the flush interval as it is now.
        on_disk_error: told when the disk does not take what was written.
        on_disk_full: told why the session is to end, before the disk is full.
    """

    def __init__(
        self,
        context: Context,
        *,
        meeting_id: MeetingId,
        tracks: SessionTracks,
        store: SessionStore,
        interval_seconds: Callable[[], float],
        on_disk_error: Callable[[OSError], None],
        on_disk_full: Callable[[str], None],
    ) -> None:
        self._clock = context.clock
        self._meeting_id = meeting_id
        self._tracks = tracks
        self._store = store
        self._interval_seconds = interval_seconds
        self._on_disk_error = on_disk_error
        self._on_disk_full = on_disk_full
        self._disk = DiskWatch(context.settings)
        self._disk_checked_at = -math.inf
        self._task: asyncio.Task[Any] | None = None
        self._syncing: asyncio.Future[None] | None = None

    @property
    def warnings(self) -> list[str]:
        """What an operator should know."""
        return [self._disk.warning] if self._disk.warning else []

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task that runs the loop; setting another one, or None, cancels it."""
        return self._task

    @task.setter
    def task(self, task: asyncio.Task[Any] | None) -> None:
        if self._task is not None and self._task is not task:
            self._task.cancel()
        self._task = task

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Do rounds until the session is over."""
        while not is_over():
            await self._clock.sleep(min(LONGEST_TICK_SECONDS, self._interval_seconds() / 4))
            try:
                await self.tick()
            except Exception:
                log.exception("A flush was interrupted; the next one goes on", extra={"meeting": self._meeting_id})

    async def tick(self) -> None:
        """One round."""
        unsynced = self._tracks.tick(self._interval_seconds() * (1 + SEAL_GRACE))
        try:
            self._syncing = asyncio.ensure_future(asyncio.to_thread(sync_and_close, unsynced))
            await asyncio.shield(self._syncing)
        except OSError as error:
            self._on_disk_error(error)
        self._store.tick()
        if self._clock.monotonic() - self._disk_checked_at >= CHECK_SECONDS:
            self._disk_checked_at = self._clock.monotonic()
            if reason := self._disk.look():
                self._on_disk_full(reason)

    async def synced(self) -> None:
        """Return when the files that are being synced are."""
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
