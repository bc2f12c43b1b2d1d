"""The manager: starts, stops and looks after all sessions of one process."""

import asyncio
import functools
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from discord_recorder.errors import (
    DatabaseError,
    DiscordRecorderError,
    MeetingExistsError,
)
from discord_recorder.ids import Snowflake, generate_16_char_uuid, parse_meeting_id, parse_snowflake
from discord_recorder.recording.archive import Archive
from discord_recorder.recording.context import Context
from discord_recorder.recording.disk import DiskWatch
from discord_recorder.recording.finalizer import Finalizer
from discord_recorder.recording.queue import SqlTranscodeQueue
from discord_recorder.recording.recovery import Recovery
from discord_recorder.recording.retention import Retention
from discord_recorder.recording.session import DiscordSessionHandler
from discord_recorder.recording.sessions import Sessions
from discord_recorder.recording.status import SessionStatus
from discord_recorder.recording.workers import WorkerPool
from discord_recorder.storage import meetings
from discord_recorder.storage.records import LIVE, Chunk, Meeting, MeetingStatus

log = logging.getLogger(__name__)

STOPPED: Final = "stopped"
SHUT_DOWN: Final = "the recorder was shut down"

RETRY_SECONDS: Final = 1.0
"""How long to wait before a session that could not be sealed is tried again."""


