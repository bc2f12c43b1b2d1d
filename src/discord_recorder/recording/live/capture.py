"""The live capture of a session: what a voice client hears goes on the speakers' tracks, at its place in time.

This is the capture process' work for every packet, so there is no task, no lock and nothing to await in it: frames are
placed and put into their track's open page, and all pages of a batch are written at once.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from discord_recorder.audio.opus import packet_samples
from discord_recorder.audio.pcm import SAMPLE_RATE
from discord_recorder.errors import OggError, OpusError
from discord_recorder.recording.live.placement import BEGUN, MISSING, SETTLED, StreamPlacement
from discord_recorder.recording.live.track import LiveTrack
from discord_recorder.recording.session.mark_log import MarkLog
from discord_recorder.recording.session.session_time import SessionTime
from discord_recorder.recording.tracks.chunk_file import ClosedChunk
from discord_recorder.storage.records import MarkKind, Track
from discord_recorder.voice.counters import UNOPENED, Outcome, PacketLedger, Tally
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.rtp import FRAME_SAMPLES
from discord_recorder.voice.sink import Ended, GapReason, Segment

log = logging.getLogger(__name__)

FLUSH_AGE_SECONDS: Final = 0.035
"""Frames of which one arrived so long ago are written at once: they share a page with those of their batch."""

FLUSH_SECONDS: Final = 0.06
"""How long younger ones may wait for the next batch. The voice client hands them on up to 50 ms after they arrived, so
all are in a file within 100 ms."""

MAX_SPEAKERS: Final = 2_000
"""Tracks of one session; frames of any more speakers are dropped and counted."""

MAX_STREAMS: Final = 4_000
"""SSRCs of one connection that are remembered; beyond that the oldest begins anew, where it arrives."""

MakeTrack = Callable[[Track], LiveTrack]


class _Speaker:
    """A speaker's track and tally."""

    __slots__ = ("_unopened", "is_dirty", "name", "tally", "track")

    def __init__(self, name: Track, track: LiveTrack, tally: Tally) -> None:
        self.name = name
        self.track = track
        self.tally = tally
        self.is_dirty = False
        self._unopened = 0

    def newly_unopened(self) -> int:
        """Frames since the last call that came and could not be opened."""
        dropped = self.tally.dropped
        before, self._unopened = self._unopened, sum(dropped[outcome] for outcome in UNOPENED)
        return self._unopened - before


class _Stream:
    """One SSRC of the connection of now."""

    __slots__ = ("placement", "speaker", "user_id")

    def __init__(self, user_id: int, speaker: _Speaker) -> None:
        self.user_id = user_id
        self.speaker = speaker
        self.placement = StreamPlacement()


