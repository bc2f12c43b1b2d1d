"""`clock`: hours of a call in virtual time: how far speakers whose clocks drift come apart, and whether memory grows.

The live capture is the product's, with its tracks; only what a chunk file would store is looked at instead of written.
Each packet holds the moment at which it was spoken, so that where it is put can be compared with that.
"""

import asyncio
import heapq
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from unittest import mock

from benchmarks.measure import rss_mib
from benchmarks.options import Options
from benchmarks.recorder import start
from benchmarks.report import Results, Table, progress
from discord_recorder import ServicesManager, Settings
from discord_recorder.audio.opus import SILENCE
from discord_recorder.recording.tracks import opus_track
from discord_recorder.recording.tracks.chunk_file import ChunkPlace, ClosedChunk
from discord_recorder.recording.tracks.opus_track import OpusTrack
from discord_recorder.voice.frames import OpusFrame

_RATE: Final = 48_000
_FRAME: Final = 960
_FRAME_SECONDS: Final = _FRAME / _RATE
_SPEAKERS: Final = 25
_ACTIVITY: Final = 0.05
_SPURT_SECONDS: Final = (1.0, 8.0)
_DRIFT_PPM: Final = 100.0
_DELAY_SECONDS: Final = 0.004
"""Mean of the network's delay above the least, distributed exponentially."""
_BATCH_SECONDS: Final = 0.1
_TURN_BATCHES: Final = 100
_WINDOW_SECONDS: Final = 60
_WARM_UP: Final = 0.1
"""Share of the time after which memory is read for the first time."""

_SKEW_LIMIT_MS: Final = 20.0  # issue 4
_SECONDS_LIMIT: Final = 60.0  # issue 4
_GROWTH_LIMIT_MIB: Final = 2.0

_TOC: Final = b"\xfc"
_STAMP_BYTES: Final = 6
_PADDING: Final = (bytes(20), bytes(90), bytes(120))
"""Quiet frames are shorter."""


def run(options: Options, folder: Path) -> list[Table]:
    """Let the hours pass."""
    hours = options.clock_hours
    progress(f"clock: {hours:g} hours, {_SPEAKERS} speakers and one who never pauses")
    skews = _Skews()
    began = time.perf_counter()
    first_mib, last_mib, frames = asyncio.run(_pass(options, folder, hours * 3600, skews))
    seconds = time.perf_counter() - began
    results = Results.of(
        f"clock: {hours:g} virtual hours, {_SPEAKERS} speakers at {_ACTIVITY:.0%} activity and one who never pauses",
        f"Half of them have clocks {_DRIFT_PPM:g} ppm fast or slow, and half have timestamps that stop with the sound. "
        f"Packets are delayed by {_DELAY_SECONDS * 1000:g} ms in the mean, and overtake each other. Skew is where a "
        "frame is put against when it was spoken; apart is the greatest difference of skews within a minute.",
    )
    for group, skew in sorted(skews.groups.items()):
        if skew.frames:
            spread = f"mean {skew.mean_ms:.2f} ms (n={skew.frames:,})"
            results.at_most(f"skew, {group}", skew.worst_ms, _SKEW_LIMIT_MS, "ms", spread=spread)
    apart = [high - low for low, high in skews.minutes.values()]
    results.at_most(
        "any two speakers apart", max(apart), _SKEW_LIMIT_MS, "ms", spread=f"mean {sum(apart) / len(apart):.2f} ms"
    )
    results.tell("frames that were not placed", frames - skews.placed, "", spread=f"of {frames:,}", digits=0)
    results.at_most(
        "memory, growth",
        last_mib - first_mib,
        _GROWTH_LIMIT_MIB,
        "MiB",
        spread=f"{first_mib:.1f} - {last_mib:.1f} MiB",
        digits=1,
    )
    results.at_most("time", seconds, _SECONDS_LIMIT, "s", spread=f"{seconds / frames * 1e6:.1f} us a frame", digits=0)
    return [results.table]


