"""Two people talk, and all of it is in the recording, each on a track of their own."""

import asyncio
from itertools import pairwise
from pathlib import Path

import numpy as np

from discord_recorder.audio.opus_reader import read_ogg_opus
from tests.audio.signals import Samples, offset_of, played
from tests.e2e.call import ADA_HERTZ, BEN_HERTZ, Call
from tests.support.recorder import bytes_of, track_of

PLACE_SAMPLES = 960
"""20 ms; 7 of them are libopus' own delay."""


async def test_two_people_at_once(call: Call) -> None:
    ada, ben = call.ada, call.ben
    await asyncio.gather(ada.say(2), ben.say(2))
    for person in (ada, ben):
        await call.received(person, len(person.speaker.sent))
        assert call.missing(person) == []
        assert call.stored(person) == [frame.opus for frame in person.spoken]
        assert {after.at_sample - one.at_sample for one, after in pairwise(call.packets(person))} == {960}
    assert await call.gaps() == []
    begins = {person: call.packets(person)[0].at_sample for person in (ada, ben)}

    recording = await call.stop()
    assert not call.in_channel()
    assert (recording["guild_id"], recording["title"]) == (str(call.guild.id), "Talk")
    assert {track["name"] for track in recording["tracks"]} == {"Ada", "Ben", None}
    for person, other in ((ada, BEN_HERTZ), (ben, ADA_HERTZ)):
        sound = played(Path(track_of(recording, person.id)["path"]))
        spoken = sound[begins[person] + 4800 : begins[person] + 90_000]
        assert level(spoken, person.hertz) > 0.2
        assert level(spoken, other) < 0.002
        assert abs(onset(sound) - begins[person]) < PLACE_SAMPLES
        master = str(track_of(recording, person.id)["master_path"])
        said = {frame.opus for frame in person.spoken}
        stored = [packet.opus for packet in read_ogg_opus(bytes_of(master)).packets if packet.opus in said]
        assert stored == [frame.opus for frame in person.spoken]
        heard = played(Path(master))
        assert abs(len(heard) - recording["duration_ms"] * 48) < PLACE_SAMPLES
        there = slice(begins[person], begins[person] + 90_000)
        assert abs(offset_of(heard[there], sound[there])) < 48


def level(sound: Samples, hertz: float) -> float:
    """Amplitude of a tone in a sound."""
    wave = sound[:, 0] * np.hanning(len(sound))
    carrier = np.exp(-2j * np.pi * hertz * np.arange(len(wave)) / 48_000)
    return float(4 * np.abs((wave * carrier).mean()))


def onset(sound: Samples) -> int:
    """Where a sound begins."""
    return int(np.argmax(np.abs(sound[:, 0]) > 0.05))
