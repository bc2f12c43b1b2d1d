"""Promotion: a meeting's assembled files become its recording, in one transaction; and mending it after a retry."""

import asyncio
import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from discord_recorder.audio.framefile import FinishedTrack, FrameFile, replace_frames
from discord_recorder.audio.mix import mix_frames
from discord_recorder.audio.mp3 import determined_frames, frame_count, is_silent, split_frames
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.audio.splice import SplicedTrack
from discord_recorder.errors import FfmpegError, MeetingNotFoundError
from discord_recorder.ids import MeetingId
from discord_recorder.recording.assembly import MIX_WINDOW_FRAMES, MeetingAssembly
from discord_recorder.recording.context import Context
from discord_recorder.recording.transcode import MASTER_PCM
from discord_recorder.storage import chunks, meetings, recordings
from discord_recorder.storage.files import make_folder, remove_empty_folders, sync_file
from discord_recorder.storage.records import (
    MIX_TRACK,
    Chunk,
    Meeting,
    MeetingStatus,
    Recording,
    RecordingStatus,
    RecordingTrack,
    Track,
    TrackKind,
    TranscodeStatus,
)

log = logging.getLogger(__name__)


class Promoter:
    """Brings a meeting whose transcodes have ended to its end: promotes it, or mends the recording it has."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def finalize(self, meeting_id: MeetingId, assembly: MeetingAssembly | None) -> None:
        """Promote or mend; afterwards the meeting is completed, or failed when none of its chunks could be transcoded.

        A crash at any point leaves a meeting in `processing`, and the next call does the work again. Raises
        `StorageError`, `DatabaseError` or `OSError` when that has to be later.
        """
        async with self._context.database.read() as tx:
            meeting = await meetings.get(tx, meeting_id)
            existing = await recordings.find(tx, meeting_id=meeting_id)
            rows = await chunks.of_meeting(tx, meeting_id)
        if meeting is None:
            raise MeetingNotFoundError(f"There is no meeting {meeting_id}.")
        if existing:
            await self._mend(meeting, existing[0], rows)
        elif rows:
            await self._promote(meeting, rows, assembly or MeetingAssembly(self._context, meeting_id))
        else:
            async with self._context.database.write() as tx:
                await _end(tx, meeting_id, rows)
        await asyncio.to_thread(self._tidy, meeting_id, rows)

    async def _promote(self, meeting: Meeting, rows: Sequence[Chunk], assembly: MeetingAssembly) -> None:
        finished, mix_error = await assembly.finish()
        if mix_error is not None:
            log.error(
                "The mix could not be made; `retry` tries again", extra={"meeting": meeting.id}, exc_info=mix_error
            )
        masters = await self._make_masters(meeting.id, finished)
        tracks = [
            await self._store(meeting.id, track, file, masters.get(track)) for track, file in sorted(finished.items())
        ]
        whole = mix_error is None and not any(row.transcode_status is TranscodeStatus.FAILED for row in rows)
        async with self._context.database.write() as tx:
            names = await meetings.speaker_names(tx, meeting.id)
            await recordings.add(
                tx,
                meeting,
                status=RecordingStatus.COMPLETE if whole else RecordingStatus.INCOMPLETE,
                ended_at=meeting.ended_at or self._context.clock.now(),
                tracks=[_named(track, names) for track in tracks],
            )
            await chunks.remove(tx, [row.id for row in rows if row.transcode_status is TranscodeStatus.DONE])
            await _end(tx, meeting.id, rows)

    async def _store(
        self, meeting_id: MeetingId, track: Track, file: FinishedTrack, master: Path | None
    ) -> RecordingTrack:
        key = f"{meeting_id}/{track}.mp3"
        await asyncio.to_thread(self._context.store.put, file.path, key)
        master_key = f"{meeting_id}/{track}.flac" if master else None
        if master and master_key:
            await asyncio.to_thread(self._context.store.put, master, master_key)
        return RecordingTrack(
            track=track,
            kind=TrackKind.MIX if track == MIX_TRACK else TrackKind.SPEAKER,
            name=None,
            key=key,
            master_key=master_key,
            samples=file.samples,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )

    async def _make_masters(self, meeting_id: MeetingId, finished: Mapping[Track, FinishedTrack]) -> dict[Track, Path]:
        masters: dict[Track, Path] = {}
        for track, file in finished.items():
            pcm = self._context.track_folder(meeting_id, track) / MASTER_PCM
            if not pcm.exists():
                continue
            flac = pcm.with_suffix(".flac")
            with pcm.open("r+b") as sparse:
                sparse.truncate(file.samples * SAMPLE_BYTES)
            source = ["-f", "s16le", "-ar", "48000", "-ac", "2", "-i", f"file:{pcm}"]
            arguments = ["-nostdin", *source, "-c:a", "flac", "-y", f"file:{flac}"]
            limit = max(self._context.settings.transcode_time_limit_seconds, file.samples / 48_000)
            async with self._context.encoders:
                await self._context.ffmpeg.run(arguments, time_limit_seconds=limit)
            await asyncio.to_thread(sync_file, flac)
            masters[track] = flac
        return masters

    # --- mending

    async def _mend(self, meeting: Meeting, recording: Recording, rows: Sequence[Chunk]) -> None:
        mended = [row for row in rows if row.transcode_status is TranscodeStatus.DONE]
        files = _Mending(self._context, recording)
        await asyncio.to_thread(files.put_in, mended)
        mix_error = await files.mend_mix(mended)
        renewed = [await self._store(meeting.id, track, file, None) for track, file in sorted(files.finished.items())]
        kept = {track.track: track for track in recording.tracks}
        whole = mix_error is None and len(mended) == len(rows)
        async with self._context.database.write() as tx:
            names = await meetings.speaker_names(tx, meeting.id)
            await recordings.replace_tracks(
                tx,
                recording,
                status=RecordingStatus.COMPLETE if whole else RecordingStatus.INCOMPLETE,
                tracks=[
                    _named(track, names, master_key=kept[track.track].master_key if track.track in kept else None)
                    for track in renewed
                ],
            )
            await chunks.remove(tx, [row.id for row in mended])
            await _end(tx, meeting.id, rows)

    # --- files

    def _tidy(self, meeting_id: MeetingId, rows: Iterable[Chunk]) -> None:
        """Delete what promotion left in the temp folder, all but the sources of FAILED chunks."""
        spared = {
            self._context.temp_file(row.source_key) for row in rows if row.transcode_status is TranscodeStatus.FAILED
        }
        folder = self._context.meeting_folder(meeting_id)
        for path in folder.glob("*/*"):
            if path in spared:
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning(
                    "A temp file could not be deleted; the cleanup tries again",
                    extra={"path": str(path), "reason": error.strerror},
                )
        remove_empty_folders(folder)


class _Mending:
    """New versions of a recording's files, made in the temp folder."""

    def __init__(self, context: Context, recording: Recording) -> None:
        self._context = context
        self._recording = recording
        self._folder = context.meeting_folder(recording.meeting_id) / "mending"
        self._files = {track.track: context.store.local_file(track.key) for track in recording.tracks}
        self._samples = {track.track: track.samples for track in recording.tracks}
        self.finished: dict[Track, FinishedTrack] = {}
        """The files that are new."""

    def put_in(self, mended: Sequence[Chunk]) -> None:
        """Put the frames of DONE chunks where silence holds their place. Call from a thread."""
        for chunk in mended:
            frames = split_frames(self._context.temp_file(chunk.mp3_key).read_bytes())
            first = determined_frames(chunk.start_sample)
            owned = self._owned_frames(chunk, first, len(frames))
            self._replace(chunk.track, first, b"".join(frames[:owned]))

    async def mend_mix(self, mended: Sequence[Chunk]) -> FfmpegError | None:
        """Mix anew where chunks were put in, or all of it where there is no mix; gives what kept it from it."""
        speakers = {track: file for track, file in self._files.items() if track != MIX_TRACK}
        if len(speakers) <= 1:
            return None
        try:
            if MIX_TRACK in self._files:
                for chunk in mended:
                    first = max(0, determined_frames(chunk.start_sample) - 1)
                    last = min(frame_count(chunk.end_sample) + 1, frame_count(self._samples[MIX_TRACK]))
                    mixed = await self._mixed(speakers.values(), first, last)
                    await asyncio.to_thread(self._replace, MIX_TRACK, first, mixed)
            else:
                self.finished[MIX_TRACK] = await self._whole_mix(speakers)
        except FfmpegError as error:
            return error
        return None

    def _owned_frames(self, chunk: Chunk, first: int, available: int) -> int:
        """How many of a chunk's frames to put in: its own, and its tail where that falls on silence, not on a successor."""
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

    async def _mixed(self, files: Iterable[Path], first: int, last: int) -> bytes:
        make_folder(self._folder)
        async with self._context.encoders:
            return await mix_frames(
                self._context.ffmpeg,
                [FrameFile.open(file) for file in files],
                first_frame=first,
                last_frame=last,
                quality=self._context.settings.mp3_quality,
                scratch=self._folder,
            )

    async def _whole_mix(self, speakers: Mapping[Track, Path]) -> FinishedTrack:
        end_sample = max(self._samples[track] for track in speakers)
        mix = SplicedTrack(self._folder / "mix.growing.mp3")
        for first in range(0, frame_count(end_sample), MIX_WINDOW_FRAMES):
            window = self._folder / f"mix.{first}.mp3"
            last = min(first + MIX_WINDOW_FRAMES, frame_count(end_sample))
            window.write_bytes(await self._mixed(speakers.values(), first, last))
            await asyncio.to_thread(mix.add, first, window)
        return await asyncio.to_thread(mix.finish, end_sample)


async def _end(tx: AsyncConnection, meeting_id: MeetingId, rows: Sequence[Chunk]) -> None:
    errors = [row.error for row in rows if row.transcode_status is TranscodeStatus.FAILED]
    hopeless = bool(rows) and len(errors) == len(rows)
    await meetings.change(
        tx,
        meeting_id,
        status=MeetingStatus.FAILED if hopeless else MeetingStatus.COMPLETED,
        error=errors[0] if errors else None,
        owner=None,
    )


def _named(track: RecordingTrack, names: Mapping[Track, str | None], master_key: str | None = None) -> RecordingTrack:
    return dataclasses.replace(track, name=names.get(track.track), master_key=master_key or track.master_key)
