"""Assembly: chunks that are DONE become growing tracks, masters and a growing mix, while the meeting still goes on.

What is left for the moment of promotion does then not depend on how long the meeting was. The rows are the truth and
the chunks' MP3s stay until promotion, so everything here can be made again from them after a crash.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from discord_recorder.audio.framefile import FinishedTrack
from discord_recorder.audio.levelling import Levelling
from discord_recorder.audio.mix import FrameSource, LevelledTrack, mix_frames, needed_frames
from discord_recorder.audio.mp3 import determined_frames, frame_count
from discord_recorder.audio.pcm import SAMPLE_RATE
from discord_recorder.audio.splice import SplicedTrack
from discord_recorder.errors import FfmpegError, Mp3Error
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.masters import FILL_SAMPLES, MASTER_OPUS, Masters, MasterTrack, finish_masters
from discord_recorder.recording.finishing.mix_gains import measured
from discord_recorder.recording.finishing.mix_windows import WINDOW_FRAMES, window_frames, windows_that_need
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.files import make_folder
from discord_recorder.storage.records import MIX_TRACK, Chunk, Meeting, Track, TranscodeStatus

log = logging.getLogger(__name__)

OpenTracks = Callable[[], Mapping[Track, int]]
"""Session time, in samples, at which each track's audio begins that is in no sealed chunk yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A meeting's finished files, still in the temp folder.

    Args:
        files: the MP3 of each speaker and, for more than one, the mix.
        masters: the Opus of each speaker, as far as there is any.
        mix_error: what kept the mix from being made.
        gains: how much louder the mix has each speaker, where speakers are levelled (JSON).
    """

    files: Mapping[Track, FinishedTrack]
    masters: Masters
    mix_error: FfmpegError | Mp3Error | None
    gains: Mapping[Track, str]


@dataclass(slots=True)
class _Lane:
    """One speaker's growing track, and its chunks that are not in it yet, in order of session time."""

    spliced: SplicedTrack
    master: MasterTrack | None
    levelling: Levelling | None
    waiting: deque[Chunk] = field(default_factory=deque)
    end_sample: int = 0

    @property
    def mixed(self) -> FrameSource:
        """What the mix is made of."""
        if self.levelling is None:
            return self.spliced
        return LevelledTrack(self.spliced, self.levelling.line)


