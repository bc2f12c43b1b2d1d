"""The live capture of one meeting: pushes come in, chunks go out to be sealed."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Any, Final

from discord_recorder.audio.pcm import SAMPLE_BYTES, samples_to_ms, seconds_to_samples
from discord_recorder.config import FLUSH_INTERVAL_SECONDS
from discord_recorder.errors import DatabaseError, SessionEndedError, SettingsError, StorageError
from discord_recorder.ids import MeetingId, parse_snowflake
from discord_recorder.recording.assembly import MeetingAssembly
from discord_recorder.recording.chunk_file import sync_and_close
from discord_recorder.recording.context import Context
from discord_recorder.recording.disk import CHECK_SECONDS, DiskWatch
from discord_recorder.recording.override import current_placement, remembering_placement
from discord_recorder.recording.pushed import checked_pcm, checked_place
from discord_recorder.recording.queue import TranscodeQueue
from discord_recorder.recording.sealing import Sealer
from discord_recorder.recording.status import ChunkCounts, SessionStatus, TrackStatus
from discord_recorder.recording.track_writer import TrackWriter
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.records import (
    UNKNOWN_TRACK,
    Chunk,
    Meeting,
    MeetingStatus,
    Track,
    TranscodeStatus,
    user_of,
)

log = logging.getLogger(__name__)

SEAL_GRACE: Final = 0.1
"""Part of the flush interval that a chunk may be late: audio in real time fills its chunk a little after it is due,
and is sealed full; only a slower one is sealed by the clock."""

LONGEST_TICK_SECONDS: Final = 0.9
"""Open chunk files are synced at least this often."""


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
    ) -> None:
        self.meeting_id: MeetingId = meeting.id
        self.channel_id = meeting.channel_id
        self.guild_id = meeting.guild_id
        self.user_id = meeting.user_id
        self.title = meeting.title
        self.started_at = meeting.started_at
        self._flush_interval_seconds = context.settings.flush_interval_seconds
        self.dropped_bytes = 0
        """Bytes that were pushed while paused, and not recorded."""
        self._context = context
        self._on_broken = on_broken
        self._state = SessionState.RECORDING
        self._stored_status = MeetingStatus.RECORDING
        self._tracks: dict[Track, TrackWriter] = {}
        self._track_locks: dict[Track, asyncio.Lock] = {}
        self._names: dict[Track, str] = {}
        self._disk = DiskWatch(context.settings)
        self._disk_checked_at = -math.inf
        self._flushing: asyncio.Task[Any] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self.assembly = MeetingAssembly(context, meeting.id, self._open_tracks)
        self._sealer = Sealer(
            context,
            queue,
            meeting_id=meeting.id,
            guild_id=meeting.guild_id,
            on_sealed=self._sealed,
            on_disk_error=self._disk_failed,
        )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        owner = next(base for base in cls.__mro__ if "push_audio_data" in vars(base))
        if owner is cls or not issubclass(owner, DiscordSessionHandler):  # a mixin's overrides as well
            setattr(cls, "push_audio_data", remembering_placement(vars(owner)["push_audio_data"]))  # noqa: B010 - for mypy

    # --- audio in

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
        pcm = checked_pcm(pcm_data)
        at_sample = checked_place(at_ms)
        track = self._track_of(user_id)
        async with self._track_locks.setdefault(track, asyncio.Lock()):
            await self._record(track, pcm, at_sample)

    async def _record(self, track: Track, pcm: memoryview, at_sample: int | None) -> None:
        piece_bytes = seconds_to_samples(self.flush_interval_seconds) * SAMPLE_BYTES
        first = True
        while pcm or first:
            if self._state is SessionState.ENDED:
                raise SessionEndedError(
                    f"The session of meeting {self.meeting_id} has been stopped; audio cannot be pushed any more. "
                    "Start a new session for the channel."
                )
            if self._state is SessionState.PAUSED:
                self.dropped_bytes += len(pcm)
                return
            writer = self._writer(track)
            try:
                if first and at_sample is not None:
                    writer.seek(at_sample, self._chunk_samples)
                writer.append(pcm[:piece_bytes], self._chunk_samples)
            except OSError as error:
                self._disk_failed(error)
                raise StorageError(
                    f"The audio could not be written to {self._context.settings.temp_dir} ({error.strerror}). The "
                    "session ends and what was stored is kept. Make room, or choose another data directory."
                ) from error
            finally:
                filled = self._sealer.submit(track, writer.take_closed())
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

    @property
    def is_recording(self) -> bool:
        """True while pushed audio is recorded."""
        return self._state is SessionState.RECORDING

    @property
    def is_paused(self) -> bool:
        """True while pushed audio is dropped."""
        return self._state is SessionState.PAUSED

    @property
    def duration_ms(self) -> int:
        """Length of the longest track."""
        return samples_to_ms(max((writer.position for writer in self._tracks.values()), default=0))

    @property
    def speaker_names(self) -> dict[Track, str]:
        """Display names by track."""
        return dict(self._names)

    def start(self) -> None:
        """Start the session's own tasks."""
        self._sealer.start()
        self.assembly.start()
        self._flush_task = asyncio.create_task(self.flush_loop(), name=f"flush loop of {self.meeting_id}")

    def set_speaker_name(self, user_id: int | str | None, name: str) -> Awaitable[None]:
        """Give a speaker a display name, kept with the recording; await the result to know it stored."""
        track = self._track_of(user_id)
        self._names[track] = name
        return self._chore(self._store_names({track: name}))

    async def pause(self) -> None:
        """Drop what is pushed from now on; what is there is sealed, later when the database is busy."""
        if not self.is_paused:
            self._move(SessionState.PAUSED)
        self._cut_all()
        await self._sealer.sealed()
        await self._store_status()

    async def resume(self) -> None:
        """Record again; each track goes on where it was."""
        if not self.is_recording:
            self._move(SessionState.RECORDING)
        await self._store_status()

    async def flush(self) -> None:
        """Seal what is there, however short; raises `DatabaseError` when that has to wait (nothing is lost)."""
        self._cut_all()
        await self._sealer.seal()

    async def end(self) -> None:
        """Accept no more audio and seal all of it; raises `DatabaseError` when sealing has to wait: call again."""
        if self._state is not SessionState.ENDED:
            self._move(SessionState.ENDED)
        await self.flush()

    async def aclose(self) -> None:
        """End the session's own tasks; every chunk that is not sealed by now waits on the disk for recovery."""
        self._state = SessionState.ENDED
        self._flush_task = None
        await self._sealer.aclose()
        await self.assembly.aclose()
        await asyncio.gather(*self._chores, return_exceptions=True)

    # --- the flush loop

    @property
    def _flush_task(self) -> asyncio.Task[Any] | None:
        return self._flushing

    @_flush_task.setter
    def _flush_task(self, task: asyncio.Task[Any] | None) -> None:
        if self._flushing is not None and self._flushing is not task:
            self._flushing.cancel()
        self._flushing = task

    async def flush_loop(self) -> None:
        """Seal what is due, sync what is open and watch the disk, until the session ends. One loop runs at a time."""
        while self._state is not SessionState.ENDED:
            await self._context.clock.sleep(min(LONGEST_TICK_SECONDS, self.flush_interval_seconds / 4))
            try:
                await self.tick()
            except Exception:
                log.exception("A flush was interrupted; the next one goes on", extra={"meeting": self.meeting_id})

    async def _flush_loop(self) -> None:
        """`flush_loop` under the name of the usage document."""
        await self.flush_loop()

    async def tick(self) -> None:
        """One round of the flush loop."""
        for track, writer in self._tracks.items():
            writer.cut_if_older(self.flush_interval_seconds * (1 + SEAL_GRACE))
            self._sealer.submit(track, writer.take_closed())
        unsynced = [d for writer in self._tracks.values() if (d := writer.unsynced_descriptor()) is not None]
        try:
            await asyncio.shield(asyncio.to_thread(sync_and_close, unsynced))
        except OSError as error:
            self._disk_failed(error)
        await self._store_status()
        if self._context.clock.monotonic() - self._disk_checked_at >= CHECK_SECONDS:
            self._disk_checked_at = self._context.clock.monotonic()
            if reason := self._disk.look():
                self._break(reason)

    # --- what callers see

    async def status(self) -> SessionStatus:
        """The session's state now."""
        async with self._context.database.read() as tx:
            counts = await chunks.count_by_status(tx, self.meeting_id)
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
            chunk_statuses=ChunkCounts(
                queued=counts[TranscodeStatus.QUEUED],
                in_progress=counts[TranscodeStatus.IN_PROGRESS],
                done=counts[TranscodeStatus.DONE],
                failed=counts[TranscodeStatus.FAILED],
            ),
            buffer_size_bytes=self._sealer.unsealed_bytes + sum(w.buffered_bytes for w in self._tracks.values()),
            dropped_bytes=self.dropped_bytes,
            warnings=[self._disk.warning] if self._disk.warning else [],
            tracks=[
                TrackStatus(
                    user_id=user_of(track),
                    name=self._names.get(track),
                    duration_ms=samples_to_ms(writer.position),
                )
                for track, writer in self._tracks.items()
            ],
        )

    # --- inside

    @property
    def _chunk_samples(self) -> int:
        return seconds_to_samples(self.flush_interval_seconds)

    def _track_of(self, user_id: int | str | None) -> Track:
        if user_id is None:
            return Track(self.user_id) if self.user_id else UNKNOWN_TRACK
        return Track(parse_snowflake(user_id, "user id"))

    def _writer(self, track: Track) -> TrackWriter:
        if track not in self._tracks:
            folder = self._context.track_folder(self.meeting_id, track)
            self._tracks[track] = TrackWriter(folder, self._context.clock.monotonic)
        return self._tracks[track]

    def _open_tracks(self) -> dict[Track, int]:
        starts = {track: start for track, w in self._tracks.items() if (start := w.open_from) is not None}
        return starts | self._sealer.first_unsealed()

    def _sealed(self, rows: Sequence[Chunk]) -> None:
        self.assembly.expect(rows)
        self.assembly.kick()

    def _move(self, to: SessionState) -> None:
        if to not in _MOVES[self._state]:
            raise SessionEndedError(f"The session of meeting {self.meeting_id} is {self._state} and cannot be {to}.")
        self._state = to

    def _disk_failed(self, error: OSError) -> None:
        self._break(f"the disk did not take the audio: {error.strerror or error}")

    def _break(self, reason: str) -> None:
        if self._state is not SessionState.ENDED:
            self._state = SessionState.ENDED
            self._on_broken(self, reason)

    async def _store_names(self, names: dict[Track, str]) -> None:
        async with self._context.database.write() as tx:
            await meetings.name_speakers(tx, self.meeting_id, names)

    async def _store_status(self) -> None:
        """Store whether the session is paused; while the database is busy the flush loop tries again."""
        status = MeetingStatus.PAUSED if self.is_paused else MeetingStatus.RECORDING
        if status is self._stored_status or self._state is SessionState.ENDED:
            return
        try:
            async with self._context.database.write() as tx:
                await meetings.change(tx, self.meeting_id, status=status, paused_dropped_bytes=self.dropped_bytes)
        except DatabaseError:
            log.warning("A pause could not be stored yet", extra={"meeting": self.meeting_id}, exc_info=True)
        else:
            self._stored_status = status

    def _cut_all(self) -> None:
        for track, writer in self._tracks.items():
            if self._state is SessionState.RECORDING:
                writer.cut()
            else:
                writer.finish()
            self._sealer.submit(track, writer.take_closed())

    def _chore(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chore_ended)
        return task

    def _chore_ended(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("A speaker's name could not be stored", extra={"meeting": self.meeting_id}, exc_info=error)


def _checked_interval(seconds: object) -> float:
    least, greatest = FLUSH_INTERVAL_SECONDS
    if isinstance(seconds, (int, float)) and least <= seconds <= greatest:
        return float(seconds)
    raise SettingsError(f"flush_interval_seconds = {seconds!r}: it takes a number from {least} to {greatest:g}.")
