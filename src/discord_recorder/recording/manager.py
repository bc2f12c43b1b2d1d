"""The manager: starts, stops and looks after all sessions of one process."""

import asyncio
import functools
import logging
import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from discord_recorder.errors import (
    DatabaseError,
    DiscordRecorderError,
    MeetingExistsError,
)
from discord_recorder.ids import Snowflake, generate_16_char_uuid, parse_meeting_id, parse_snowflake
from discord_recorder.recording.context import Context
from discord_recorder.recording.disk import DiskWatch
from discord_recorder.recording.finishing.archive import Archive
from discord_recorder.recording.finishing.finalizer import Finalizer
from discord_recorder.recording.finishing.recovery import Recovery
from discord_recorder.recording.finishing.retention import Retention
from discord_recorder.recording.live.calls import Calls
from discord_recorder.recording.live.voice_port import VoicePlace, VoicePort
from discord_recorder.recording.session.handler import DiscordSessionHandler
from discord_recorder.recording.session.note import checked_note
from discord_recorder.recording.sessions import Sessions
from discord_recorder.recording.signal import Signal
from discord_recorder.recording.status import SessionStatus
from discord_recorder.recording.transcoding.queue import SqlTranscodeQueue
from discord_recorder.recording.transcoding.workers import WorkerPool
from discord_recorder.storage import meetings
from discord_recorder.storage.records import LIVE, Chunk, Meeting, MeetingStatus
from discord_recorder.voice.sink import Ended

log = logging.getLogger(__name__)

STOPPED: Final = "stopped"
SHUT_DOWN: Final = "the recorder was shut down"

RETRY_SECONDS: Final = 1.0
"""How long to wait before a session that could not be sealed is tried again."""


