"""All tracks of a session: those that are pushed to, and those of its live call."""

from collections.abc import Callable, Coroutine
from typing import Any

from discord_recorder.recording.context import Context
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.recording.live.tracks import overridden_tracks, stored_tracks
from discord_recorder.recording.session.mark_log import MarkLog
from discord_recorder.recording.session.session_time import SessionTime
from discord_recorder.recording.tracks.pushed_tracks import PushedTracks
from discord_recorder.recording.tracks.sealing import Sealer
from discord_recorder.storage.records import UNKNOWN_TRACK, Meeting, Track
from discord_recorder.voice.counters import PacketLedger
from discord_recorder.voice.sink import Ended


class SessionTracks:
    """What a session has of audio, whichever way it came.

    Args:
        context: of the recorder.
        meeting: that is recorded.
        sealer: takes the chunks that end.
        chunk_samples: gives the length of a chunk as it is now.
        on_disk_error: told when the disk does not take audio.
    """

    def __init__(
        self,
        context: Context,
        meeting: Meeting,
        *,
        sealer: Sealer,
        chunk_samples: Callable[[], int],
        on_disk_error: Callable[[OSError], None],
    ) -> None:
        self.pushed = PushedTracks(
            own_track=Track(meeting.user_id) if meeting.user_id else UNKNOWN_TRACK,
            folder=lambda track: context.track_folder(meeting.id, track),
            monotonic=context.clock.monotonic,
            submit=sealer.submit,
        )
        self.live: LiveCapture | None = None
        self._live_is_stored = False
        self._is_broken = False
        self._context = context
        self._meeting_id = meeting.id
        self._sealer = sealer
        self._chunk_samples = chunk_samples
        self._on_disk_error = on_disk_error

    def go_live(
        self,
        time: SessionTime,
        marks: MarkLog,
        *,
        override: tuple[str, Callable[..., Coroutine[Any, Any, None]]] | None,
        on_voice_ended: Callable[[Ended], None],
    ) -> LiveCapture:
        """Make the live capture; with an override (its class's name, and `push_audio_data`) audio goes through that."""
        self._live_is_stored = override is None
        if override is None:
            make_track = stored_tracks(self._context, self._meeting_id, begins_at=self.pushed.finish_track)
        else:
            handler, push_audio_data = override

            async def push(track: Track, pcm: bytes, at_ms: float) -> None:
                await push_audio_data(pcm, user_id=track, at_ms=at_ms)

            make_track = overridden_tracks(
                self._context, self._meeting_id, handler=handler, push=push, record=self._record_as_it_came
            )
        self.live = LiveCapture(
            time=time,
            marks=marks,
            monotonic=self._context.clock.monotonic,
            make_track=make_track,
            chunk_samples=self._chunk_samples,
            on_closed=self._sealer.submit,
            on_disk_error=self._on_disk_error,
            on_voice_ended=on_voice_ended,
        )
        return self.live

    def takes_pushes(self, track: Track) -> bool:
        """False for a track that is recorded from a voice channel as it comes."""
        return not (self._live_is_stored and self.live is not None and self.live.has_track(track))

    def break_off(self) -> None:
        """Take nothing more of a live call; the disk is not to be written to."""
        self._is_broken = True
        if self.live is not None:
            self.live.break_off()

    def cut(self, *, goes_on: bool) -> None:
        """End all open chunks, however short; where pushed audio does not go on, half samples are given up."""
        if self.live is not None:
            self.live.cut()
        if goes_on:
            self.pushed.cut()
        else:
            self.pushed.finish()

    def tick(self, due_seconds: float) -> list[int]:
        """End chunks that are due by the clock; gives the descriptors of all open files for `sync_and_close`."""
        self.pushed.cut_if_older(due_seconds)
        unsynced = list(self.pushed.unsynced_descriptors())
        if self.live is not None:
            self.live.tick(due_seconds)
            self.tidy()
            unsynced += self.live.unsynced_descriptors()
        return unsynced

    def tidy(self) -> None:
        """Delete what the live tracks keep beside their chunks and need no more."""
        if self.live is not None:
            self.live.tidy(self.open_tracks())

    # --- what there is

    @property
    def now_sample(self) -> int:
        """Session time now; where nothing but pushes is recorded, it is the end of the longest track."""
        return self.live.duration_samples if self.live is not None else self.duration_samples

    @property
    def duration_samples(self) -> int:
        """Length of the longest track; of a live call, session time."""
        clock = self.live.duration_samples if self.live is not None else 0
        return max(clock, *self.ends().values(), 0)

    @property
    def buffered_bytes(self) -> int:
        """Bytes of audio in memory, or in files that no row names."""
        live = self.live.buffered_bytes if self.live is not None else 0
        return self._sealer.unsealed_bytes + self.pushed.buffered_bytes + live

    @property
    def ledger(self) -> PacketLedger:
        """Where the packets of the live call went."""
        return self.live.ledger if self.live is not None else PacketLedger()

    def ends(self) -> dict[Track, int]:
        """Where each track ends, in samples of session time."""
        ends = self.pushed.ends()
        for track, end in self.live.tracks.items() if self.live is not None else ():
            ends[track] = max(end, ends.get(track, 0))
        return ends

    def open_tracks(self) -> dict[Track, int]:
        """Session time at which each track's audio begins that has no row yet."""
        starts = self.pushed.open_tracks()
        for track, start in self.live.open_tracks().items() if self.live is not None else ():
            starts[track] = min(start, starts.get(track, start))
        return starts | self._sealer.first_unsealed()

    # --- inside

    def _record_as_it_came(self, track: Track, pcm: bytes, at_sample: int) -> None:
        if not self._is_broken:
            self.pushed.fill_up(track, pcm, self._chunk_samples(), at_sample=at_sample)