class MeetingAssembly:
    """The growing files of one meeting; only the meeting's owner has one.

    Args:
        context: collaborators.
        meeting_id: the meeting.
        open_tracks: tells what is in no sealed chunk yet.
        session_samples: tells session time, as long as it goes on.
    """

    def __init__(
        self,
        context: Context,
        meeting_id: MeetingId,
        open_tracks: OpenTracks = dict,
        session_samples: Callable[[], int] = int,
    ) -> None:
        self._context = context
        self._meeting_id = meeting_id
        self._open_tracks = open_tracks
        self._session_samples = session_samples
        self._lanes: dict[Track, _Lane] = {}
        self._known: set[int] = set()
        self._failed: set[int] = set()
        self._mix: SplicedTrack | None = None
        self._mixed_windows = 0
        self._dirty_windows: set[int] = set()
        self._lock = asyncio.Lock()
        self._kicked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def gains(self) -> dict[Track, str]:
        """How much louder the mix has each speaker, where speakers are levelled (JSON)."""
        return {track: lane.levelling.line.to_json() for track, lane in self._lanes.items() if lane.levelling}

    def start(self) -> None:
        """Go on by itself whenever it is kicked."""
        self._task = asyncio.create_task(self._run(), name=f"assembly of {self._meeting_id}")

    def kick(self) -> None:
        """Tell that chunks were settled."""
        self._kicked.set()

    async def aclose(self) -> None:
        """Stop going on by itself."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def expect(self, sealed: Sequence[Chunk]) -> None:
        """Take note of chunks in the order of session time; they are spliced in when they are DONE."""
        for chunk in sealed:
            if chunk.id in self._known:
                continue
            self._known.add(chunk.id)
            lane = self._lane(chunk.track)
            lane.waiting.append(chunk)
            lane.end_sample = max(lane.end_sample, chunk.end_sample)

    async def advance(self) -> None:
        """Splice what is DONE, and mix what is complete by now."""
        async with self._lock:
            await self._splice()
            if not self._lanes:
                return
            ready = self._ready_sample()
            await asyncio.to_thread(self._fill_masters, ready - FILL_SAMPLES, tuple(self._lanes.values()))
            await asyncio.to_thread(self._fill_tracks, determined_frames(ready - FILL_SAMPLES))
            if len(self._lanes) > 1:
                await self._mix_up_to(determined_frames(ready))

    async def finish(self) -> Assembled:
        """Complete all files: each speaker's and, for more than one, the mix; all of the same length.

        That is the length of the session, or of the longest track where that is longer or nobody knows. Raises
        `StorageError` or `OSError` when the disk does not take the MP3s. May be called again.
        """
        async with self._lock:
            meeting, rows = await self._context.database.read(_all_of, self._meeting_id)
            self.expect(rows)
            await self._splice()
            duration_samples = (meeting.duration_samples if meeting else None) or 0
            session_samples = max([duration_samples, *(row.end_sample for row in rows)])
            growing = {track: lane.master for track, lane in self._lanes.items() if lane.master is not None}
            masters = await finish_masters(growing, rows, session_samples)
            lanes = {track: lane.spliced for track, lane in self._lanes.items()}
            mix_error = None
            longest = max((lane.end_sample for lane in self._lanes.values()), default=0)
            if len(lanes) > 1:
                try:
                    await self._mix_up_to(
                        max(frame_count(longest), self._mixed_windows * WINDOW_FRAMES), to_the_end=True
                    )
                except (FfmpegError, Mp3Error) as error:
                    mix_error = error
                else:
                    lanes[MIX_TRACK] = self._mix_track()
            finished = await asyncio.gather(
                *(asyncio.to_thread(spliced.finish, session_samples) for spliced in lanes.values())
            )
            return Assembled(
                files=dict(zip(lanes, finished, strict=True)),
                masters=masters,
                mix_error=mix_error,
                gains=self.gains,
            )

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # while nobody speaks, silence is written as time goes by
                async with asyncio.timeout(FILL_SAMPLES / SAMPLE_RATE):
                    await self._kicked.wait()
            self._kicked.clear()
            try:
                await self.advance()
            except Exception:
                log.exception("Assembly was interrupted; promotion will do it", extra={"meeting": self._meeting_id})

    async def _splice(self) -> None:
        unspliced = {chunk.id for lane in self._lanes.values() for chunk in lane.waiting} | self._failed
        if not unspliced:
            return
        ended = (TranscodeStatus.DONE, TranscodeStatus.FAILED)
        rows = await self._context.database.read(chunks.of_meeting, self._meeting_id, *ended, from_id=min(unspliced))
        settled = {row.id: row for row in rows if row.id in unspliced}
        for row in settled.values():
            if row.id in self._failed and row.transcode_status is TranscodeStatus.DONE:  # a late retry
                await self._add(self._lanes[row.track], row)
                self._failed.remove(row.id)
        for lane in list(self._lanes.values()):  # a new speaker's first chunk may be sealed meanwhile
            while lane.waiting and (head := settled.get(lane.waiting[0].id)):
                if head.transcode_status is TranscodeStatus.DONE:
                    await self._add(lane, head)
                else:
                    self._failed.add(head.id)
                lane.waiting.popleft()
                if lane.master is not None:
                    await asyncio.to_thread(lane.master.add, head)

    async def _add(self, lane: _Lane, chunk: Chunk) -> None:
        first, last = determined_frames(chunk.start_sample), frame_count(chunk.end_sample)
        mp3 = self._context.temp_file(chunk.mp3_key)
        await asyncio.to_thread(lane.spliced.add, first, mp3, start_sample=chunk.start_sample)
        self._dirty_windows.update(windows_that_need(first, last, self._mixed_windows))
        if lane.levelling is not None and (changed := lane.levelling.add(measured(chunk))):
            self._dirty_windows.update(windows_that_need(*changed, self._mixed_windows))

    def _fill_masters(self, until_sample: int, lanes: Sequence[_Lane]) -> None:
        for lane in lanes:
            if lane.master is not None:
                lane.master.fill(until_sample)

    def _fill_tracks(self, frames: int) -> None:
        for lane in tuple(self._lanes.values()):
            lane.spliced.reach(frames)

    def _ready_sample(self) -> int:
        """Up to where no track is going to change any more, as far as can be told.

        A speaker who pushes nothing does not hold the mix back; audio that comes later all the same, at a time that
        is mixed already, makes those windows dirty.
        """
        changing = dict(self._open_tracks())
        for track, lane in self._lanes.items():
            if lane.waiting:
                changing[track] = min(changing.get(track, lane.waiting[0].start_sample), lane.waiting[0].start_sample)
        longest = max(lane.end_sample for lane in self._lanes.values())
        return min([max(longest, self._session_samples() - FILL_SAMPLES), *changing.values()])

    async def _mix_up_to(self, ready: int, *, to_the_end: bool = False) -> None:
        for window in sorted(self._dirty_windows):
            await self._mix_window(window, window_frames(window, ready if to_the_end else None))
            self._dirty_windows.discard(window)
        while True:
            first, last = window_frames(self._mixed_windows, ready if to_the_end else None)
            if (first >= ready) if to_the_end else (needed_frames(first, last)[1] > ready):
                return
            await self._mix_window(self._mixed_windows, (first, last))
            self._mixed_windows += 1

    async def _mix_window(self, window: int, frames: tuple[int, int]) -> None:
        sources = [lane.mixed for lane in self._lanes.values()]
        async with self._context.encoders:
            mixed = await mix_frames(
                self._context.ffmpeg,
                sources,
                first_frame=frames[0],
                last_frame=frames[1],
                quality=self._context.settings.mp3_quality,
                scratch=self._folder(MIX_TRACK),
            )
        path = self._folder(MIX_TRACK) / f"{window:06d}.mp3"
        await asyncio.to_thread(path.write_bytes, mixed)
        await asyncio.to_thread(self._mix_track().add, frames[0], path)

    def _lane(self, track: Track) -> _Lane:
        if track not in self._lanes:
            folder, keeps_opus = self._folder(track), self._context.settings.keep_opus
            master = MasterTrack(folder / MASTER_OPUS, self._context.temp_file) if keeps_opus else None
            levelling = Levelling() if self._context.settings.level_mix else None
            self._lanes[track] = _Lane(SplicedTrack(folder / "track.mp3"), master, levelling)
        return self._lanes[track]

    def _mix_track(self) -> SplicedTrack:
        if self._mix is None:
            self._mix = SplicedTrack(self._folder(MIX_TRACK) / "track.mp3")
        return self._mix

    def _folder(self, track: Track) -> Path:
        folder = self._context.track_folder(self._meeting_id, track)
        make_folder(folder)
        return folder


def _all_of(tx: Connection, meeting_id: MeetingId) -> tuple[Meeting | None, list[Chunk]]:
    return meetings.get(tx, meeting_id), chunks.of_meeting(tx, meeting_id)
