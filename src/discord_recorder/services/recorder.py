"""The `discord_recorder_service` of the API: sessions by channel, under the names of the usage document."""

from collections.abc import Awaitable, Callable

from discord_recorder.recording.manager import RecordingManager
from discord_recorder.recording.session.handler import DiscordSessionHandler
from discord_recorder.recording.sessions import Sessions
from discord_recorder.recording.status import SessionStatus

Id = int | str
"""A Discord id as callers have it."""


class DiscordRecorderManagerService:
    """Starts, stops and reports recording sessions. Its first use starts the workers and finishes what a crash left."""

    def __init__(self, started: Callable[[], Awaitable[RecordingManager]], sessions: Sessions) -> None:
        self.sessions = sessions
        """Live sessions by channel id, int or text."""
        self.session_handler_class: type[DiscordSessionHandler] = DiscordSessionHandler
        """What new sessions are made of."""
        self._started = started

    async def start_session(
        self,
        channel_id: Id,
        meeting_id: str | None = None,
        user_id: Id | None = None,
        guild_id: Id | None = None,
        *,
        title: str | None = None,
        session_handler_class: type[DiscordSessionHandler] | None = None,
    ) -> bool:
        """Start recording a channel; False when it has a session already.

        With a bot attached to the services it joins the channel, and returns when audio can flow. Without one the
        session is pushed to.

        Args:
            channel_id: the voice channel.
            meeting_id: 16 characters of `[0-9a-z]`; made when not given.
            user_id: whose track audio goes on that is pushed without a user id.
            guild_id: the server. Default: that of the joined channel.
            title: a name for people. Default: the joined channel's.
            session_handler_class: class of this session, in place of `self.session_handler_class`.

        Raises:
            InvalidIdError: an id is malformed.
            MeetingExistsError: the meeting id was used before.
            StorageError: the disk is full, or the data directory cannot be written.
            DatabaseError: the database cannot be used.
            VoiceChannelError: the channel cannot be joined as things are; the message says what to change.
            VoiceConnectionError: it could not be joined.
        """
        manager = await self._started()
        return await manager.start(
            channel_id,
            meeting_id,
            user_id,
            guild_id,
            title=title,
            session_handler_class=session_handler_class or self.session_handler_class,
        )

    async def stop_session(self, channel_id: Id) -> bool:
        """Stop recording a channel, leave it if it was joined, and promote the meeting; False when it has no session.

        Waits for the last transcodes, at most `transcode_wait_seconds`. When some are still pending then, the meeting
        stays in processing and is promoted by itself.
        """
        return await (await self._started()).stop(channel_id)

    async def pause_session(self, channel_id: Id) -> bool:
        """Drop (and count) the audio of a channel until it is resumed; False when it has no session.

        Session time stands still meanwhile, so the pause is cut out of all tracks alike; with the setting
        `pause_keeps_time` it runs on, and the pause is silence.
        """
        return await (await self._started()).pause(channel_id)

    async def resume_session(self, channel_id: Id) -> bool:
        """Record a paused channel again; False when it has no session."""
        return await (await self._started()).resume(channel_id)

    async def add_note(self, channel_id: Id, text: str, user_id: Id | None = None) -> bool:
        """Mark this moment of a channel's session with a text; False when it has no session.

        The note is stored when this returns; while the database is busy, as soon as it can be.

        Args:
            channel_id: the voice channel.
            text: 1 to 2,000 characters; space around them is left out.
            user_id: whose note it is, if that is to be known.

        Raises:
            InvalidNoteError: the text is empty or too long.
            InvalidIdError: an id is malformed.
            DatabaseBusyError: the database has been busy for so long that the note was not taken.
        """
        return await (await self._started()).add_note(channel_id, text, user_id)

    async def get_session_status(self, channel_id: Id) -> SessionStatus | None:
        """The state of a channel's session, None when it has none."""
        return await (await self._started()).status(channel_id)

    async def list_active_sessions(self) -> list[SessionStatus]:
        """The states of all sessions."""
        return await (await self._started()).statuses()

    async def wait_for_pending_transcodes(self, meeting_id: str, max_wait_seconds: float | None = None) -> bool:
        """Wait until no chunk of a meeting is queued or in progress; False when some still is at the limit."""
        return await (await self._started()).wait_for_pending_transcodes(meeting_id, max_wait_seconds)

    async def cleanup_old_temp_recordings_once(self, ttl_hours: float | None = None) -> int:
        """Remove temp recordings older than the TTL, and orphaned files; gives the number of temp recordings removed.

        What is live, still to be promoted or FAILED is never removed. It runs by itself every hour.
        """
        return await (await self._started()).cleanup_old_temp_recordings_once(ttl_hours)

    async def retry_meeting(self, meeting_id: str) -> int:
        """Try a meeting's failed chunks again; gives their number. The recording is mended when they are done.

        Raises `MeetingNotFoundError`, and `MeetingActiveError` when another running recorder owns the meeting.
        """
        return await (await self._started()).archive.retry(meeting_id)

    async def delete_meeting(self, meeting_id: str) -> None:
        """Delete a meeting with every row and file of it.

        Raises `MeetingNotFoundError`, and `MeetingActiveError` while it is recorded or processed.
        """
        await (await self._started()).archive.delete(meeting_id)

    async def wait_until_ended(self, meeting_id: str, max_wait_seconds: float) -> bool:
        """Wait until a stopped or retried meeting is out of processing; False when it still is in it at the limit."""
        return await (await self._started()).archive.wait_until_ended(meeting_id, max_wait_seconds)

    async def count_undeletable_files(self) -> int:
        """How often a cleanup could not delete a file, since the start."""
        return (await self._started()).undeletable_files

    # The names of the usage document.

    async def _wait_for_pending_transcodes(self, meeting_id: str, max_wait_seconds: float = 300) -> bool:
        return await self.wait_for_pending_transcodes(meeting_id, max_wait_seconds)

    async def _cleanup_old_temp_recordings_once(self, ttl_hours: float = 24) -> int:
        return await self.cleanup_old_temp_recordings_once(ttl_hours)
