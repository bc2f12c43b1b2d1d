"""`stop`: from the last transcode to the finished recording, after a short meeting and after a long one.

Both once with pushed audio, and once with the Opus of a live call, of which a master is kept for each track.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol

from benchmarks import recorder
from benchmarks.material import CHUNK_SECONDS, Speech
from benchmarks.measure import MIB, median
from benchmarks.options import Options
from benchmarks.replay import Replay
from benchmarks.report import Results, Table, number, progress, spread
from benchmarks.trace import Trace
from discord_recorder import DiscordSessionHandler, ServicesManager
from discord_recorder.audio.ffmpeg import Ffmpeg, find_ffmpeg
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.audio.splice import SplicedTrack
from discord_recorder.recording.finishing import assembly
from discord_recorder.recording.finishing.assembly import MeetingAssembly
from discord_recorder.recording.finishing.masters import MasterTrack
from discord_recorder.recording.finishing.promotion import Promoter
from discord_recorder.recording.transcoding.queue import SqlTranscodeQueue
from discord_recorder.simulator.voice.opus_source import FRAME_SAMPLES, FRAME_SECONDS, from_file
from discord_recorder.storage.database import Database
from discord_recorder.storage.files import LocalRecordingStore
from discord_recorder.voice.frames import OpusFrame

_SPEAKERS = 4
_LIMIT_SECONDS = 2.0

_LOOP_SECONDS = 30.0
"""What a speaker says over and over: three chunks, and a whole number of MP3 frames."""

_LAST_SECONDS = 7.0
"""What stands in the open chunks when the stop comes."""

_CHUNKS_AT_ONCE = 20
"""Chunks of a track that are pushed before their transcodes are waited for."""

_STOP, _END, _DONE, _FINISH, _MIX, _TRACK, _MASTER, _PUT, _WRITE, _FINALIZE = (
    "stop", "end", "done", "finish", "mix", "track", "master", "put", "write", "finalize",
)  # fmt: skip

_PARTS = (
    "seal the open chunks",
    "last transcodes",
    "until promotion begins",
    "mix",
    "end the Opus masters",
    "read the rows, splice",
    "finish and hash the files",
    "rename",
    "transaction",
    "promoted after the last transcode",
    "delete temp files, close the session",
    "stop_session in all",
)
_PROMOTED = _PARTS.index("promoted after the last transcode")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stop:
    """One measured stop: its parts in seconds, as `_PARTS` names them, and the recording's size."""

    parts: list[float]
    chunks: int
    bytes_of_tracks: list[int]


class _Talk(Protocol):
    """What the speakers say, endlessly, and how it comes to a session."""

    async def say(self, session: DiscordSessionHandler, first: float, last: float) -> None:
        """Hand over what is said from the one time to the other, in seconds."""


class _Pushed:
    """PCM, a second at a time, the speakers in turn."""

    def __init__(self, speech: Speech) -> None:
        self._spoken = [speech.of(who, _LOOP_SECONDS) for who in range(_SPEAKERS)]

    async def say(self, session: DiscordSessionHandler, first: float, last: float) -> None:
        second = SAMPLE_RATE * SAMPLE_BYTES
        for now in range(round(first), round(last)):
            start = now % round(_LOOP_SECONDS) * second
            for who, pcm in enumerate(self._spoken, start=1):
                await session.push_audio_data(pcm[start : start + second], user_id=who)


class _Heard:
    """Opus frames, as a voice client hands them on."""

    def __init__(self) -> None:
        frames = round(_LOOP_SECONDS / FRAME_SECONDS)
        self._voices = []
        for asset in sorted((files("discord_recorder") / "assets" / "speech").iterdir(), key=lambda file: file.name):
            with as_file(asset) as path:
                self._voices.append(list(islice(cycle(from_file(path)), frames)))

    async def say(self, session: DiscordSessionHandler, first: float, last: float) -> None:
        live = session.go_live()
        for frame in range(round(first / FRAME_SECONDS), round(last / FRAME_SECONDS)):
            arrived, timestamp = live.started + frame * FRAME_SECONDS, frame * FRAME_SAMPLES % 2**32
            frames = []
            for who in range(1, _SPEAKERS + 1):
                voice = self._voices[who % len(self._voices)]
                opus = voice[(frame + 7 * who) % len(voice)]
                frames.append(OpusFrame(who, who, frame % 2**16, timestamp, opus, arrived))
                live.ledger.received += 1
                live.ledger.tally(who).stored += 1
            live.on_frames(frames)
            if not frame % 50:
                live.flush()
                await asyncio.sleep(0)


def run(options: Options, folder: Path) -> list[Table]:
    """Stop the short meeting several times, the long one once."""
    return asyncio.run(_run(options, folder))