class RecordingManager:
    """All sessions of this process, and the workers, the finalizer and the cleanup behind them.

    `voice` gives the way into voice channels of now; without one, sessions are pushed to.
    """

    def __init__(
        self, context: Context, sessions: Sessions, voice: Callable[[], VoicePort | None] = lambda: None
    ) -> None:
        self.sessions = sessions
        self._context = context
        self._calls = Calls(voice)
        self._queue = SqlTranscodeQueue(context)
        self._workers = WorkerPool(context, self._queue, self._settled)
        self._recovery = Recovery(context, self._queue)
        self._finalizer = Finalizer(context, self._recovery, self._workers.is_busy_with)
        self.archive = Archive(context, self._queue, self._finalizer)
        """What can be done with meetings that have ended."""
        self._retention = Retention(context)
        self._starting: set[Snowflake] = set()
        self._start_ended = Signal()
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
        self._calls.close()
        try:
            await self._finish(self._context.settings.shutdown_grace_seconds)
        finally:
            await self._end_tasks()

    async def _finish(self, grace: float) -> None:
        await self._starts_ended(grace + self._context.settings.database_busy_seconds)
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

    async def _starts_ended(self, max_wait_seconds: float) -> None:
        """Return when no session is being started any more: what fails to start has to clean up after itself."""
        deadline = self._context.clock.monotonic() + max_wait_seconds
        ticket = self._start_ended.ticket()
        while self._starting and (left := deadline - self._context.clock.monotonic()) > 0:
            await self._start_ended.wait(ticket, left)
            ticket = self._start_ended.ticket()

    async def _end_tasks(self) -> None:
        if self._cleanup_task is not None:
            self._cleanup_task.cancel()
            await asyncio.gather(self._cleanup_task, return_exceptions=True)
        stopping = list(self._stopping.values())
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)
        await self._calls.aclose()
        await self.archive.aclose()
        await self._finalizer.aclose()
        await self._workers.aclose()
        for channel_id in list(self.sessions):
            session = self.sessions[channel_id]
            await session.aclose()
            self.sessions.remove(parse_snowflake(channel_id, "channel id"))
        try:
            await self._context.database.write(meetings.disown, self._context.owner)
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

        With a bot attached it returns when the channel was joined and audio can flow. What is not given of guild and
        title is the channel's then.

        Raises `InvalidIdError`, `MeetingExistsError`, `StorageError` when the disk is full, `DatabaseError`, and
        `VoiceConnectionError` when the channel cannot be joined: then nothing is left behind.
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
        self._starting.add(channel)
        try:
            place = await self._calls.find(channel)
            DiskWatch(self._context.settings).require_room()
            meeting = _in_place(meeting, place)
            return await self._start(meeting, place, session_handler_class)
        except asyncio.CancelledError:
            await self._unregister(meeting)
            raise
        finally:
            self._starting.discard(channel)
            self._start_ended.send()

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

    async def add_note(self, channel_id: int | str, text: str, user_id: int | str | None = None) -> bool:
        """Note something in a session, see `DiscordSessionHandler.add_note`; False without one."""
        checked_note(text)
        session = self.sessions.get(parse_snowflake(channel_id, "channel id"))
        if session is None or not (session.is_recording or session.is_paused):
            return False
        await session.add_note(text, user_id)
        return True

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

    async def stop_calls(self, *, max_wait_seconds: float, reason: str) -> None:
        """Stop the sessions that joined a channel, those that are only pushed to not."""
        stops = (self.stop(each, max_wait_seconds=max_wait_seconds, reason=reason) for each in self._calls.joined())
        for error in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(error, Exception):
                log.error("A session could not be stopped; it is tried again", exc_info=error)

    # --- inside

    async def _start(
        self, meeting: Meeting, place: VoicePlace | None, session_handler_class: type[DiscordSessionHandler]
    ) -> bool:
        if not await self._context.database.write(self._register, meeting):
            return False
        try:
            session = session_handler_class(
                context=self._context,
                queue=self._queue,
                meeting=meeting,
                on_broken=self._session_broken,
                on_voice_ended=self._voice_ended,
            )
        except Exception:  # a handler class of the caller's; nothing was recorded
            await self._unregister(meeting)
            raise
        session.start()
        ended = None
        if place is not None:
            try:
                ended = await self._calls.join(place, session)
            except BaseException:
                await session.aclose(is_forgotten=True)
                await self._unregister(meeting)
                raise
        self.sessions.add(parse_snowflake(meeting.channel_id, "channel id"), session)
        if ended is not None:  # while the last step of joining was made
            self._voice_ended(session, ended)
        return True

    def _register(self, tx: Connection, meeting: Meeting) -> bool:
        alive = self._context.registry.alive()
        live = meetings.find(tx, *LIVE, channel_id=meeting.channel_id)
        # One of our own is no session here (`sessions` has those), but a dead recorder's that is being taken over.
        if any(other.owner in alive - {self._context.owner} for other in live):
            return False
        if not meetings.add(tx, meeting):
            raise MeetingExistsError(
                f"Meeting id {meeting.id} was used before, and a recording is never overwritten. Leave the id out "
                "to have one made, or use generate_16_char_uuid()."
            )
        return True

    async def _unregister(self, meeting: Meeting) -> None:
        """Forget a meeting that got no session; nothing happens when it was not registered."""

        def forget(tx: Connection) -> bool:
            found = meetings.get(tx, meeting.id)
            if found is None or (found.owner, found.started_at) != (meeting.owner, meeting.started_at):
                return False
            meetings.remove(tx, meeting.id)
            return True

        if await self._context.database.write(forget):
            folder = self._context.meeting_folder(meeting.id)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

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
            await self._calls.leave(channel)
            await self._seal_off(session, reason)
        except DatabaseError:
            self._begin(channel, self._stop_patiently(channel, session, max_wait_seconds, reason))
            raise
        return await self._promote(channel, session, max_wait_seconds)

    async def _stop_patiently(
        self, channel: Snowflake, session: DiscordSessionHandler, max_wait_seconds: float, reason: str
    ) -> bool:
        await self._calls.leave(channel)
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
        await session.store_end(reason)

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
            self._finalizer.look_again()
        return True

    def _session_broken(self, session: DiscordSessionHandler, reason: str) -> None:
        log.error("A session ends: %s", reason, extra={"meeting": session.meeting_id})
        self._end_by_itself(session, reason)

    def _voice_ended(self, session: DiscordSessionHandler, ended: Ended) -> None:
        log.info("A voice connection has ended: %s", ended, extra={"meeting": session.meeting_id})
        if self.sessions.get(session.channel_id) is session:  # else it is still being joined, which fails then
            self._end_by_itself(session, str(ended))

    def _end_by_itself(self, session: DiscordSessionHandler, reason: str) -> None:
        channel = parse_snowflake(session.channel_id, "channel id")
        if channel not in self._stopping:
            wait = self._context.settings.transcode_wait_seconds
            self._begin(channel, self._stop_patiently(channel, session, wait, reason))

    async def _settled(self, done: Sequence[Chunk]) -> None:
        by_meeting = {session.meeting_id: session for session in self.sessions.values()}
        sessions = [by_meeting.get(meeting_id) for meeting_id in {chunk.meeting_id for chunk in done}]
        for session in sessions:
            if session is not None:
                session.assembly.kick()
        self._finalizer.changed.send()
        if None in sessions:  # a chunk of a meeting that is in processing; a session's stop looks for itself
            self._finalizer.look_again()

    async def _cleanup_loop(self) -> None:
        while True:
            await self._context.clock.sleep(self._context.settings.cleanup_interval_seconds)
            try:
                await self.cleanup_old_temp_recordings_once()
            except Exception:
                log.exception("The cleanup was interrupted; it runs again next time")


def _in_place(meeting: Meeting, place: VoicePlace | None) -> Meeting:
    """A meeting with what its channel tells, where the caller told nothing."""
    if place is None:
        return meeting
    return replace(meeting, guild_id=meeting.guild_id or place.guild_id, title=meeting.title or place.channel_name)
