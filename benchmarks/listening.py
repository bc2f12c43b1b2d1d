"""`listening`: calls with faults, and what is heard of them in the files of their recordings.

Everybody speaks a tone code (`tests/support/tone_code.py`), in which speaker and time can be heard; what is measured is
in the final files only (`ear.py`, `verdict.py`). The calls are the scenes of `tests/listening`.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import discord.gateway
import discord.http

from benchmarks.options import Options
from benchmarks.report import Table, progress, verdict
from discord_recorder import ServicesManager
from discord_recorder.bot.endpoint import use_discord_api
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.faults import LinkFaults
from tests.faults.children import recorder
from tests.faults.endings import the_recording
from tests.faults.voices import samples
from tests.listening import scenes
from tests.listening.scenes import Scene
from tests.listening.talk import MAX_MISALIGNMENT_MS, recorded_talk
from tests.support.ear import Ear
from tests.support.recorder import MEETING, quick_settings, sound_of
from tests.support.tone_code import FRAME, RATE
from tests.support.verdict import Said, Verdict, judge, misalignment_ms

_FRAME_MS = 1000 * FRAME // RATE
_HEADER = (
    "what happens",
    "said",
    "lost by the wire",
    "not heard besides",
    "swapped",
    "twice, misordered",
    "seams, clicks",
    "apart at most",
    "mean offset",
    "verdict",
)


def _network(faults: LinkFaults) -> Scene:
    return partial(scenes.bad_network, faults=faults)


_SCENES: dict[str, Scene] = {
    "nothing; three talk, both habits, one clock 100 ppm fast": scenes.plain,
    "5 % of the packets lost": _network(LinkFaults(audio_only=True, loss=0.05)),
    "20 % lost": _network(LinkFaults(audio_only=True, loss=0.2)),
    "jitter of 15 ms, 5 % overtaken by 50 ms": _network(
        LinkFaults(audio_only=True, jitter_ms=15, reorder=0.05, reorder_ms=50)
    ),
    "30 % twice": _network(LinkFaults(audio_only=True, duplicate=0.3)),
    "all of these, 5 % lost": scenes.bad_network,
    "joins and leaves: four members, nine keys": scenes.comings_and_goings,
    "a speaker rejoins 50 times": scenes.rejoining,
    "websocket closed with 4015, then cut": scenes.resumed,
    "voice session ended (4006)": scenes.session_lost,
    "voice server changes": scenes.moved,
    "pause of a second": scenes.paused,
}


def run(options: Options, folder: Path) -> list[Table]:
    """Record one call after the other, and listen."""
    table = Table(
        "listening: calls with faults, heard in the final files",
        _HEADER,
        notes=[
            "Times in ms, of all speakers together, from their tracks; the mix and the Opus masters are judged in the "
            "tests. Lost by the wire is what the simulator dropped, or what was sent between the end of a voice "
            "session and the recorder's return. Not heard besides: sent, and neither lost nor heard. Apart: how far "
            "any two frames of any two speakers are from where they belong to each other; offset: how much later than "
            "they were sent they stand.",
        ],
    )
    for name, scene in _SCENES.items():
        progress(f"listening: {name}")
        with tempfile.TemporaryDirectory(dir=folder) as data, _discord_py_as_it_was():
            asyncio.run(_call(name, scene, Path(data), table))
    progress("listening: kill -9")
    with tempfile.TemporaryDirectory(dir=folder) as data:
        asyncio.run(_kill(Path(data), table))
    return [table]


async def _call(name: str, scene: Scene, folder: Path, table: Table) -> None:
    async with Simulator() as simulator:
        use_discord_api(simulator.api_url)
        async with recorded_talk(simulator, folder) as talk:
            toll = await scene(talk)
            judged = talk.judged(await talk.finish())
            lost, besides, said = 0, 0, 0
            for talker in talk.talkers:
                by_wire, missing = toll.lost.get(talker, set()), set(judged.tracks[talker.user.name].missing)
                excused = by_wire | (missing & toll.may_miss(talker))
                lost += len(excused)
                besides += len(missing - excused) + len(by_wire - missing)
                said += len(talk.truth(talker))
    _report(table, name, said, lost, besides, list(judged.tracks.values()), judged.misalignment_ms)


async def _kill(folder: Path, table: Table) -> None:
    """A recorder process that hears three speakers dies; another one makes the recording."""
    users, seconds = (1, 2, 3), 2.6
    steps = {"do": "open"}, {"do": "start", "meeting": MEETING}
    async with recorder(folder, *steps, {"do": "hear_codes", "seconds": 4, "users": list(users)}) as child:
        await child.has_pushed(samples(seconds))
        await child.killed()
    (began,) = (event["codes_from_seconds"] * RATE for event in child.events if "codes_from_seconds" in event)
    async with ServicesManager(quick_settings(folder)) as services:
        recording = await the_recording(services)
    ear, heard = Ear(users), []
    for user, told in child.pushed.items():
        said = [Said(frame, began + frame * FRAME) for frame in range(told // FRAME)]
        heard.append(judge(ear.listen(sound_of(recording, user)), user, said))
    frames = sum(child.pushed.values()) // FRAME
    missing = sum(len(verdict.missing) for verdict in heard)
    _report(table, "kill -9: what it costs of three speakers", frames, missing, 0, heard, misalignment_ms(heard))


def _report(table: Table, name: str, said: int, lost: int, besides: int, heard: list[Verdict], apart: float) -> None:
    offsets = [float(offset) for one in heard for offset in one.offsets_ms]
    seams, clicks = sum(len(one.seams) for one in heard), sum(len(one.clicks) for one in heard)
    swapped, twice = sum(one.foreign_ms for one in heard), sum(one.repeated_ms for one in heard)
    misordered = sum(one.out_of_order for one in heard)
    wrong = besides + swapped + twice + misordered + seams + clicks
    table.add(
        name,
        f"{said * _FRAME_MS:,}",
        f"{lost * _FRAME_MS:,}",
        f"{besides * _FRAME_MS}",
        f"{swapped:.0f}",
        f"{twice:.0f}, {misordered}",
        f"{seams}, {clicks}",
        f"{apart:.1f}",
        f"{sum(offsets) / max(1, len(offsets)):.1f}",
        verdict(max(apart, wrong and float("inf")), MAX_MISALIGNMENT_MS),
    )


@contextmanager
def _discord_py_as_it_was() -> Iterator[None]:
    """Afterwards discord.py knows the real Discord again."""
    route, socket = discord.http.Route, discord.gateway.DiscordWebSocket
    with (
        mock.patch.object(route, "BASE", route.BASE),
        mock.patch.object(socket, "DEFAULT_GATEWAY", socket.DEFAULT_GATEWAY),
    ):
        yield
