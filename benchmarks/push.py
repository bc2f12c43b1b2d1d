"""`push`: what the caller of `push_audio_data` pays for 20 ms of audio, and whether memory stays flat."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import recorder
from benchmarks.material import CHUNK_SECONDS, PIECE_BYTES, PIECE_SECONDS, Speech, pieces
from benchmarks.measure import median, percentile, rss_mib
from benchmarks.options import Options
from benchmarks.report import Results, Table, progress, spread
from discord_recorder.audio.ffmpeg import Ffmpeg, find_ffmpeg

_CHUNK_PIECES = round(CHUNK_SECONDS / PIECE_SECONDS)
_TALK_PIECES = _CHUNK_PIECES // 10
_FEWEST_CHUNKS = 4

_PUSH_LIMIT_US = 30.0  # DESIGN 6, "capture cost", though that is of live packets
_GROWTH_LIMIT_MIB = 5.0
_PEAK_LIMIT_MIB = 250.0  # DESIGN 6, "memory"


def run(options: Options, folder: Path) -> list[Table]:
    """Measure as fast as it goes."""
    return asyncio.run(_run(options, folder))


async def _run(options: Options, folder: Path) -> list[Table]:
    """Push rounds of one piece a track, as fast as they go; every 10 s of audio wait for the transcodes."""
    spoken = pieces((await Speech.load(Ffmpeg(find_ffmpeg(options.ffmpeg)))).of(0, CHUNK_SECONDS))
    length = max(_FEWEST_CHUNKS, round(2 * options.seconds / CHUNK_SECONDS))
    cpu_us: list[float] = []
    wall_us: list[float] = []
    memory = [rss_mib()]
    async with recorder.running(folder, options) as services:
        session = await recorder.start(services, 1)
        for chunk in range(length):
            progress(f"push: {chunk + 1} of {length} chunks of {options.tracks} tracks")
            for number in range(_CHUNK_PIECES):
                round_of_pieces = [_piece(spoken, who, number) for who in range(options.tracks)]
                wall, cpu = time.perf_counter(), time.thread_time()
                for user_id, piece in enumerate(round_of_pieces, start=1):
                    await session.push_audio_data(piece, user_id=user_id)
                if number not in (0, _CHUNK_PIECES - 1):  # these begin files and seal them
                    cpu_us.append((time.thread_time() - cpu) / options.tracks * 1e6)
                    wall_us.append((time.perf_counter() - wall) / options.tracks * 1e6)
            await recorder.transcoded(services, session)
            await session.assembly.advance()
            memory.append(rss_mib())
        await recorder.stop(services, session, expected_ms=round(length * CHUNK_SECONDS * 1000))
    quarter = length // 4
    earlier, last = memory[-2 * quarter : -quarter], memory[-quarter:]
    results = Results.of(
        f"push: {options.tracks} tracks, {length * CHUNK_SECONDS:.0f} s of audio each",
        "The loop's CPU time of one `push_audio_data` of 20 ms, from rounds of one push a track; rounds that begin or "
        "end a chunk are left out, and the spread is the 5th and the 95th percentile. Memory (RSS, without FFmpeg) is "
        "read after every 10 s of audio, when all of it is transcoded; growth is between the third and the last "
        "quarter of these readings, after the C library has laid out its heaps for all threads. The speakers talk "
        "10 % of the time, in turns.",
    )
    low, high = percentile(cpu_us, 5), percentile(cpu_us, 95)
    results.at_most(
        "CPU of a push, median", median(cpu_us), _PUSH_LIMIT_US, "us", spread=f"{low:.1f} - {high:.1f}", digits=1
    )
    results.tell("time of a push, 99th percentile", percentile(wall_us, 99), "us", digits=1)
    results.at_most("memory, growth", median(last) - median(earlier), _GROWTH_LIMIT_MIB, "MiB", digits=1)
    results.at_most("memory, most", max(memory), _PEAK_LIMIT_MIB, "MiB", spread=spread(memory[1:], 1), digits=1)
    results.tell("memory, before the first push", memory[0], "MiB", digits=1)
    return [results.table]


def _piece(spoken: Sequence[bytes], who: int, number: int) -> bytes:
    """What a speaker pushes at a time: a second of talk in ten, the speakers one after the other, else silence."""
    talking = (number + who * _TALK_PIECES) % _CHUNK_PIECES < _TALK_PIECES
    return spoken[number % len(spoken)] if talking else bytes(PIECE_BYTES)
