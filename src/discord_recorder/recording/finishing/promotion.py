"""Promotion: a meeting's assembled files become its recording, in one transaction; and mending it after a retry."""

import asyncio
import dataclasses
import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from discord_recorder.audio.ffmpeg import PCM_FORMAT
from discord_recorder.audio.framefile import FinishedTrack
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.audio.wav import write_wav
from discord_recorder.errors import FfmpegError, MeetingNotFoundError, StorageError
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.assembly import MeetingAssembly
from discord_recorder.recording.finishing.bookkeeping import Bookkeeper
from discord_recorder.recording.finishing.masters import Masters
from discord_recorder.recording.finishing.mending import Mending
from discord_recorder.recording.transcoding.transcode import MASTER_PCM
from discord_recorder.storage import chunks, meetings, recordings
from discord_recorder.storage.files import files_below, remove_empty_folders, sync_file
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

TIDY_SECONDS: Final = 1.0
"""How long a promotion waits for its temp files to be deleted: thousands, after hours. It goes on by itself then."""


class Promoter:
    """Brings a meeting whose transcodes have ended to its end: promotes it, or mends the recording it has."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._bookkeeper = Bookkeeper(context)
        self._tidying: dict[MeetingId, asyncio.Task[None]] = {}

    async def finalize(self, meeting_id: MeetingId, assembly: MeetingAssembly | None) -> None:
        """Promote or mend; afterwards the meeting is completed, or failed when none of its chunks could be transcoded.

        A crash at any point leaves a meeting in `processing`, and the next call does the work again. Raises
        `StorageError`, `DatabaseError` or `OSError` when that has to be later.
        """
        if (tidying := self._tidying.get(meeting_id)) is not None:
            await asyncio.wait({tidying})
        meeting, existing, rows = await self._context.database.read(_all_of, meeting_id)
        if meeting is None:
            raise MeetingNotFoundError(f"There is no meeting {meeting_id}.")
        owed: Mapping[Track, Exception] = {}
        if existing:
            owed = await self._mend(meeting, existing[0], rows)
        elif rows:
            owed = await self._promote(meeting, rows, assembly or MeetingAssembly(self._context, meeting_id))
        else:
            await self._context.database.write(_end, meeting_id, rows, hopeless=False)
        tidying = asyncio.create_task(asyncio.to_thread(self._tidy, meeting_id, rows, owed), name=f"tidy {meeting_id}")
        self._tidying[meeting_id] = tidying
        tidying.add_done_callback(lambda _: self._tidying.pop(meeting_id, None))
        await asyncio.wait({tidying}, timeout=TIDY_SECONDS)

    async def aclose(self) -> None:
        """Wait until everything that was promoted is tidied up."""
        if self._tidying:
            await asyncio.wait(self._tidying.values())

    async def _promote(
        self, meeting: Meeting, rows: Sequence[Chunk], assembly: MeetingAssembly
    ) -> Mapping[Track, Exception]:
        """Make the recording; gives the tracks whose Opus master is still to be written, and what kept it from it."""
        assembled = await assembly.finish()
        finished, mix_error = assembled.files, assembled.mix_error
        if mix_error is not None:
            log.error(
                "The mix could not be made; `retry` tries again", extra={"meeting": meeting.id}, exc_info=mix_error
            )
        opus_keys, owed = await self._store_opus(meeting.id, assembled.masters)
        masters = await self._make_masters(
            meeting.id, {track: file for track, file in finished.items() if track not in opus_keys}
        )
        stored = [
            await self._store(meeting.id, track, file, masters.get(track)) for track, file in sorted(finished.items())
        ]
        tracks = [
            dataclasses.replace(
                _with_master(track, opus_keys.get(track.track)), mix_gains=assembled.gains.get(track.track)
            )
            for track in stored
        ]
        failed = any(row.transcode_status is TranscodeStatus.FAILED for row in rows)
        whole = mix_error is None and not owed and not failed
        status = RecordingStatus.COMPLETE if whole else RecordingStatus.INCOMPLETE
        ended_at = meeting.ended_at or self._context.clock.now()
        hashes = assembled.masters.hashes
        books = await self._bookkeeper.open(
            meeting, rows, tracks, status=status, ended_at=ended_at, master_hashes=hashes
        )

        def promote(tx: Connection) -> None:
            recordings.add(
                tx,
                meeting,
                status=status,
                ended_at=ended_at,
                tracks=books.tracks,
                duration_samples=books.duration_samples,
                manifest_key=books.manifest_key,
            )
            self._release(tx, rows, owed)
            hopeless = all(row.transcode_status is TranscodeStatus.FAILED for row in rows)
            _end(tx, meeting.id, rows, hopeless=hopeless, mix_error=mix_error, owed=owed)

        await self._context.database.write(promote)
        return owed

    def _release(self, tx: Connection, rows: Iterable[Chunk], owed: Container[Track]) -> None:
        """Forget DONE chunks, but for those of which a master is still to be made."""
        done = [row for row in rows if row.transcode_status is TranscodeStatus.DONE]
        chunks.remove(tx, [row.id for row in done if row.track not in owed])
        chunks.keep_sources(tx, [row.id for row in done if row.track in owed], self._context.clock.now())

    async def _store_opus(
        self, meeting_id: MeetingId, masters: Masters
    ) -> tuple[dict[Track, str], dict[Track, Exception]]:
        """Store the Opus masters; gives their keys, and what kept the others from being written or stored."""
        keys: dict[Track, str] = {}
        owed: dict[Track, Exception] = dict(masters.errors)
        for track, master in sorted(masters.made.items()):
            key = f"{meeting_id}/{track}{master.path.suffix}"
            try:
                await asyncio.to_thread(self._context.store.put, master.path, key)
            except StorageError as error:
                owed[track] = error
            else:
                keys[track] = key
        for track, failure in owed.items():
            log.error(
                "An Opus master could not be written; `retry` tries again",
                extra={"meeting": meeting_id, "track": track},
                exc_info=failure,
            )
        return keys, owed

    async def _store(
        self, meeting_id: MeetingId, track: Track, file: FinishedTrack, master: Path | None
    ) -> RecordingTrack:
        key = f"{meeting_id}/{track}.mp3"
        await asyncio.to_thread(self._context.store.put, file.path, key)
        master_key = f"{meeting_id}/{track}{master.suffix}" if master else None
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
            if pcm.exists():
                with pcm.open("r+b") as sparse:
                    sparse.truncate(file.samples * SAMPLE_BYTES)
                masters[track] = await self._make_master(pcm, file.samples)
        return masters

    async def _make_master(self, pcm: Path, samples: int) -> Path:
        """A FLAC file of raw PCM; a WAV file where FFmpeg makes none, so that nothing lossless is lost."""
        flac = pcm.with_suffix(".flac")
        arguments = [*PCM_FORMAT, "-i", f"file:{pcm}", "-c:a", "flac", "-y", f"file:{flac}"]
        limit = max(self._context.settings.transcode_time_limit_seconds, samples / SAMPLE_RATE)
        try:
            async with self._context.encoders:
                await self._context.ffmpeg.run(arguments, time_limit_seconds=limit)
        except FfmpegError:
            log.exception("A FLAC master could not be made; it is kept as WAV", extra={"path": str(pcm)})
            flac = pcm.with_suffix(".wav")
            await asyncio.to_thread(write_wav, pcm, flac)
        await asyncio.to_thread(sync_file, flac)
        return flac

    # --- mending

    async def _mend(self, meeting: Meeting, recording: Recording, rows: Sequence[Chunk]) -> Mapping[Track, Exception]:
        """Put in what was retried; gives the tracks whose Opus master is still to be written, as `_promote`."""
        failed = [row for row in rows if row.transcode_status is TranscodeStatus.FAILED]
        mended = [row for row in rows if row not in failed and not row.is_in_recording]
        files = Mending(self._context, recording)
        await asyncio.to_thread(files.put_in, mended)
        mix_error = await files.mend_mix(mended)
        opus_masters = await files.make_masters(rows)
        opus_keys, owed = await self._store_opus(meeting.id, opus_masters)
        tracks = {track.track: track for track in recording.tracks}
        for track, file in sorted(files.finished.items()):
            renewed = await self._store(meeting.id, track, file, None)
            tracks[track] = _renewed(tracks[track], renewed) if track in tracks else renewed
        for track, gains in files.gains.items():
            tracks[track] = dataclasses.replace(tracks[track], mix_gains=gains.to_json())
        if mix_error is not None:
            tracks.pop(MIX_TRACK, None)  # it lacks what was mended; `retry` makes it anew
        whole = mix_error is None and not owed and not failed
        hopeless = bool(failed) and not mended and await asyncio.to_thread(files.hold_nothing)
        status = RecordingStatus.COMPLETE if whole else RecordingStatus.INCOMPLETE
        amended = await self._bookkeeper.amend(
            meeting,
            recording,
            mended,
            [_with_master(track, opus_keys.get(track.track)) for track in tracks.values()],
            status=status,
            master_hashes=opus_masters.hashes,
        )

        def mend(tx: Connection) -> None:
            dropped = [track.track for track in recording.tracks]
            recordings.replace_tracks(tx, recording, status=status, tracks=amended, dropped=dropped)
            self._release(tx, rows, owed)
            _end(tx, meeting.id, rows, hopeless=hopeless, mix_error=mix_error, owed=owed)

        await self._context.database.write(mend)
        return owed

    # --- files

    def _tidy(self, meeting_id: MeetingId, rows: Iterable[Chunk], owed: Container[Track]) -> None:
        """Delete what promotion left in the temp folder, but for sources of FAILED chunks and of masters to be made."""
        spared = {
            self._context.temp_file(row.source_key)
            for row in rows
            if row.transcode_status is TranscodeStatus.FAILED or row.track in owed
        }
        folder = self._context.meeting_folder(meeting_id)
        for path in list(files_below(folder)):
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


def _all_of(tx: Connection, meeting_id: MeetingId) -> tuple[Meeting | None, list[Recording], list[Chunk]]:
    return (
        meetings.get(tx, meeting_id),
        recordings.find(tx, meeting_id=meeting_id),
        chunks.of_meeting(tx, meeting_id),
    )


def _end(
    tx: Connection,
    meeting_id: MeetingId,
    rows: Sequence[Chunk],
    *,
    hopeless: bool,
    mix_error: Exception | None = None,
    owed: Mapping[Track, Exception] | None = None,
) -> None:
    errors = [row.error for row in rows if row.transcode_status is TranscodeStatus.FAILED]
    if mix_error is not None:
        errors.append(f"the mix could not be made: {mix_error}")
    errors += [
        f"the Opus master of track {track} could not be written: {error}" for track, error in (owed or {}).items()
    ]
    meetings.change(
        tx,
        meeting_id,
        status=MeetingStatus.FAILED if hopeless else MeetingStatus.COMPLETED,
        error=errors[0] if errors else None,
        owner=None,
    )


def _with_master(track: RecordingTrack, opus_key: str | None) -> RecordingTrack:
    """The same with an Opus master, if there is a new one."""
    return track if opus_key is None else dataclasses.replace(track, master_key=opus_key)


def _renewed(old: RecordingTrack, new: RecordingTrack) -> RecordingTrack:
    """A track with another file in place of its own; its master stays."""
    return dataclasses.replace(old, key=new.key, samples=new.samples, size_bytes=new.size_bytes, sha256=new.sha256)
