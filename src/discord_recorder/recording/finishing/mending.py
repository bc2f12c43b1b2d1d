"""Mending: chunks that were transcoded after all are put into a finished recording, and its mix is made anew there."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from discord_recorder.audio.framefile import FinishedTrack, FrameFile, replace_frames
from discord_recorder.audio.levelling import GainLine
from discord_recorder.audio.mix import FrameSource, LevelledTrack, mix_frames
from discord_recorder.audio.mp3 import determined_frames, frame_count, is_silent, split_frames
from discord_recorder.audio.splice import SplicedTrack
from discord_recorder.errors import FfmpegError, Mp3Error
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.masters import Masters, MasterTrack, finish_masters
from discord_recorder.recording.finishing.mix_gains import mended_gains
from discord_recorder.recording.finishing.mix_windows import WINDOW_FRAMES, window_frames, windows_that_need
from discord_recorder.storage.files import make_folder
from discord_recorder.storage.records import MIX_TRACK, Chunk, Recording, Track


class Mending:
    """New versions of a recording's files, made in the temp folder."""

    def __init__(self, context: Context, recording: Recording) -> None:
        self._context = context
        self._recording = recording
        self._folder = context.meeting_folder(recording.meeting_id) / "mending"
        self._files = {track.track: context.store.local_file(track.key) for track in recording.tracks}
        self._samples = {track.track: track.samples for track in recording.tracks}
        self.finished: dict[Track, FinishedTrack] = {}
        """The files that are new."""
        self.gains: dict[Track, GainLine] = {}
        """What the mix makes of each speaker, where speakers are levelled."""

    def put_in(self, mended: Sequence[Chunk]) -> None:
        """Put the frames of DONE chunks where silence holds their place. Call from a thread."""
        for chunk in mended:
            frames = split_frames(self._context.temp_file(chunk.mp3_key).read_bytes())
            first = determined_frames(chunk.start_sample)
            owned = self._owned_frames(chunk, first, len(frames))
            self._replace(chunk.track, first, b"".join(frames[:owned]))

    async def mend_mix(self, mended: Sequence[Chunk]) -> FfmpegError | Mp3Error | None:
        """Mix anew where chunks were put in, or all of it where there is no mix; gives what kept it from it."""
        speakers = {track: file for track, file in self._files.items() if track != MIX_TRACK}
        gains = {track.track: mended_gains(track, mended) for track in self._recording.tracks}
        self.gains = {track: line for track, line in gains.items() if line is not None}
        if len(speakers) <= 1:
            return None
        try:
            if MIX_TRACK in self._files:
                await self._remix(speakers, mended)
            else:
                self.finished[MIX_TRACK] = await self._whole_mix(speakers)
        except (FfmpegError, Mp3Error) as error:
            self.finished.pop(MIX_TRACK, None)
            return error
        return None

    async def make_masters(self, rows: Sequence[Chunk]) -> Masters:
        """Make the Opus masters that could not be written when the recording was made."""
        owed = {row.track for row in rows if row.is_in_recording} if self._context.settings.keep_opus else ()
        growing = {
            track: MasterTrack(self._folder / f"{track}.opus", self._context.temp_file) for track in sorted(owed)
        }
        total = max([self._recording.duration_samples or 0, *self._samples.values()])
        return await finish_masters(growing, rows, total)

    def hold_nothing(self) -> bool:
        """True when every speaker's file is nothing but silence. Call from a thread."""
        speakers = (FrameFile.open(file) for track, file in self._files.items() if track != MIX_TRACK)
        return all(is_silent(frame) for file in speakers for frame in file.frames(0, file.count))

    def _owned_frames(self, chunk: Chunk, first: int, available: int) -> int:
        """How many of a chunk's frames to put in: its own, and its tail where that falls on silence."""
        existing = FrameFile.open(self._files[chunk.track])
        own_last = determined_frames(chunk.end_sample)
        last = min(first + available, frame_count(self._samples[chunk.track]))
        if own_last < last and all(map(is_silent, existing.frames(own_last, last))):
            own_last = last
        return max(0, own_last - first)

    def _replace(self, track: Track, first: int, frames: bytes) -> None:
        if not frames:
            return
        make_folder(self._folder)
        target = self._folder / f"{track}.{first}.mp3"
        self.finished[track] = replace_frames(self._files[track], target, first_frame=first, frames=frames)
        self._files[track] = target

    def _source(self, track: Track, file: Path) -> FrameSource:
        frames = FrameFile.open(file)
        return LevelledTrack(frames, self.gains[track]) if track in self.gains else frames

    async def _mixed(self, speakers: Mapping[Track, Path], first: int, last: int) -> bytes:
        make_folder(self._folder)
        async with self._context.encoders:
            return await mix_frames(
                self._context.ffmpeg,
                [self._source(track, file) for track, file in speakers.items()],
                first_frame=first,
                last_frame=last,
                quality=self._context.settings.mp3_quality,
                scratch=self._folder,
            )

    async def _remix(self, speakers: Mapping[Track, Path], mended: Sequence[Chunk]) -> None:
        total = frame_count(self._samples[MIX_TRACK])
        windows = -(-total // WINDOW_FRAMES)
        touched = {
            window
            for chunk in mended
            for window in windows_that_need(
                determined_frames(chunk.start_sample), frame_count(chunk.end_sample), windows
            )
        }
        for window in sorted(touched):
            first, last = window_frames(window, total)
            mixed = await self._mixed(speakers, first, last)
            await asyncio.to_thread(self._replace, MIX_TRACK, first, mixed)

    async def _whole_mix(self, speakers: Mapping[Track, Path]) -> FinishedTrack:
        end_sample = max(self._samples[track] for track in speakers)
        total = frame_count(end_sample)
        make_folder(self._folder)
        mix = SplicedTrack(self._folder / "mix.growing.mp3")
        for window in range(-(-total // WINDOW_FRAMES)):
            first, last = window_frames(window, total)
            path = self._folder / f"mix.window.{window}.mp3"
            path.write_bytes(await self._mixed(speakers, first, last))
            await asyncio.to_thread(mix.add, first, path)
        return await asyncio.to_thread(mix.finish, end_sample)
