"""The live capture of one meeting: audio comes in, chunks go out to be sealed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from discord_recorder.audio.pcm import SAMPLE_BYTES, samples_to_ms, seconds_to_samples
from discord_recorder.config import FLUSH_INTERVAL_SECONDS
from discord_recorder.errors import (
    DatabaseBusyError,
    DatabaseError,
    InvalidAudioError,
    SessionEndedError,
    SettingsError,
    StorageError,
)
from discord_recorder.ids import MeetingId, parse_snowflake
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.assembly import MeetingAssembly
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.recording.session.flush_loop import FlushLoop
from discord_recorder.recording.session.mark_log import MarkLog
from discord_recorder.recording.session.note import checked_note
from discord_recorder.recording.session.override import (
    check_permit,
    current_placement,
    has_permit,
    remembering_placement,
)
from discord_recorder.recording.session.pushed import checked_pcm, checked_place
from discord_recorder.recording.session.session_figures import SessionFigures
from discord_recorder.recording.session.session_store import Figures, SessionEnd, SessionStore
from discord_recorder.recording.session.session_time import SessionTime
from discord_recorder.recording.session.session_tracks import SessionTracks
from discord_recorder.recording.status import (
    SessionStatus,
    all_packets_of,
    chunk_counts,
    stored_packets,
    track_statuses,
)
from discord_recorder.recording.tracks.sealing import Sealer
from discord_recorder.recording.transcoding.queue import TranscodeQueue
from discord_recorder.storage import chunks
from discord_recorder.storage.records import Chunk, Meeting, MeetingStatus, Track
from discord_recorder.voice.sink import Ended

log = logging.getLogger(__name__)


class SessionState(StrEnum):
    """A session's life; `_MOVES` holds the legal steps."""

    RECORDING = "recording"
    PAUSED = "paused"
    ENDED = "ended"


_MOVES: Final = {
    SessionState.RECORDING: {SessionState.PAUSED, SessionState.ENDED},
    SessionState.PAUSED: {SessionState.RECORDING, SessionState.ENDED},
    SessionState.ENDED: set[SessionState](),
}

_STATUS: Final = {SessionState.RECORDING: MeetingStatus.RECORDING, SessionState.PAUSED: MeetingStatus.PAUSED}