async def _run(options: Options, folder: Path) -> list[Table]:
    speech = await Speech.load(Ffmpeg(find_ffmpeg(options.ffmpeg)))
    results = Results.of(
        f"stop: {_SPEAKERS} tracks and the mix",
        f"All {_SPEAKERS} talk all the time. All chunks but the last are transcoded, spliced and mixed when the stop "
        f"comes; {_LAST_SECONDS:g} s of each track are not even sealed. Measured is the time from the moment when the "
        "last chunk's row is DONE to the commit of the recording, everything included: mix of the last windows, "
        "splicing, hashing of the whole files, renaming.",
    )
    lengths = {
        f"{options.short_minutes:g} min": options.short_minutes * 60,
        f"{options.hours:g} h": options.hours * 3600,
    }
    talks: dict[str, _Talk] = {"": _Pushed(speech), ", live": _Heard()}
    measured: dict[str, list[_Stop]] = {}
    for kind, talk in talks.items():
        replay = Replay()
        for (length, seconds), stops_of_it in zip(lengths.items(), (options.stops, 1), strict=True):
            measured[length + kind] = [
                await _measure(talk, options, folder, replay, seconds, f"{length}{kind}, {stop + 1} of {stops_of_it}")
                for stop in range(stops_of_it)
            ]
    parts = Table("stop: where the time goes, in seconds", ("part", *measured))
    for name, stops in measured.items():
        promoted = [one.parts[_PROMOTED] for one in stops]
        results.at_most(
            f"{name}: last transcode to promoted", median(promoted), _LIMIT_SECONDS, "s", spread=spread(promoted)
        )
        whole = [one.parts[-1] for one in stops]
        results.tell(f"{name}: stop_session in all", median(whole), "s", spread=spread(whole))
        sizes = [size / MIB for size in stops[0].bytes_of_tracks]
        results.tell(f"{name}: chunks", stops[0].chunks, "", digits=0)
        results.tell(f"{name}: files of the recording", sum(sizes), "MiB", spread=spread(sizes, 1), digits=0)
    for n, part in enumerate(_PARTS):
        parts.add(part, *(number(median([one.parts[n] for one in stops]), digits=3) for stops in measured.values()))
    return [results.table, parts]


async def _measure(talk: _Talk, options: Options, folder: Path, replay: Replay, seconds: float, which: str) -> _Stop:
    whole_chunks = max(1, round(seconds / CHUNK_SECONDS) - 1)
    whole_seconds = whole_chunks * CHUNK_SECONDS
    with tempfile.TemporaryDirectory(dir=folder) as data:
        async with recorder.running(Path(data), options) as services:
            session = await recorder.start(services, 1)
            with replay.active() if options.replay else nullcontext():
                for chunk in range(0, whole_chunks, _CHUNKS_AT_ONCE):
                    progress(f"stop: {which}: {chunk} of {whole_chunks} chunks")
                    until = min((chunk + _CHUNKS_AT_ONCE) * CHUNK_SECONDS, whole_seconds)
                    await talk.say(session, chunk * CHUNK_SECONDS, until)
                    await session.flush()
                    await recorder.transcoded(services, session)
                await session.assembly.advance()
            await talk.say(session, whole_seconds, whole_seconds + _LAST_SECONDS)
            return await _stop(services, session, whole_chunks)


async def _stop(services: ServicesManager, session: DiscordSessionHandler, whole_chunks: int) -> _Stop:
    trace = Trace()
    expected_ms = round((whole_chunks * CHUNK_SECONDS + _LAST_SECONDS) * 1000)
    with _watching(trace):
        begin = time.perf_counter()
        await services.discord_recorder_service.stop_session(session.channel_id)
        end = time.perf_counter()
    (recording,) = await services.sql_recording_service.get_recordings_for_meeting(session.meeting_id)
    if (recording["status"], recording["duration_ms"]) != ("complete", expected_ms):
        raise RuntimeError(f"{recording['status']} with {recording['duration_ms']} ms, not {expected_ms}")
    return _Stop(
        parts=_parts(trace, begin, end),
        chunks=(whole_chunks + 1) * _SPEAKERS,
        bytes_of_tracks=[track["size_bytes"] for track in recording["tracks"]],
    )


@contextmanager
def _watching(trace: Trace) -> Iterator[None]:
    with trace.watching(
        **{
            _END: (DiscordSessionHandler, "end"),
            _DONE: (SqlTranscodeQueue, "done"),
            _FINALIZE: (Promoter, "finalize"),
            _FINISH: (MeetingAssembly, "finish"),
            _MIX: (assembly, "mix_frames"),
            _TRACK: (SplicedTrack, "finish"),
            _MASTER: (MasterTrack, "finish"),
            _PUT: (LocalRecordingStore, "put"),
            _WRITE: (Database, "write"),
        }
    ):
        yield


def _parts(trace: Trace, begin: float, end: float) -> list[float]:
    """The time of each of `_PARTS`."""
    sealed = trace.of(_END)[0].end
    done = trace.of(_DONE)[-1].end
    (promotion,) = trace.of(_FINALIZE)
    (finish,) = trace.of(_FINISH)
    mixing = sum(
        max(0.0, min(call.end, finish.end) - max(call.begin, finish.begin)) for call in trace.of(_MIX)
    )  # one may have begun before
    tracks = trace.of(_TRACK, since=finish.begin)
    mastered = trace.of(_MASTER, since=finish.begin)
    mastering = max(call.end for call in mastered) - min(call.begin for call in mastered)
    hashing = max(call.end for call in tracks) - min(call.begin for call in tracks)
    renamed = max(call.end for call in trace.of(_PUT))
    transaction = next(call for call in trace.of(_WRITE, since=renamed) if call.task is promotion.task)
    return [
        sealed - begin,
        done - sealed,
        finish.begin - done,
        mixing,
        mastering,
        finish.seconds - mixing - mastering - hashing,
        hashing,
        renamed - finish.end,
        transaction.end - renamed,
        transaction.end - done,
        end - transaction.end,
        end - begin,
    ]
