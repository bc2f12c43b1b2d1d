"""The live capture of one meeting: pushes come in, chunks go out to be sealed."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Any, Final

from discord_recorder.audio.pcm import SAMPLE_BYTES, samples_to_ms, seconds_to_samples
from discord_recorder.config import FLUSH_INTERVAL_SECONDS
from discord_recorder.errors import DatabaseError, InvalidAudioError, SessionEndedError, SettingsError, StorageError
from discord_recorder.ids import MeetingId, parse_snowflake
from discord_recorder.recording.assembly import MeetingAssembly
from discord_recorder.recording.chunk_file import sync_and_close
from discord_recorder.recording.context import Context
from discord_recorder.recording.disk import CHECK_SECONDS, DiskWatch
from discord_recorder.recording.live import LiveCapture, MakeTrack
from discord_recorder.recording.live_tracks import overridden_tracks, stored_tracks
from discord_recorder.recording.override import check_permit, current_placement, remembering_placement
from discord_recorder.recording.pushed import checked_pcm, checked_place
from discord_recorder.recording.queue import TranscodeQueue
from discord_recorder.recording.sealing import Sealer
from discord_recorder.recording.status import ChunkCounts, SessionStatus, all_packets_of, track_statuses
from discord_recorder.recording.track_writer import TrackWriter
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.records import (
    UNKNOWN_TRACK,
    Chunk,
    Meeting,
    MeetingStatus,
    Track,
    TranscodeStatus,
)
from discord_recorder.voice.counters import PacketLedger
from discord_recorder.voice.sink import Ended

log = logging.getLogger(__name__)

SEAL_GRACE: Final = 0.1
"""Part of the flush interval that a chunk may be late: audio in real time fills its chunk a little after it is due,
and is sealed full; only a slower one is sealed by the clock."""

LONGEST_TICK_SECONDS: Final = 0.9
"""Open chunk files are synced at least this often."""


_ID_TYPES: Final = frozenset((int, str, type(None)))
"""Exactly these: True and 1.0 equal 1, and are no ids."""


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
        self.live: LiveCapture | None = None
        """Takes what a voice client hears (a `voice.sink.VoiceSink`); None while nothing but pushes is recorded."""
        self._context = context
        self._on_broken = on_broken
        self._on_voice_ended = on_voice_ended
        self._started = context.clock.monotonic()
        self._state = SessionState.RECORDING
        self._stored_status: MeetingStatus | None = MeetingStatus.RECORDING
        self._tracks: dict[Track, TrackWriter] = {}
        self._track_locks: dict[Track, asyncio.Lock] = {}
        self._known_ids: dict[int | str | None, tuple[Track, asyncio.Lock]] = {}
        self._names: dict[Track, str] = {}
        self._disk = DiskWatch(context.settings)
        self._disk_checked_at = -math.inf
        self._flushing: asyncio.Task[Any] | None = None
        self._syncing: asyncio.Future[None] | None = None
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

    def go_live(self) -> LiveCapture:
        """Record what a voice client hears, too, which is told to the result; call it before the first frame.

        Session time 0 is the session's start. Its clock goes on whatever is heard, also in a pause.
        """
        if self.live is None:
            self.live = LiveCapture(
                meeting_id=self.meeting_id,
                started=self._started,
                monotonic=self._context.clock.monotonic,
                make_track=self._live_tracks(),
                chunk_samples=lambda: self._chunk_samples,
                on_closed=self._sealer.submit,
                on_disk_error=self._disk_failed,
                on_voice_ended=self._voice_ended,
            )
        return self.live

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
        known = self._known_ids.get(user_id) if type(user_id) in _ID_TYPES else None
        track, lock = known or self._new_id(user_id)
        if self.live is not None and not self._has_override and self.live.has_track(track):
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
            if self._state is SessionState.PAUSED:
                self.dropped_bytes += len(pcm)
                return
            writer = self._writer(track)
            piece_bytes = self._chunk_samples * SAMPLE_BYTES
            try:
                if first and at_sample is not None:
                    if self.live is not None:  # an override may have handed on more than it was given
                        at_sample = max(at_sample, writer.position)
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
    def duration_ms(self) -> int:
        """Length of the longest track; of a live call, session time."""
        ends = [writer.position for writer in self._tracks.values()]
        if self.live is not None:
            ends.append(self.live.duration_samples)
        return samples_to_ms(max(ends, default=0))

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
        if self.live is not None and not self.is_paused:
            await self.live.pause()
        if not self.is_paused:
            self._move(SessionState.PAUSED)
        self._cut_all()
        await self._sealer.sealed()
        await self._store_status()

    async def resume(self) -> None:
        """Record again; pushed audio goes on where its track was, a live call at the session time it is."""
        if not self.is_recording:
            self._move(SessionState.RECORDING)
            if self.live is not None:
                self.live.resume()
        await self._store_status()

    async def flush(self) -> None:
        """Seal what is there, however short; raises `DatabaseError` when that has to wait (nothing is lost)."""
        self._cut_all()
        await self._sealer.seal()

    async def end(self) -> None:
        """Accept no more audio and seal all of it; raises `DatabaseError` when sealing has to wait: call again."""
        if self.live is not None and self._state is not SessionState.ENDED:
            await self.live.end()
        if self._state is not SessionState.ENDED:
            self._move(SessionState.ENDED)
        await self.flush()
        if self.live is not None:
            self.live.tidy(self._open_tracks())

    async def aclose(self) -> None:
        """End the session's own tasks; every chunk that is not sealed by now waits on the disk for recovery."""
        self._state = SessionState.ENDED
        self._flush_task = None
        if self.live is not None:
            await self.live.aclose()
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
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
        if self.live is not None:
            self.live.tick(self.flush_interval_seconds * (1 + SEAL_GRACE))
            self.live.tidy(self._open_tracks())
            unsynced += self.live.unsynced_descriptors()
        try:
            self._syncing = asyncio.ensure_future(asyncio.to_thread(sync_and_close, unsynced))
            await asyncio.shield(self._syncing)
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
        counts = await self._context.database.read(chunks.count_by_status, self.meeting_id)
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
            buffer_size_bytes=self._buffered_bytes(),
            dropped_bytes=self.dropped_bytes,
            warnings=[self._disk.warning] if self._disk.warning else [],
            tracks=track_statuses(self._ends(), self._names, self._ledger, self.assembly.figures),
            packets=all_packets_of(self._ledger),
            events=self.live.events.events() if self.live is not None else [],
        )

    # --- inside

    @property
    def _ledger(self) -> PacketLedger:
        return self.live.ledger if self.live is not None else PacketLedger()

    def _buffered_bytes(self) -> int:
        live = self.live.buffered_bytes if self.live is not None else 0
        return self._sealer.unsealed_bytes + sum(w.buffered_bytes for w in self._tracks.values()) + live

    def _ends(self) -> dict[Track, int]:
        """Where each track ends."""
        ends = {track: writer.position for track, writer in self._tracks.items()}
        for track, end in self.live.tracks.items() if self.live is not None else ():
            ends[track] = max(end, ends.get(track, 0))
        return ends

    @property
    def _has_override(self) -> bool:
        return type(self).push_audio_data is not DiscordSessionHandler.push_audio_data

    def _live_tracks(self) -> MakeTrack:
        if not self._has_override:
            return stored_tracks(self._context, self.meeting_id, begins_at=self._end_pushed)
        return overridden_tracks(
            self._context,
            self.meeting_id,
            handler=type(self).__name__,
            push=self._push_live,
            record=self._record_live,
        )

    def _end_pushed(self, track: Track) -> int:
        """End what was pushed on a track; gives the session time at which it ends."""
        writer = self._tracks.get(track)
        if writer is None:
            return 0
        writer.finish()
        self._sealer.submit(track, writer.take_closed())
        return writer.position

    async def _push_live(self, track: Track, pcm: bytes, at_ms: float) -> None:
        await self.push_audio_data(pcm, user_id=track, at_ms=at_ms)

    def _record_live(self, track: Track, pcm: bytes, at_sample: int) -> None:
        """Record what of a live frame the override has not recorded."""
        if self._state is SessionState.ENDED:
            return
        writer = self._writer(track)
        rest = memoryview(pcm)[max(0, writer.position - at_sample) * SAMPLE_BYTES :]
        if not rest:
            return
        writer.drop_half_sample()
        try:
            writer.seek(max(at_sample, writer.position), self._chunk_samples)
            writer.append(rest, self._chunk_samples)
        finally:
            self._sealer.submit(track, writer.take_closed())

    def _sealed(self, rows: Sequence[Chunk]) -> None:
        self.assembly.expect(rows)
        if self.live is not None:
            self.live.tidy(self._open_tracks())

    def _voice_ended(self, ended: Ended) -> None:
        if self._on_voice_ended is not None:
            self._on_voice_ended(self, ended)

    def _track_of(self, user_id: int | str | None) -> Track:
        if user_id is None:
            return Track(self.user_id) if self.user_id else UNKNOWN_TRACK
        return Track(parse_snowflake(user_id, "user id"))

    def _new_id(self, user_id: int | str | None) -> tuple[Track, asyncio.Lock]:
        """Check an id that was not pushed with before; the next push with it is spared that."""
        track = self._track_of(user_id)
        found = track, self._track_locks.setdefault(track, asyncio.Lock())
        if type(user_id) in _ID_TYPES:
            self._known_ids[user_id] = found
        return found

    def _writer(self, track: Track) -> TrackWriter:
        if track not in self._tracks:
            folder = self._context.track_folder(self.meeting_id, track)
            self._tracks[track] = TrackWriter(folder, self._context.clock.monotonic)
        return self._tracks[track]

    def _open_tracks(self) -> dict[Track, int]:
        starts = {track: start for track, w in self._tracks.items() if (start := w.open_from) is not None}
        for track, start in self.live.open_tracks().items() if self.live is not None else ():
            starts[track] = min(start, starts.get(track, start))
        return starts | self._sealer.first_unsealed()

    def _move(self, to: SessionState) -> None:
        if to not in _MOVES[self._state]:
            raise SessionEndedError(f"The session of meeting {self.meeting_id} is {self._state} and cannot be {to}.")
        self._state = to

    def _disk_failed(self, error: OSError) -> None:
        self._break(f"the disk did not take the audio: {error.strerror or error}")

    def _break(self, reason: str) -> None:
        if self._state is not SessionState.ENDED:
            self._state = SessionState.ENDED
            if self.live is not None:
                self.live.break_off()
            self._on_broken(self, reason)

    async def _store_names(self, names: dict[Track, str]) -> None:
        await self._context.database.write(meetings.name_speakers, self.meeting_id, names)

    async def _store_status(self) -> None:
        """Store whether the session is paused; while the database is busy the flush loop tries again."""
        status = MeetingStatus.PAUSED if self.is_paused else MeetingStatus.RECORDING
        if status is self._stored_status or self._state is SessionState.ENDED:
            return
        self._stored_status = None  # until it is known: whoever is cancelled below may have stored it all the same
        try:
            await self._context.database.write(
                meetings.change, self.meeting_id, status=status, paused_dropped_bytes=self.dropped_bytes
            )
        except DatabaseError:
            log.warning("A pause could not be stored yet", extra={"meeting": self.meeting_id}, exc_info=True)
        else:
            self._stored_status = status

    def _cut_all(self) -> None:
        if self.live is not None:
            self.live.cut()
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