class LiveCapture:
    """A session's `voice.sink.VoiceSink`. Made by `DiscordSessionHandler.go_live`; belongs to its event loop.

    Args:
        time: session time; what arrives in its pauses is not recorded.
        marks: told what happens to the voice connection.
        monotonic: the clock of the frames' arrival.
        make_track: makes the track of a new speaker.
        chunk_samples: gives the length of a chunk as it is now.
        on_closed: takes chunks that ended, to be sealed.
        on_disk_error: told when the disk does not take audio.
        on_voice_ended: told once when nothing will be heard any more.
    """

    def __init__(
        self,
        *,
        time: SessionTime,
        marks: MarkLog,
        monotonic: Callable[[], float],
        make_track: MakeTrack,
        chunk_samples: Callable[[], int],
        on_closed: Callable[[Track, Sequence[ClosedChunk]], object],
        on_disk_error: Callable[[OSError], None],
        on_voice_ended: Callable[[Ended], None],
    ) -> None:
        self.ledger = PacketLedger()
        """Where every datagram of the session ends; frames that are not stored after all are withdrawn here."""
        self.marks = marks
        """What happens to the call, on the session's clock."""
        self._time = time
        self._monotonic = monotonic
        self._make_track = make_track
        self._chunk_samples = chunk_samples
        self._on_closed = on_closed
        self._on_disk_error = on_disk_error
        self._on_voice_ended = on_voice_ended
        self._speakers: dict[int, _Speaker] = {}
        self._streams: dict[int, _Stream] = {}
        self._dirty: list[_Speaker] = []
        self._timer: asyncio.TimerHandle | None = None
        self._refuses = False
        self._ended_at: float | None = None
        self._has_ended = False

    @property
    def started(self) -> float:
        """Session time 0, in monotonic seconds; pauses that stop session time move it."""
        return self._time.started

    # --- what the voice client tells

    def on_segment(self, segment: Segment) -> None:
        """A new connection: its streams begin where they arrive."""
        self._streams.clear()
        self.marks.connected(segment.started, segment.number, segment.channel_id)

    def on_frames(self, frames: Sequence[OpusFrame]) -> None:
        """Put frames at their places; they are in the files at once, or `FLUSH_SECONDS` later."""
        if self._refuses or self._time.was_paused:
            frames = self._sift(frames)
        now, chunk_samples = self._monotonic(), self._chunk_samples()
        streams, dirty = self._streams, self._dirty
        for frame in frames:
            stream = streams.get(frame.ssrc)
            if stream is None or stream.user_id != frame.user_id:
                stream = self._new_stream(frame)
                if stream is None:
                    continue
            speaker = stream.speaker
            try:
                outcome = self._put(frame, stream.placement, speaker, chunk_samples, now)
            except (OpusError, OggError):
                outcome = Outcome.NOT_OPUS
            except OSError as error:
                outcome = Outcome.NOT_RECORDED
                self._on_disk_error(error)
            except Exception:
                outcome = Outcome.NOT_RECORDED
                log.exception("A frame was not recorded")
            if outcome is not None:
                speaker.tally.withdraw(outcome)
            if not speaker.is_dirty:
                speaker.is_dirty = True
                dirty.append(speaker)
        if not frames or not dirty:
            return
        if now - frames[0].arrived >= FLUSH_AGE_SECONDS:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def on_gap(self, start: float, end: float, reason: GapReason) -> None:
        """Nothing was heard of anybody: told in the status and the log; in the tracks it is silence."""
        self.marks.disconnected(start, end, reason)

    def on_speaker(self, user_id: int, *, joined: bool) -> None:
        """A track begins with a speaker's first frame, so there is nothing to do."""

    def on_ended(self, ended: Ended) -> None:
        """Nothing will be heard any more: the session is to be stopped."""
        if self._has_ended:
            return
        self._has_ended = True
        self.marks.ended(self._monotonic(), str(ended))
        self._on_voice_ended(ended)

    # --- what the session tells

    def flush(self) -> None:
        """Write all frames so far into their files, and give the chunks that ended to be sealed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._monotonic()
        dirty, self._dirty = self._dirty, []
        for speaker in dirty:
            speaker.is_dirty = False
            speaker.track.flush(now)
            self._take_closed(speaker)

    def tick(self, flush_interval_seconds: float) -> None:
        """End chunks that are due by the clock."""
        now = self._monotonic()
        self.flush()
        for speaker in self._speakers.values():
            speaker.track.flush(now)
            speaker.track.cut_if_older(flush_interval_seconds, now)
            self._take_closed(speaker)

    def unsynced_descriptors(self) -> Iterator[int]:
        """Descriptors of all open files for `sync_and_close`."""
        return chain.from_iterable(track.unsynced_descriptors() for track in self._tracks())

    async def pause(self) -> None:
        """Session time is paused: return when all that came before is written."""
        await self._settle()

    def resume(self) -> None:
        """Record again; streams are placed anew, as what came in the pause is not missing."""
        for stream in self._streams.values():
            stream.placement = StreamPlacement()

    async def end(self) -> None:
        """Take nothing more; returns when all that came before is written."""
        self.break_off()
        await self._settle()
        for speaker in self._speakers.values():
            end = speaker.track.end
            if (length := min(speaker.newly_unopened() * FRAME_SAMPLES, self.duration_samples - end)) > 0:
                self.marks.stretch(MarkKind.UNDECRYPTABLE, speaker.name, end, length)

    def break_off(self) -> None:
        """Take nothing more; the disk is not to be written to."""
        if self._ended_at is None:
            self._ended_at = self._monotonic()
        self._refuses = True

    def cut(self) -> None:
        """End all open chunks, however short."""
        self.flush()
        for speaker in self._speakers.values():
            speaker.track.cut()
            self._take_closed(speaker)

    def tidy(self, unsealed: Mapping[Track, int]) -> None:
        """Delete journals whose time is sealed; `unsealed` tells where each track's first audio without a row is."""
        for speaker in self._speakers.values():
            speaker.track.tidy(unsealed.get(speaker.name))

    async def aclose(self) -> None:
        """Write what there is and end all tasks; what is in no row by then waits on the disk for recovery."""
        self.break_off()
        self.flush()
        for track in self._tracks():
            await track.aclose()

    # --- what the session asks

    @property
    def duration_samples(self) -> int:
        """Session time now, or when the session ended."""
        until = self._monotonic() if self._ended_at is None else self._ended_at
        return self._time.sample_at(until)

    @property
    def tracks(self) -> dict[Track, int]:
        """Where each speaker's last frame ends, in samples of session time."""
        return {speaker.name: speaker.track.end for speaker in self._speakers.values()}

    @property
    def buffered_bytes(self) -> int:
        """Bytes of Opus that are in no closed chunk."""
        return sum(track.buffered_bytes for track in self._tracks())

    def open_tracks(self) -> dict[Track, int]:
        """Session time at which each track's audio begins that is in no closed chunk yet."""
        return {
            speaker.name: start for speaker in self._speakers.values() if (start := speaker.track.open_from) is not None
        }

    def has_track(self, track: Track) -> bool:
        """Whether that speaker was heard."""
        return track.isdecimal() and int(track) in self._speakers

    # --- inside

    def _tracks(self) -> Iterator[LiveTrack]:
        return (speaker.track for speaker in self._speakers.values())

    async def _settle(self) -> None:
        await asyncio.gather(*(track.drain() for track in self._tracks()))
        self.cut()

    def _sift(self, frames: Sequence[OpusFrame]) -> list[OpusFrame]:
        """Those to be recorded, with their arrival as it would be without the pauses since; the others are counted."""
        if self._refuses:
            self._refuse(frames, Outcome.NOT_RECORDED)
            return []
        sifted = []
        for frame in frames:
            arrived = self._time.recorded_arrival(frame.arrived)
            if arrived is None:
                self._refuse((frame,), Outcome.PAUSED)
            else:
                sifted.append(frame if arrived == frame.arrived else frame._replace(arrived=arrived))
        return sifted

    def _refuse(self, frames: Iterable[OpusFrame], outcome: Outcome) -> None:
        for frame in frames:
            self.ledger.tally(frame.user_id).withdraw(outcome)

    def _put(
        self, frame: OpusFrame, placement: StreamPlacement, speaker: _Speaker, chunk_samples: int, now: float
    ) -> Outcome | None:
        """Put a frame on its track; why it is not recorded, None when it is."""
        track, opus = speaker.track, frame.opus
        samples = packet_samples(opus)
        place = placement.place(
            frame.sequence,
            frame.timestamp,
            opus,
            samples,
            arrived_sample=max(0, round((frame.arrived - self.started) * SAMPLE_RATE)),
            free_from=track.end,
        )
        if news := placement.news:
            if news & MISSING:
                track.miss(opus, *placement.missing, chunk_samples=chunk_samples, now=now)
            if news & BEGUN:
                track.begin_spurt()
            if (unopened := speaker.newly_unopened()) and isinstance(place, int):
                self._tell_unopened(speaker, unopened * samples, placement, place)
        if not isinstance(place, int):
            return place
        outcome = track.write(opus, place, samples, chunk_samples=chunk_samples, now=now)
        if news & SETTLED:
            placement.moved(track.move_spurt(placement.shift))
        return outcome

    def _tell_unopened(self, speaker: _Speaker, samples: int, placement: StreamPlacement, before: int) -> None:
        """Frames that did not open are given up before later ones are handed on: they are missing before these."""
        if placement.news & MISSING:
            at, length = placement.missing
        else:
            length = min(samples, before - min(before, speaker.track.end))
            at = before - length
        if length:
            self.marks.stretch(MarkKind.UNDECRYPTABLE, speaker.name, at, min(length, samples))

    def _new_stream(self, frame: OpusFrame) -> _Stream | None:
        speaker = self._speakers.get(frame.user_id)
        if speaker is None:
            if len(self._speakers) >= MAX_SPEAKERS:
                self._refuse((frame,), Outcome.NOT_RECORDED)
                return None
            name = Track(str(frame.user_id))
            speaker = _Speaker(name, self._make_track(name), self.ledger.tally(frame.user_id))
            self._speakers[frame.user_id] = speaker
        else:
            speaker.track.new_encoder()
        if len(self._streams) >= MAX_STREAMS:
            del self._streams[next(iter(self._streams))]
        stream = self._streams[frame.ssrc] = _Stream(frame.user_id, speaker)
        return stream

    def _take_closed(self, speaker: _Speaker) -> None:
        track = speaker.track
        if closed := track.take_closed():
            self._on_closed(speaker.name, closed)
        if (error := track.take_error()) is not None:
            self._on_disk_error(error)
