"""`latency`: how long a sealed chunk waits for its MP3 while many tracks are pushed in real time."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import recorder
from benchmarks.material import CHUNK_SECONDS, PIECE_SECONDS, Speech, pieces
from benchmarks.measure import Cpu, loop_lags, median, percentile
from benchmarks.options import Options
from benchmarks.report import Results, Table, progress
from discord_recorder import DiscordSessionHandler, ServicesManager
from discord_recorder.audio.ffmpeg import Ffmpeg, find_ffmpeg
from discord_recorder.audio.pcm import SAMPLE_RATE

_SEED = 3
_VOICES = 3
_SHIFT_PIECES = 37  # speakers of one voice do not say the same at the same time
_MEDIAN_LIMIT_MS = 500.0
_BACKLOG_AGE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    name: str
    first_seconds: float
    """When the first speaker begins to talk."""
    starts: Sequence[float]
    """After that, when each one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    latencies_ms: list[float]
    backlog: int
    in_work: int
    lags_ms: list[float]
    latest_push_ms: float
    cpu: Cpu
    wall_seconds: float


def run(options: Options, folder: Path) -> list[Table]:
    """Measure both ways to begin."""
    return asyncio.run(_run(options, folder))


async def _run(options: Options, folder: Path) -> list[Table]:
    """Measure speakers who begin one by one, then all at once."""
    speech = await Speech.load(Ffmpeg(find_ffmpeg(options.ffmpeg)))
    rng = np.random.default_rng(_SEED)
    spread_starts = [float(start) for start in rng.uniform(0.0, CHUNK_SECONDS, options.tracks)]
    cases = (
        _Case(name="begin one by one", first_seconds=CHUNK_SECONDS, starts=spread_starts),
        _Case(name="begin at once", first_seconds=0.0, starts=[0.0] * options.tracks),
    )
    results = Results.of(
        f"latency: {options.tracks} tracks in real time, {options.seconds:.0f} s, everyone talking all the time",
        "From a chunk's row (`created_at`) to its MP3 (`completed_at`). `one by one`: each speaker begins at a moment "
        "of their own within 10 s, so chunks fill up one after the other. `at once`: all begin in the same instant, "
        "so all tracks' chunks fill up together, and the last of them waits for all the others. Backlog: chunks "
        f"sealed more than {_BACKLOG_AGE_SECONDS:g} s before the last push and not transcoded at it.",
    )
    for case in cases:
        progress(f"latency: {options.tracks} speakers {case.name}, {options.seconds + case.first_seconds:.0f} s")
        with tempfile.TemporaryDirectory(dir=folder) as data:
            reading = await _measure(case, speech, options, Path(data))
        _report(case, reading, results)
    return [results.table]


async def _measure(case: _Case, speech: Speech, options: Options, data: Path) -> _Reading:
    spoken = [pieces(speech.of(voice, 3 * CHUNK_SECONDS)) for voice in range(_VOICES)]
    async with recorder.running(data, options) as services:
        session = await recorder.start(services, 1)
        before, began = Cpu.now(), time.perf_counter()
        async with loop_lags() as lags:
            talks = [
                asyncio.create_task(_talk(session, 1 + who, spoken[who % _VOICES], began, case, options.seconds))
                for who in range(options.tracks)
            ]
            latest = max(await asyncio.gather(*talks))
        spent, wall = Cpu.now() - before, time.perf_counter() - began
        backlog, in_work = await _pending(services, session)
        await recorder.transcoded(services, session)
        rows = await services.sql_recording_service.get_temp_recordings_for_meeting(session.meeting_id)
        latencies = [
            (row["completed_at"] - row["created_at"]).total_seconds() * 1000 for row in rows if row["completed_at"]
        ]
        await recorder.stop(services, session, expected_ms=session.duration_ms)
    return _Reading(
        latencies_ms=latencies,
        backlog=backlog,
        in_work=in_work,
        lags_ms=[lag * 1000 for lag in lags],
        latest_push_ms=latest * 1000,
        cpu=spent,
        wall_seconds=wall,
    )


async def _talk(
    session: DiscordSessionHandler, user_id: int, spoken: Sequence[bytes], began: float, case: _Case, seconds: float
) -> float:
    """Push a piece whenever it is due; gives how late the latest was."""
    offset = case.first_seconds + case.starts[user_id - 1]
    at_ms: float | None = round(offset * SAMPLE_RATE) * 1000 / SAMPLE_RATE
    latest = 0.0
    for number in range(round((seconds + case.first_seconds - offset) / PIECE_SECONDS)):
        due = began + offset + (number + 1) * PIECE_SECONDS
        late = time.perf_counter() - due
        if late < 0:
            await asyncio.sleep(-late)
            late = time.perf_counter() - due
        latest = max(latest, late)
        await session.push_audio_data(
            spoken[(number + user_id * _SHIFT_PIECES) % len(spoken)], user_id=user_id, at_ms=at_ms
        )
        at_ms = None
    return latest


async def _pending(services: ServicesManager, session: DiscordSessionHandler) -> tuple[int, int]:
    """Chunks that are not transcoded: those that should be by now, and all."""
    rows = await services.sql_recording_service.get_temp_recordings_for_meeting(session.meeting_id)
    newest = max(row["created_at"] for row in rows)
    ages = [(newest - row["created_at"]).total_seconds() for row in rows if row["completed_at"] is None]
    return sum(age > _BACKLOG_AGE_SECONDS for age in ages), len(ages)


def _report(case: _Case, reading: _Reading, results: Results) -> None:
    latencies, lags = reading.latencies_ms, reading.lags_ms
    shown = f"n={len(latencies)}"
    results.at_most(f"{case.name}: median", median(latencies), _MEDIAN_LIMIT_MS, "ms", spread=shown, digits=0)
    results.tell(f"{case.name}: 95th percentile", percentile(latencies, 95), "ms", digits=0)
    results.tell(f"{case.name}: longest", max(latencies, default=0.0), "ms", digits=0)
    results.at_most(f"{case.name}: backlog", reading.backlog, 0, "chunks", digits=0)
    results.tell(f"{case.name}: in work at the last push", reading.in_work, "chunks", digits=0)
    results.tell(f"{case.name}: loop lag, 99th percentile", percentile(lags, 99), "ms", digits=1)
    results.tell(f"{case.name}: loop lag, longest", max(lags, default=0.0), "ms", digits=1)
    results.tell(f"{case.name}: latest push", reading.latest_push_ms, "ms", digits=0)
    results.tell(f"{case.name}: CPU in Python", reading.cpu.own / reading.wall_seconds * 100, "% of a core", digits=0)
    results.tell(
        f"{case.name}: CPU in FFmpeg", reading.cpu.children / reading.wall_seconds * 100, "% of a core", digits=0
    )