class DiscordSessionHandler:
    """One meeting while it is captured. Made by the manager; subclass it to process audio before it is stored.

    A subclass may override `push_audio_data(self, pcm_data)` with that one argument: what it hands to `super()` goes
    on the track of the speaker whose audio came in.
    """

    def __init__(
        self,
        *,
        context: Context,
        queue: TranscodeQueue,
        meeting: Meeting,
        on_broken: Callable[["DiscordSessionHandler", str], None],
        on_voice_ended: Callable[["DiscordSessionHandler", Ended], None] | None = None,
    ) -> None:
        self.meeting_id: MeetingId = meeting.id
        self.channel_id = meeting.channel_id
        self.guild_id = meeting.guild_id
        self.user_id = meeting.user_id
        self.title = meeting.title
        self.started_at = meeting.started_at
        self.flush_interval_seconds = context.settings.flush_interval_seconds
        self.dropped_bytes = 0
        """Bytes that were pushed while paused, and not recorded."""
        self._context = context
        self._on_broken = on_broken
        self._on_voice_ended = on_voice_ended
        self._state = SessionState.RECORDING
        self._ended_at: datetime | None = None
        self._time = SessionTime(context.clock.monotonic(), runs_on=context.settings.pause_keeps_time)
        self._names: dict[Track, str] = {}
        self._sealer = Sealer(
            context,
            queue,
            meeting_id=meeting.id,
            guild_id=meeting.guild_id,
            on_sealed=self._sealed,
            on_disk_error=self._disk_failed,
        )
        self._tracks = SessionTracks(
            context,
            meeting,
            sealer=self._sealer,
            chunk_samples=lambda: self._chunk_samples,
            on_disk_error=self._disk_failed,
        )
        self.assembly = MeetingAssembly(context, meeting.id, self._tracks.open_tracks, lambda: self.duration_samples)
        self._speaker_figures = SessionFigures(meeting.id)
        self._marks = MarkLog(meeting.id, context.clock, self._time)
        self._store = SessionStore(context, meeting.id, self._marks, self._figures)
        self._loop = FlushLoop(
            context,
            meeting_id=meeting.id,
            tracks=self._tracks,
            store=self._store,
            interval_seconds=lambda: self.flush_interval_seconds,
            on_disk_error=self._disk_failed,
            on_disk_full=self._break,
        )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        owner = next(base for base in cls.__mro__ if "push_audio_data" in vars(base))
        if owner is cls or not issubclass(owner, DiscordSessionHandler):  # a mixin's overrides as well
            setattr(cls, "push_audio_data", remembering_placement(vars(owner)["push_audio_data"]))  # noqa: B010 - for mypy

    # --- audio in

    @property
    def live(self) -> LiveCapture | None:
        """Takes what a voice client hears (a `voice.sink.VoiceSink`); None while nothing but pushes is recorded."""
        return self._tracks.live

    def go_live(self) -> LiveCapture:
        """Record what a voice client hears, too, which is told to the result; call it before the first frame.

        Session time 0 is the session's start. Its clock goes on whatever is heard; a pause stops it unless the setting
        `pause_keeps_time` says otherwise.
        """
        if self.live is not None:
            return self.live
        has_override = type(self).push_audio_data is not DiscordSessionHandler.push_audio_data
        return self._tracks.go_live(
            self._time,
            self._marks,
            override=(type(self).__name__, self.push_audio_data) if has_override else None,
            on_voice_ended=self._voice_ended,
        )

    async def push_audio_data(
        self, pcm_data: bytes, *, user_id: int | str | None = None, at_ms: float | None = None
    ) -> None:
        """Record PCM: signed 16 bit little endian, 48 kHz, stereo, any length.

        It goes on the track of `user_id`, else of the session's own user. Pushes to a track are contiguous at any
        pace, from session time 0; `at_ms` (session time in milliseconds) places it later, after silence. A part of a
        sample at the end waits for the next push. While paused, audio is dropped and counted in `dropped_bytes`.

        Raises `InvalidAudioError`, `InvalidIdError`, `SessionEndedError` after a stop, and `StorageError` when the
        disk does not take it; the session then ends, and what was stored is kept.
        """
        if (placement := current_placement(self, user_id)) is not None:
            user_id = placement.user_id if user_id is None else user_id
            at_ms = placement.take_at_ms() if at_ms is None else at_ms
        check_permit()
        pcm = checked_pcm(pcm_data)
        at_sample = checked_place(at_ms)
        track, lock = self._tracks.pushed.find(user_id)
        if not self._tracks.takes_pushes(track):
            raise InvalidAudioError(
                f"User {track} is recorded from the voice channel, so nothing can be pushed on that track."
            )
        async with lock:
            await self._record(track, pcm, at_sample)

    async def _record(self, track: Track, pcm: memoryview, at_sample: int | None) -> None:
        first = True
        while pcm or first:
            if self._state is SessionState.ENDED:
                raise SessionEndedError(
                    f"The session of meeting {self.meeting_id} has been stopped; audio cannot be pushed any more. "
                    "Start a new session for the channel."
                )
            if self._state is SessionState.PAUSED and not has_permit():
                self.dropped_bytes += len(pcm)
                return
            piece_bytes = self._chunk_samples * SAMPLE_BYTES
            if first and at_sample is not None and self.live is not None:  # an override may hand on more than it gets
                at_sample = max(at_sample, self._tracks.pushed.position(track))
            try:
                filled = self._tracks.pushed.write(
                    track, pcm[:piece_bytes], self._chunk_samples, at_sample=at_sample if first else None
                )
            except OSError as error:
                self._disk_failed(error)
                raise StorageError(
                    f"The audio could not be written to {self._context.settings.temp_dir} ({error.strerror}). The "
                    "session ends and what was stored is kept. Make room, or choose another data directory."
                ) from error
            pcm, first = pcm[piece_bytes:], False
            if filled:
                await self._sealer.sealed()

    # --- control

    @property
    def flush_interval_seconds(self) -> float:
        """Length of a chunk in seconds; may be changed at any time, within the bounds of the setting of that name."""
        return self._flush_interval_seconds

    @flush_interval_seconds.setter
    def flush_interval_seconds(self, seconds: float) -> None:
        self._flush_interval_seconds = _checked_interval(seconds)
        self._chunk_samples = seconds_to_samples(self._flush_interval_seconds)

    @property
    def is_recording(self) -> bool:
        """True while pushed audio is recorded."""
        return self._state is SessionState.RECORDING

    @property
    def is_paused(self) -> bool:
        """True while pushed audio is dropped."""
        return self._state is SessionState.PAUSED

    @property
    def duration_samples(self) -> int:
        """Length of the longest track; of a live call, session time."""
        return self._tracks.duration_samples

    @property
    def duration_ms(self) -> int:
        """The same in milliseconds."""
        return samples_to_ms(self.duration_samples)

    @property
    def speaker_names(self) -> dict[Track, str]:
        """Display names by track."""
        return dict(self._names)

    def start(self) -> None:
        """Start the session's own tasks."""
        self._sealer.start()
        self._store.start()
        self.assembly.start()
        self._flush_task = asyncio.create_task(self.flush_loop(), name=f"flush loop of {self.meeting_id}")

    def set_speaker_name(self, user_id: int | str | None, name: str) -> Awaitable[None]:
        """Give a speaker a display name, kept with the recording; await the result to know it stored."""
        track = self._tracks.pushed.track_of(user_id)
        self._names[track] = name
        return self._store.name(track, name)

    async def add_note(self, text: str, user_id: int | str | None = None) -> None:
        """Mark this moment of session time with a text, as that user's note.

        It is stored when this returns. While the database is busy this waits as long as any write
        (`database_busy_seconds`); the note is then stored as soon as it can be.

        Raises `InvalidNoteError`, `InvalidIdError`, `SessionEndedError`, and `DatabaseBusyError` when so much waits
        for the database that the note was not taken.
        """
        note = checked_note(text)
        author = None if user_id is None else parse_snowflake(user_id, "user id")
        if self._state is SessionState.ENDED:
            raise SessionEndedError(f"The session of meeting {self.meeting_id} has been stopped; nothing can be noted.")
        if not self._marks.note(self._tracks.now_sample, note, author):
            raise DatabaseBusyError("The database has been busy for so long that no more notes are kept. Free it.")
        await self._store_if_possible()

    async def pause(self) -> None:
        """Drop what comes from now on; what is there is sealed, later when the database is busy.

        Session time stands still until it is resumed, on all tracks alike, unless `pause_keeps_time` is set.
        """
        if not self.is_paused:
            self._move(SessionState.PAUSED)
            self._marks.begin_pause(self._tracks.now_sample)
            self._time.pause(self._context.clock.monotonic())
        if self.live is not None:
            await self.live.pause()
        self._tracks.cut(goes_on=self.is_recording)
        await self._sealer.sealed()
        await self._store_if_possible()

    async def resume(self) -> None:
        """Record again, at the session time at which it was paused; with `pause_keeps_time`, later by the pause."""
        if not self.is_recording:
            self._move(SessionState.RECORDING)
            self._time.resume(self._context.clock.monotonic())
            self._tracks.pushed.skip(self._marks.end_pause())
            if self.live is not None:
                self.live.resume()
        await self._store_if_possible()

    async def flush(self) -> None:
        """Seal what is there, however short; raises `DatabaseError` when that has to wait (nothing is lost)."""
        self._tracks.cut(goes_on=self.is_recording)
        await self._sealer.seal()

    async def end(self) -> None:
        """Accept no more audio and seal all of it; raises `DatabaseError` when sealing has to wait: call again."""
        if self.live is not None and self._state is not SessionState.ENDED:
            await self.live.end()
        if self._state is not SessionState.ENDED:
            self._move(SessionState.ENDED)
        self._marks.end_pause()
        self._ended_at = self._ended_at or self._context.clock.now()
        await self.flush()
        self._tracks.tidy()

    async def store_end(self, reason: str) -> None:
        """Let the meeting be in processing, after `end`; raises `DatabaseError` when that has to wait: call again."""
        ended_at = self._ended_at or self._context.clock.now()
        end = SessionEnd(reason=reason, ended_at=ended_at, duration_samples=self.duration_samples)
        await self._store.end(end)

    async def aclose(self, *, is_forgotten: bool = False) -> None:
        """End the session's own tasks; what is not sealed or stored by now waits on the disk for recovery.

        That is, unless the meeting `is_forgotten`, because the session could not be started after all.
        """
        self._state = SessionState.ENDED
        self._flush_task = None
        self._tracks.break_off()
        if self.live is not None:
            await self.live.aclose()
        await self._loop.synced()
        await self._sealer.aclose()
        await self.assembly.aclose()
        await self._store.aclose(is_forgotten=is_forgotten)

    # --- the flush loop

    async def flush_loop(self) -> None:
        """Seal what is due, sync what is open and watch the disk, until the session ends. One loop runs at a time."""
        await self._loop.run(lambda: self._state is SessionState.ENDED)

    async def tick(self) -> None:
        """One round of the flush loop."""
        await self._loop.tick()

    async def _flush_loop(self) -> None:
        """`flush_loop` under the name of the usage document."""
        await self.flush_loop()

    @property
    def _flush_task(self) -> asyncio.Task[Any] | None:
        return self._loop.task

    @_flush_task.setter
    def _flush_task(self, task: asyncio.Task[Any] | None) -> None:
        self._loop.task = task

    # --- what callers see

    async def status(self) -> SessionStatus:
        """The session's state now."""
        counts, rows = await self._context.database.read(
            lambda tx: (chunks.count_by_status(tx, self.meeting_id), self._speaker_figures.read(tx))
        )
        figures = self._speaker_figures.add(rows)
        return SessionStatus(
            meeting_id=self.meeting_id,
            channel_id=self.channel_id,
            guild_id=self.guild_id,
            user_id=self.user_id,
            title=self.title,
            is_recording=self.is_recording,
            is_paused=self.is_paused,
            started_at=self.started_at,
            duration_ms=self.duration_ms,
            total_chunks=sum(counts.values()),
            chunk_statuses=chunk_counts(counts),
            buffer_size_bytes=self._tracks.buffered_bytes,
            dropped_bytes=self.dropped_bytes,
            notes=self._marks.notes,
            warnings=self._loop.warnings,
            tracks=track_statuses(self._tracks.ends(), self._names, self._tracks.ledger, figures),
            packets=all_packets_of(self._tracks.ledger),
            events=self._marks.events(),
        )

    # --- inside

    def _figures(self) -> Figures:
        return Figures(
            status=_STATUS.get(self._state),
            paused_dropped_bytes=self.dropped_bytes,
            packets=stored_packets(self._tracks.ledger, self._tracks.ends()),
        )

    def _sealed(self, rows: Sequence[Chunk]) -> None:
        self.assembly.expect(rows)
        self._tracks.tidy()

    def _voice_ended(self, ended: Ended) -> None:
        if self._on_voice_ended is not None:
            self._on_voice_ended(self, ended)

    def _move(self, to: SessionState) -> None:
        if to not in _MOVES[self._state]:
            raise SessionEndedError(f"The session of meeting {self.meeting_id} is {self._state} and cannot be {to}.")
        self._state = to

    def _disk_failed(self, error: OSError) -> None:
        self._break(f"the disk did not take the audio: {error.strerror or error}")

    def _break(self, reason: str) -> None:
        if self._state is not SessionState.ENDED:
            self._state = SessionState.ENDED
            self._tracks.break_off()
            self._on_broken(self, reason)

    async def _store_if_possible(self) -> None:
        """Store what is new; while the database is busy it is tried again in the background."""
        try:
            await self._store.store()
        except DatabaseError:
            log.warning("What happened could not be stored yet", extra={"meeting": self.meeting_id}, exc_info=True)


def _checked_interval(seconds: object) -> float:
    least, greatest = FLUSH_INTERVAL_SECONDS
    if isinstance(seconds, (int, float)) and least <= seconds <= greatest:
        return float(seconds)
    raise SettingsError(f"flush_interval_seconds = {seconds!r}: it takes a number from {least} to {greatest:g}.")