class RecordingManager:
    """All sessions of this process, and the workers, the finalizer and the cleanup behind them."""

    def __init__(self, context: Context, sessions: Sessions) -> None:
        self.sessions = sessions
        self._context = context
        self._queue = SqlTranscodeQueue(context)
        self._workers = WorkerPool(context, self._queue, self._settled)
        self._recovery = Recovery(context, self._queue)
        self._finalizer = Finalizer(context, self._recovery, self._workers.is_busy_with)
        self.archive = Archive(context, self._queue, self._finalizer)
        """What can be done with meetings that have ended."""
        self._retention = Retention(context)
        self._starting: set[Snowflake] = set()
        self._stopping: dict[Snowflake, asyncio.Task[bool]] = {}
        self._cleanup_task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take over what a dead recorder left, then start working."""
        await self._recovery.take_over()
        self._workers.start()
        self._finalizer.start()
        self._cleanup_task = asyncio.create_task(self._cleanup_loop(), name="cleanup")

    async def aclose(self) -> None:
        """Stop all sessions, finish what the grace period allows, and leave the rest to the next start.

        A caller that is cancelled shortens the grace period; everything is put down in good order all the same.
        """
        try:
            await self._finish(self._context.settings.shutdown_grace_seconds)
        finally:
            await self._end_tasks()

    async def _finish(self, grace: float) -> None:
        self._finalizer.hurry(grace)
        stops = [
            asyncio.create_task(self.stop(channel_id, max_wait_seconds=grace, reason=SHUT_DOWN))
            for channel_id in list(self.sessions)
        ]
        if stops:
            # A stop that waits for the database is not waited for: what it has waits on the disk for the next start.
            ended, waiting = await asyncio.wait(stops, timeout=grace + self._context.settings.database_busy_seconds)
            for stop in ended:
                if not stop.cancelled() and (error := stop.exception()):
                    log.error("A session could not be stopped; the next start finishes its meeting", exc_info=error)
            for stop in waiting:
                stop.cancel()
        try:
            await self._finalizer.drain(grace)
        except DiscordRecorderError:
            log.exception("The last meetings could not be finished; the next start finishes them")

    async def _end_tasks(self) -> None:
        if self._cleanup_task is not None:
            self._cleanup_task.cancel()
            await asyncio.gather(self._cleanup_task, return_exceptions=True)
        stopping = list(self._stopping.values())
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)
        await self._finalizer.aclose()
        await self._workers.aclose()
        for channel_id in list(self.sessions):
            session = self.sessions[channel_id]
            await session.aclose()
            self.sessions.remove(parse_snowflake(channel_id, "channel id"))
        try:
            async with self._context.database.write() as tx:
                await meetings.disown(tx, self._context.owner)
        except DiscordRecorderError:
            log.warning("Meetings in work could not be given up; the next start takes them over all the same")

    # --- sessions

    async def start(
        self,
        channel_id: int | str,
        meeting_id: str | None = None,
        user_id: int | str | None = None,
        guild_id: int | str | None = None,
        *,
        title: str | None = None,
        session_handler_class: type[DiscordSessionHandler] = DiscordSessionHandler,
    ) -> bool:
        """Start a session; False when the channel has one already, in this process or another one.

        Raises `InvalidIdError`, `MeetingExistsError`, `StorageError` when the disk is full, `DatabaseError`.
        """
        channel = parse_snowflake(channel_id, "channel id")
        meeting = Meeting(
            id=parse_meeting_id(generate_16_char_uuid() if meeting_id is None else meeting_id),
            channel_id=channel,
            guild_id=None if guild_id is None else parse_snowflake(guild_id, "guild id"),
            user_id=None if user_id is None else parse_snowflake(user_id, "user id"),
            title=title,
            status=MeetingStatus.RECORDING,
            end_reason=None,
            error=None,
            owner=self._context.owner,
            recovered=False,
            paused_dropped_bytes=0,
            started_at=self._context.clock.now(),
            ended_at=None,
        )
        if channel in self.sessions or channel in self._starting:
            return False
        DiskWatch(self._context.settings).require_room()
        self._starting.add(channel)
        try:
            if not await self._register(meeting):
                return False
            try:
                session = session_handler_class(
                    context=self._context, queue=self._queue, meeting=meeting, on_broken=self._session_broken
                )
            except Exception:  # a handler class of the caller's; nothing was recorded
                await self._unregister(meeting)
                raise
            session.start()
            self.sessions.add(channel, session)
        except asyncio.CancelledError:
            await self._unregister(meeting)
            raise
        finally:
            self._starting.discard(channel)
        return True

    async def stop(
        self, channel_id: int | str, *, max_wait_seconds: float | None = None, reason: str = STOPPED
    ) -> bool:
        """Stop a session, wait for its transcodes (up to the limit) and promote it; False without a session.

        Transcodes that are pending at the limit go on, and the meeting is promoted by itself when they end. A second
        caller joins the first one's stop. A caller that is cancelled stops waiting, the stop goes on. So it does when
        this raises `DatabaseError`: the audio waits on the disk, and is sealed as soon as the database can be written.
        """
        channel = parse_snowflake(channel_id, "channel id")
        session = self.sessions.get(channel)
        if session is None:
            return False
        wait = self._context.settings.transcode_wait_seconds if max_wait_seconds is None else max_wait_seconds
        stopping = self._stopping.get(channel)
        if stopping is None:
            stopping = self._begin(channel, self._stop(channel, session, wait, reason))
        return await asyncio.shield(stopping)

    async def pause(self, channel_id: int | str) -> bool:
        """Pause a session; False without one."""
        session = self.sessions.get(parse_snowflake(channel_id, "channel id"))
        if session is None:
            return False
        if session.is_recording or session.is_paused:
            await session.pause()
        return session.is_paused

    async def resume(self, channel_id: int | str) -> bool:
        """Go on with a paused session; False without one."""
        session = self.sessions.get(parse_snowflake(channel_id, "channel id"))
        if session is None:
            return False
        if session.is_recording or session.is_paused:
            await session.resume()
        return session.is_recording

    async def status(self, channel_id: int | str) -> SessionStatus | None:
        """The state of a channel's session; None without one."""
        session = self.sessions.get(parse_snowflake(channel_id, "channel id"))
        return None if session is None else await session.status()

    async def statuses(self) -> list[SessionStatus]:
        """The states of all sessions of this process."""
        return [await session.status() for session in list(self.sessions.values())]

    # --- meetings

    async def wait_for_pending_transcodes(self, meeting_id: str, max_wait_seconds: float | None = None) -> bool:
        """Wait until nothing of a meeting is QUEUED or IN_PROGRESS; False when something still is at the limit."""
        wait = self._context.settings.transcode_wait_seconds if max_wait_seconds is None else max_wait_seconds
        return await self._finalizer.wait_until_settled(parse_meeting_id(meeting_id), wait)

    async def cleanup_old_temp_recordings_once(self, ttl_hours: float | None = None) -> int:
        """Remove temp recordings older than the TTL and orphaned files; gives the number of temp recordings removed."""
        return await self._retention.clean_up(self._context.settings.temp_ttl_hours if ttl_hours is None else ttl_hours)

    @property
    def undeletable_files(self) -> int:
        """How often the cleanup could not delete a file, since the start."""
        return self._retention.undeletable_files

    # --- inside

    async def _register(self, meeting: Meeting) -> bool:
        async with self._context.database.write() as tx:
            alive = await asyncio.to_thread(self._context.registry.alive)
            live = await meetings.find(tx, *LIVE, channel_id=meeting.channel_id)
            # One of our own is no session here (`sessions` has those), but a dead recorder's that is being taken over.
            if any(other.owner in alive - {self._context.owner} for other in live):
                return False
            if not await meetings.add(tx, meeting):
                raise MeetingExistsError(
                    f"Meeting id {meeting.id} was used before, and a recording is never overwritten. Leave the id out "
                    "to have one made, or use generate_16_char_uuid()."
                )
        return True

    async def _unregister(self, meeting: Meeting) -> None:
        """Forget a meeting that got no session; nothing happens when it was not registered."""
        async with self._context.database.write() as tx:
            if await meetings.get(tx, meeting.id) == meeting:
                await meetings.remove(tx, meeting.id)

    def _begin(self, channel: Snowflake, stop: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        stopping = asyncio.create_task(stop, name=f"stop of {channel}")
        self._stopping[channel] = stopping
        stopping.add_done_callback(functools.partial(self._stop_ended, channel))
        return stopping

    def _stop_ended(self, channel: Snowflake, stopping: asyncio.Task[bool]) -> None:
        if self._stopping.get(channel) is stopping:
            del self._stopping[channel]

    async def _stop(
        self, channel: Snowflake, session: DiscordSessionHandler, max_wait_seconds: float, reason: str
    ) -> bool:
        try:
            await self._seal_off(session, reason)
        except DatabaseError:
            self._begin(channel, self._stop_patiently(channel, session, max_wait_seconds, reason))
            raise
        return await self._promote(channel, session, max_wait_seconds)

    async def _stop_patiently(
        self, channel: Snowflake, session: DiscordSessionHandler, max_wait_seconds: float, reason: str
    ) -> bool:
        while True:
            try:
                await self._seal_off(session, reason)
            except DatabaseError:
                log.warning(
                    "A stopped session cannot be sealed yet", extra={"meeting": session.meeting_id}, exc_info=True
                )
                await self._context.clock.sleep(RETRY_SECONDS)
            else:
                return await self._promote(channel, session, max_wait_seconds)

    async def _seal_off(self, session: DiscordSessionHandler, reason: str) -> None:
        """Bring a session's audio and its end into the database; may be repeated."""
        await session.end()
        self._finalizer.adopt(session.meeting_id, session.assembly)
        async with self._context.database.write() as tx:
            await meetings.name_speakers(tx, session.meeting_id, session.speaker_names)
            await meetings.change(
                tx,
                session.meeting_id,
                status=MeetingStatus.PROCESSING,
                end_reason=reason,
                ended_at=self._context.clock.now(),
                paused_dropped_bytes=session.dropped_bytes,
            )

    async def _promote(self, channel: Snowflake, session: DiscordSessionHandler, max_wait_seconds: float) -> bool:
        try:
            if await self._finalizer.wait_until_settled(session.meeting_id, max_wait_seconds):
                await self._finalizer.finalize(session.meeting_id)
        except (DiscordRecorderError, OSError):
            log.exception(
                "A meeting could not be promoted yet; it is tried again", extra={"meeting": session.meeting_id}
            )
        finally:
            self.sessions.remove(channel)
            await session.aclose()
            self._finalizer.changed.send()
        return True

    def _session_broken(self, session: DiscordSessionHandler, reason: str) -> None:
        log.error("A session ends: %s", reason, extra={"meeting": session.meeting_id})
        channel = parse_snowflake(session.channel_id, "channel id")
        if channel not in self._stopping:
            wait = self._context.settings.transcode_wait_seconds
            self._begin(channel, self._stop_patiently(channel, session, wait, reason))

    async def _settled(self, done: Sequence[Chunk]) -> None:
        by_meeting = {session.meeting_id: session for session in self.sessions.values()}
        for meeting_id in {chunk.meeting_id for chunk in done}:
            if (session := by_meeting.get(meeting_id)) is not None:
                session.assembly.kick()
        self._finalizer.changed.send()

    async def _cleanup_loop(self) -> None:
        while True:
            await self._context.clock.sleep(self._context.settings.cleanup_interval_seconds)
            try:
                await self.cleanup_old_temp_recordings_once()
            except Exception:
                log.exception("The cleanup was interrupted; it runs again next time")
