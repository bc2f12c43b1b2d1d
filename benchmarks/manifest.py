"""`manifest`: what the ledger of gaps and the manifest add to a stop."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.measure import median
from benchmarks.options import Options
from benchmarks.report import Results, Table, progress, spread
from discord_recorder.audio.pcm import SAMPLE_RATE
from discord_recorder.ids import MeetingId
from discord_recorder.recording.finishing.gaps import ledgers
from discord_recorder.recording.finishing.manifest import Told, manifest_json
from discord_recorder.storage.records import (
    Chunk,
    Mark,
    MarkKind,
    Meeting,
    MeetingStatus,
    RecordingStatus,
    RecordingTrack,
    Track,
    TrackKind,
    TranscodeStatus,
)
from discord_recorder.storage.stretches import Stretch, Stretches

_SPEAKERS = 10
_CHUNK_SAMPLES = 10 * SAMPLE_RATE
_PACKET_SAMPLES = 960
_SPURTS = 4
"""Talk spurts in a chunk; after the first of them a packet is lost. Makes 5,400 gaps a track in 3 hours."""

_ROUNDS = 5
_LIMIT_MS = 200.0
_STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
_MEETING: Final = MeetingId("0123456789abcdef")


def run(options: Options, folder: Path) -> list[Table]:
    """Account for a long meeting, several times, from rows as the database gives them."""
    _ = folder
    tracks = [Track(str(1000 + who)) for who in range(_SPEAKERS)]
    chunks = [chunk for track in tracks for chunk in _chunks(track, round(options.hours * 360))]
    duration = max(chunk.end_sample for chunk in chunks)
    marks = [_lost_connection(minute) for minute in range(0, round(options.hours * 60), 10)]
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    gaps = size = 0
    for number in range(_ROUNDS):
        progress(f"manifest: {number + 1} of {_ROUNDS}")
        wall, cpu = time.perf_counter(), time.thread_time()
        found = ledgers(duration, tracks, chunks, marks)
        text = manifest_json(
            _meeting(),
            ended_at=_STARTED + timedelta(hours=options.hours),
            status=RecordingStatus.COMPLETE,
            duration_samples=duration,
            told=Told(marks=marks, names={}),
            tracks=[_file(track, duration) for track in tracks],
            ledgers=found,
            master_hashes={},
        )
        seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.thread_time() - cpu)
        gaps, size = sum(len(ledger.gaps) for ledger in found.values()), len(text)
    results = Results.of(
        f"manifest: {options.hours:g} h, {_SPEAKERS} speakers",
        "From the rows of all chunks, in memory, to the text of the manifest, in one thread.",
    )
    wall_ms, cpu_ms = [value * 1000 for value in seconds], [value * 1000 for value in cpu_seconds]
    results.at_most("time", median(wall_ms), _LIMIT_MS, "ms", spread=spread(wall_ms, 0), digits=0)
    results.tell("CPU", median(cpu_ms), "ms", spread=spread(cpu_ms, 0), digits=0)
    results.tell("gaps a track", gaps / _SPEAKERS, "", digits=0)
    results.tell("size", size / 1e6, "MB", digits=1)
    return [results.table]


def _chunks(track: Track, count: int) -> Iterator[Chunk]:
    random = Random(int(track))
    for number in range(count):
        start = number * _CHUNK_SAMPLES
        borders = sorted(random.sample(range(1, _CHUNK_SAMPLES // _PACKET_SAMPLES - 1), 2 * _SPURTS))
        places = [start + border * _PACKET_SAMPLES for border in borders]
        heard: list[Stretch] = list(zip(places[::2], places[1::2], strict=True))
        lost = [(heard[0][1], heard[0][1] + _PACKET_SAMPLES)]
        stretches = Stretches(heard=heard, lost=lost, concealed_samples=_PACKET_SAMPLES)
        yield Chunk(
            meeting_id=_MEETING,
            track=track,
            guild_id=None,
            start_sample=start,
            sample_count=_CHUNK_SAMPLES,
            preroll_samples=0,
            source_key="",
            mp3_key="",
            id=number,
            transcode_status=TranscodeStatus.DONE,
            attempts=1,
            owner=None,
            lease_expires_at=None,
            not_before=0.0,
            error=None,
            created_at=_STARTED,
            completed_at=_STARTED,
            sha256="",
            cleaned=True,
            stretches=stretches.to_json(),
        )


def _lost_connection(minute: int) -> Mark:
    at = timedelta(minutes=minute)
    return Mark(
        kind=MarkKind.DISCONNECTED,
        at_sample=round(at.total_seconds()) * SAMPLE_RATE,
        sample_count=SAMPLE_RATE,
        wall_at=_STARTED + at,
    )


def _meeting() -> Meeting:
    return Meeting(
        id=_MEETING,
        channel_id="1",
        guild_id=None,
        user_id=None,
        title=None,
        status=MeetingStatus.PROCESSING,
        end_reason=None,
        error=None,
        owner=None,
        recovered=False,
        paused_dropped_bytes=0,
        started_at=_STARTED,
        ended_at=None,
    )


def _file(track: Track, duration: int) -> RecordingTrack:
    return RecordingTrack(
        track=track,
        kind=TrackKind.SPEAKER,
        name=None,
        key=f"{_MEETING}/{track}.mp3",
        master_key=None,
        samples=duration,
        size_bytes=0,
        sha256="",
    )
