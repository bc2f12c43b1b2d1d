"""A meeting recorded by the product from end to end, and the CPU that it took."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import recorder
from benchmarks.material import CHUNK_SECONDS, PIECE_SAMPLES, chunks, pieces
from benchmarks.measure import Cpu
from benchmarks.options import Options
from discord_recorder import DiscordSessionHandler
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE, is_silence, samples_to_ms, seconds_to_samples

_POLL_SECONDS = 0.05
_POLLS = 2400


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the speakers' tracks get into the product."""

    together: bool
    """All in one meeting, which has a mix then; else each in a meeting of their own, all of them at the same time."""
    live: bool
    """As in a call: the tracks' chunks fill up one after the other and each is transcoded before the next one is full.
    Else as an import: pushed as fast as it goes, so that chunks wait for the workers."""
    placed: bool = False
    """Silence is not pushed, as Discord sends none; what comes after it is placed by its session time."""
    levelled: bool = False
    """All speakers are brought to one loudness in the mix."""


async def record(tracks: Sequence[bytes], way: Way, options: Options, folder: Path) -> Cpu:
    """Record tracks of one length, and give what it took from the start of the sessions to the finished recordings."""
    with tempfile.TemporaryDirectory(dir=folder) as data:
        async with recorder.running(Path(data), options, level_mix=way.levelled) as services:
            before = Cpu.now()
            sessions = [await recorder.start(services, 1 + n) for n in range(1 if way.together else len(tracks))]
            speakers = [(sessions[0 if way.together else who], pcm) for who, pcm in enumerate(tracks)]
            if way.live:
                await _push_live(services.settings.temp_dir, speakers, placed=way.placed)
            else:
                await _push_at_once(speakers, placed=way.placed)
            for session in sessions:
                await recorder.stop(services, session, expected_ms=session.duration_ms)
            return Cpu.now() - before


async def _push_at_once(speakers: Sequence[tuple[DiscordSessionHandler, bytes]], *, placed: bool) -> None:
    for number, step in enumerate(zip(*(chunks(pcm) for _, pcm in speakers), strict=True)):
        for user_id, ((session, _), pcm) in enumerate(zip(speakers, step, strict=True), start=1):
            await _push(session, user_id, pcm, seconds_to_samples(number * CHUNK_SECONDS), placed=placed)


async def _push_live(temp: Path, speakers: Sequence[tuple[DiscordSessionHandler, bytes]], *, placed: bool) -> None:
    """In every step all speakers go on, and one of them fills a chunk.

    They begin one step after the other, and the first only after a chunk's length of session time: a chunk begins
    where a silence as long as that ends, so their chunks do not lie on one grid.
    """
    step_samples = seconds_to_samples(CHUNK_SECONDS / len(speakers))
    step_bytes = step_samples * SAMPLE_BYTES
    steps = -(-max(len(pcm) for _, pcm in speakers) // step_bytes) + len(speakers)
    for step in range(steps):
        for who, (session, pcm) in enumerate(speakers):
            said = pcm[(step - who) * step_bytes : (step - who + 1) * step_bytes] if step >= who else b""
            at_sample = seconds_to_samples(CHUNK_SECONDS) + step * step_samples
            await _push(session, 1 + who, said, at_sample, placed=placed)
        filled = (step + 1) % len(speakers)
        folder = temp / speakers[filled][0].meeting_id / str(1 + filled)
        await _transcoded(folder, open_chunks=1 if placed else 0)


async def _transcoded(track_folder: Path, *, open_chunks: int) -> None:
    """Wait until a track's chunks are transcoded: until their sources are gone. Asking the database would cost CPU."""
    for _ in range(_POLLS):
        if _sources(track_folder) <= open_chunks:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise TimeoutError(f"a chunk was not transcoded within {_POLLS * _POLL_SECONDS:g} s")


def _sources(track_folder: Path) -> int:
    return sum(1 for _ in track_folder.glob("*.pcm"))


async def _push(session: DiscordSessionHandler, user_id: int, pcm: bytes, at_sample: int, *, placed: bool) -> None:
    """Push as Discord gives it, 20 ms at a time, but as fast as it goes; this audio belongs at `at_sample`.

    That is said of the first piece only, and, if silence is left out, of the first one after any silence.
    """
    place_next = True
    for number, piece in enumerate(pieces(pcm)):
        if placed and is_silence(piece):
            place_next = True
            continue
        at_ms = samples_to_ms(at_sample + number * PIECE_SAMPLES) if place_next else None
        await session.push_audio_data(piece, user_id=user_id, at_ms=at_ms)
        place_next = False


def hours_of(tracks: Sequence[bytes]) -> float:
    """How much audio the tracks are, together."""
    return sum(map(len, tracks)) / SAMPLE_BYTES / SAMPLE_RATE / 3600
