"""`transcode`: CPU-seconds per hour of audio, the product's against plain FFmpeg's for the same chunks."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import plain
from benchmarks.material import Speech, chunks
from benchmarks.measure import Cpu, median
from benchmarks.meeting import Way, hours_of, record
from benchmarks.options import Options
from benchmarks.report import Table, number, progress, spread, verdict
from discord_recorder.audio.ffmpeg import Ffmpeg, find_ffmpeg

_SEED = 2

_APART_FAST, _APART_LIVE = "product, no mix, pushed at once", "product, no mix, live"
_MIXED_FAST, _MIXED_LIVE = "product with mix, pushed at once", "product with mix, live"
_APART_PLACED, _MIXED_PLACED = "product, no mix, live, silence not pushed", "product with mix, live, silence not pushed"
_LEVELLED_LIVE, _LEVELLED_PLACED = (
    "product with levelled mix, live",
    "product with levelled mix, live, silence not pushed",
)
_CBR, _CBR_MIX = "plain -b:a 128k, a run a chunk", "plain -b:a 128k, a run a mix window"
_SAME, _SAME_MIX = "plain -q:a 4, a run a chunk", "plain -q:a 4, a run a mix window"

_RATIOS = (
    ("chunks, pushed at once", _APART_FAST, (_CBR,), (_SAME,)),
    ("chunks, live", _APART_LIVE, (_CBR,), (_SAME,)),
    ("chunks and mix, pushed at once", _MIXED_FAST, (_CBR, _CBR_MIX), (_SAME, _SAME_MIX)),
    ("chunks and mix, live", _MIXED_LIVE, (_CBR, _CBR_MIX), (_SAME, _SAME_MIX)),
    ("chunks, live, silence not pushed", _APART_PLACED, (_CBR,), (_SAME,)),
    ("chunks and mix, live, silence not pushed", _MIXED_PLACED, (_CBR, _CBR_MIX), (_SAME, _SAME_MIX)),
)

_RATIO_HEADER = ("figure", "target", "over -b:a 128k", "spread", "verdict", "over -q:a 4", "spread", "verdict")

_NOTE = (
    "CPU-seconds (user and system, this process and FFmpeg) of the product from the first push to the finished "
    "recording, over those of plain FFmpeg runs of the same binary on the same chunk files. `chunks`: each speaker in "
    "a meeting of their own, so there is no mix, over one plain run for each chunk. `chunks and mix`: all in one "
    "meeting, over one plain run for each chunk and one (`amix` of all speakers' PCM) for each window of 10 s. `at "
    "once`: pushed as fast as it goes, chunks wait for workers and share FFmpeg runs. `live`: the tracks' chunks "
    "fill up one after the other, each is transcoded when the next one is full, and none shares a run. `silence not "
    "pushed`: as Discord sends none; the plain runs get the same files as ever, with the silence in them. `levelled`: "
    "with `level_mix`, by default it is off. Each ratio "
    "is of one slice, its two sides measured shortly after each other; the median of the slices is given."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scenario:
    name: str
    limit: float
    pauses: bool = False
    """Whether there is silence that need not be pushed."""
    speech: Callable[[int], list[bytes]]
    """Every speaker's PCM in a slice."""


@dataclass(slots=True)
class _Readings:
    """What each way cost in each slice."""

    hours: list[float] = field(default_factory=list)
    cpu: dict[str, list[Cpu]] = field(default_factory=dict)

    def ratios(self, way: str, over: Sequence[str]) -> list[float]:
        return [cpu.seconds / sum(self.cpu[other][n].seconds for other in over) for n, cpu in enumerate(self.cpu[way])]

    def an_hour(self, way: str, part: Callable[[Cpu], float]) -> list[float]:
        return [part(cpu) / hours for cpu, hours in zip(self.cpu[way], self.hours, strict=True)]


def run(options: Options, folder: Path) -> list[Table]:
    """Measure every scenario."""
    program = find_ffmpeg(options.ffmpeg)
    speech = asyncio.run(Speech.load(Ffmpeg(program)))
    seconds = options.slice_seconds
    rng = np.random.default_rng(_SEED)
    scenarios = (
        _Scenario(
            name="4 speakers, all talking",
            limit=0.8,
            speech=lambda n: [speech.of(who, seconds, n * seconds) for who in range(4)],
        ),
        _Scenario(name="1 speaker, talking", limit=0.8, speech=lambda n: [speech.of(n, 2 * seconds, 2 * n * seconds)]),
        _Scenario(
            name="10 speakers at 10 %", limit=0.3, pauses=True, speech=lambda _: speech.spurts(10, seconds, 0.1, rng)
        ),
    )
    ratio_table = Table("transcode: CPU against plain FFmpeg", _RATIO_HEADER, notes=[_NOTE])
    costs = Table("transcode: CPU-seconds per audio hour", ("way", "all", "in FFmpeg", "in Python", "spread of all"))
    for scenario in scenarios:
        readings = _measure(scenario, options, program, folder)
        _report(scenario, readings, ratio_table, costs)
    return [ratio_table, costs]