async def _pass(options: Options, folder: Path, seconds: float, skews: "_Skews") -> tuple[float, float, int]:
    """Resident memory after the warm-up and at the end, and the frames that were spoken."""
    clock = _VirtualClock()
    with (
        mock.patch.object(opus_track, "OpusFile", skews.file),
        mock.patch.object(OpusTrack, "take_closed", _forget),
    ):
        settings = Settings(data_dir=folder / "clock", ffmpeg_path=options.ffmpeg)
        async with ServicesManager(settings, clock=clock) as services:
            live = (await start(services, 1)).go_live()
            people = [_Person(number, seconds) for number in range(_SPEAKERS + 1)]
            for person in people:
                skews.names[person.user_id] = person.group
            first_mib, frames = 0.0, 0
            for number, batch in enumerate(_batches(people)):
                if not number % _TURN_BATCHES:
                    await asyncio.sleep(0)  # timers that were cancelled go
                clock.elapsed = batch[-1].arrived
                live.on_frames(batch)
                live.flush()
                frames += sum(frame.opus != SILENCE for frame in batch)
                if not first_mib and clock.elapsed > _WARM_UP * seconds:
                    first_mib = rss_mib()
            live.cut()
            return first_mib, rss_mib(), frames


def _forget(track: OpusTrack) -> Sequence[ClosedChunk]:
    """Stands for `take_closed`, so that nothing is sealed."""
    _take_closed(track)
    return []


_take_closed: Final = OpusTrack.take_closed