def _measure(scenario: _Scenario, options: Options, program: str, folder: Path) -> _Readings:
    readings = _Readings()
    for number_of_slice in range(options.slices):
        progress(f"transcode: {scenario.name}, slice {number_of_slice + 1} of {options.slices}")
        tracks = scenario.speech(number_of_slice)
        readings.hours.append(hours_of(tracks))
        with tempfile.TemporaryDirectory(dir=folder) as slice_folder:
            ways = _ways(scenario, tracks, options, program, Path(slice_folder))
            if number_of_slice % 2:
                ways.reverse()
            for name, way in ways:
                readings.cpu.setdefault(name, []).append(way())
    return readings


def _ways(
    scenario: _Scenario, tracks: Sequence[bytes], options: Options, program: str, folder: Path
) -> list[tuple[str, Callable[[], Cpu]]]:
    """The ways to make MP3s of the tracks, each product's beside the plain ones."""

    def product(way: Way) -> Callable[[], Cpu]:
        return lambda: asyncio.run(record(tracks, way, options, folder))

    def plainly(act: Callable[[], None]) -> Callable[[], Cpu]:
        return lambda: _cpu_of(act)

    files = _write_chunks(tracks, folder)
    every = [file for track in files for file in track]
    windows = list(zip(*files, strict=True))
    apart = [
        (_APART_FAST, product(Way(together=False, live=False))),
        (_CBR, plainly(lambda: plain.encode(program, every, plain.CBR))),
        (_APART_LIVE, product(Way(together=False, live=True))),
        (_SAME, plainly(lambda: plain.encode(program, every, plain.SAME_QUALITY))),
    ]
    if len(tracks) == 1:
        return apart
    mixed = [
        (_MIXED_FAST, product(Way(together=True, live=False))),
        (_CBR_MIX, plainly(lambda: plain.mix(program, windows, plain.CBR, folder))),
        (_MIXED_LIVE, product(Way(together=True, live=True))),
        (_LEVELLED_LIVE, product(Way(together=True, live=True, levelled=True))),
        (_SAME_MIX, plainly(lambda: plain.mix(program, windows, plain.SAME_QUALITY, folder))),
    ]
    if not scenario.pauses:
        return [*apart, *mixed]
    placed = [
        (_APART_PLACED, product(Way(together=False, live=True, placed=True))),
        (_MIXED_PLACED, product(Way(together=True, live=True, placed=True))),
        (_LEVELLED_PLACED, product(Way(together=True, live=True, placed=True, levelled=True))),
    ]
    return [*placed[:1], *apart, *mixed, *placed[1:]]


def _write_chunks(tracks: Sequence[bytes], folder: Path) -> list[list[Path]]:
    files: list[list[Path]] = []
    for number_of_track, track in enumerate(tracks):
        files.append([])
        for number_of_chunk, pcm in enumerate(chunks(track)):
            path = folder / f"{number_of_track}-{number_of_chunk:04d}.pcm"
            path.write_bytes(pcm)
            files[-1].append(path)
    return files


def _cpu_of(act: Callable[[], None]) -> Cpu:
    before = Cpu.now()
    act()
    return Cpu.now() - before


def _report(scenario: _Scenario, readings: _Readings, ratio_table: Table, costs: Table) -> None:
    for what, way, over_cbr, over_same in _RATIOS:
        if way not in readings.cpu:
            continue
        cells = []
        for over in (over_cbr, over_same):
            ratios = readings.ratios(way, over)
            cells += [number(median(ratios)), spread(ratios), verdict(median(ratios), scenario.limit)]
        ratio_table.add(f"{scenario.name}: {what}", f"<= {scenario.limit:g}", *cells)
    for way in readings.cpu:
        parts = [readings.an_hour(way, part) for part in (_all, _children, _own)]
        cells = [number(median(part), digits=1) for part in parts]
        costs.add(f"{scenario.name}: {way}", *cells, spread(parts[0], 1))


def _children(cpu: Cpu) -> float:
    return cpu.children


def _own(cpu: Cpu) -> float:
    return cpu.own


def _all(cpu: Cpu) -> float:
    return cpu.seconds