class _Person:
    """A speaker: who, with which clock and habit; number 0 never pauses."""

    def __init__(self, number: int, seconds: float) -> None:
        self.user_id = 1000 + number
        self._lot = random.Random(number)
        self._seconds = seconds
        self._never_pauses = number == 0
        self._runs_on = number % 2 == 0
        self._ppm = (_DRIFT_PPM, 0.0, -_DRIFT_PPM, 0.0)[number // 2 % 4]
        habit = "never pauses" if self._never_pauses else "timestamps run on" if self._runs_on else "timestamps stop"
        self.group = f"{habit}, {self._ppm:+.0f} ppm"

    def frames(self) -> Iterator[OpusFrame]:
        """All that this person sends, in order of sending; arrival is session time."""
        lot, pace = self._lot, 1 / (1 + self._ppm * 1e-6)
        sequence, timestamp = lot.randrange(1 << 16), lot.randrange(1 << 32)
        now = 0.5 + lot.random()
        while now < self._seconds:
            ticks = math.ceil(now / pace / _FRAME_SECONDS)
            spoken = self._seconds - now if self._never_pauses else lot.uniform(*_SPURT_SECONDS)
            count = round(spoken / _FRAME_SECONDS)
            for number in range(count + 5):
                sent = (ticks + number) * _FRAME_SECONDS * pace
                opus = SILENCE
                if number < count:
                    opus = _TOC + round(sent * _RATE).to_bytes(_STAMP_BYTES) + lot.choice(_PADDING)
                stamp = timestamp + ((ticks + number) if self._runs_on else number) * _FRAME & 0xFFFF_FFFF
                delay = lot.expovariate(1 / _DELAY_SECONDS)
                yield OpusFrame(self.user_id, self.user_id, sequence & 0xFFFF, stamp, opus, sent + delay)
                sequence += 1
            if not self._runs_on:
                timestamp += (count + 5) * _FRAME
            now += spoken + lot.expovariate(1 / (spoken / _ACTIVITY - spoken)) + 0.3


class _Skew:
    """How far a group's frames are from where they belong."""

    def __init__(self) -> None:
        self.frames = 0
        self.total_ms = 0.0
        self.worst_ms = 0.0

    @property
    def mean_ms(self) -> float:
        """Of the distances, without their signs."""
        return self.total_ms / max(1, self.frames)


class _Skews:
    """What is put where."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        """The group of each speaker."""
        self.groups: dict[str, _Skew] = {}
        self.minutes: dict[int, tuple[float, float]] = {}
        """Least and greatest skew of anybody in that minute."""
        self.placed = 0

    def file(self, folder: Path, place: ChunkPlace, preroll: Iterable[tuple[bytes, int]]) -> "_LookedAt":
        """Stands for `OpusFile`."""
        return _LookedAt(self, self.names[int(folder.name)], folder, place)

    def add(self, group: str, packets: Iterable[tuple[bytes, int]]) -> None:
        """The packets of a chunk, as they would have been stored."""
        skew = self.groups.setdefault(group, _Skew())
        for opus, at_sample in packets:
            if len(opus) <= _STAMP_BYTES:
                continue  # silence, or what stands for a loss
            spoken = int.from_bytes(opus[1 : 1 + _STAMP_BYTES])
            off_ms = (at_sample - spoken) / _RATE * 1000
            skew.frames += 1
            skew.total_ms += abs(off_ms)
            skew.worst_ms = max(skew.worst_ms, abs(off_ms))
            minute = spoken // (_RATE * _WINDOW_SECONDS)
            low, high = self.minutes.get(minute, (off_ms, off_ms))
            if not low <= off_ms <= high or low == high:
                self.minutes[minute] = min(low, off_ms), max(high, off_ms)
            self.placed += 1


class _LookedAt:
    """A chunk file that is not written."""

    def __init__(self, skews: _Skews, group: str, folder: Path, place: ChunkPlace) -> None:
        self.place = place
        self.path = folder / place.file_name
        self.accepted_bytes = 0
        self.error: OSError | None = None
        self._skews = skews
        self._group = group
        self._packets: list[tuple[bytes, int]] = []
        self._mark: int | None = None

    def write(self, opus: bytes, at_sample: int) -> None:
        """Take a packet."""
        self._packets.append((opus, at_sample))

    def flush(self) -> None:
        """Nothing waits."""

    def mark(self) -> None:
        """Remember this place."""
        self._mark = len(self._packets)

    def rewrite(self, packets: Iterable[tuple[bytes, int]]) -> bool:
        """Put these in the place of all since the mark."""
        if self._mark is None:
            return False
        self._packets[self._mark :] = packets
        return True

    def unsynced_descriptor(self) -> int | None:
        """Nothing to sync."""
        return None

    def close(self, sample_count: int) -> ClosedChunk:
        """What is in it is where it is going to stay."""
        self._skews.add(self._group, self._packets)
        return ClosedChunk(path=self.path, place=self.place, sample_count=sample_count, accepted_bytes=0, descriptor=-1)


class _VirtualClock:
    """Stands still until it is moved; who sleeps, sleeps in real time."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> datetime:
        """Wall time."""
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        """Session time, too, as it begins at 0."""
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        """Let the event loop go on."""
        await asyncio.sleep(seconds)


def _batches(people: Iterable[_Person]) -> Iterator[list[OpusFrame]]:
    """Everybody's frames in order of arrival, as a voice client hands them on."""
    batch: list[OpusFrame] = []
    for frame in heapq.merge(*(_by_arrival(person.frames()) for person in people), key=lambda frame: frame.arrived):
        if batch and frame.arrived - batch[0].arrived >= _BATCH_SECONDS:
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def _by_arrival(frames: Iterable[OpusFrame]) -> Iterator[OpusFrame]:
    """One sender's frames; those that are overtaken come later."""
    waiting: list[tuple[float, int, OpusFrame]] = []
    for number, frame in enumerate(frames):
        sent_after = frame.arrived - 50 * _DELAY_SECONDS  # nothing that is sent from now on arrives before that
        while waiting and waiting[0][0] < sent_after:
            yield heapq.heappop(waiting)[2]
        heapq.heappush(waiting, (frame.arrived, number, frame))
    while waiting:
        yield heapq.heappop(waiting)[2]
