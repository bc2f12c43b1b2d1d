"""Simulated people over real sockets: they talk, are moved, put out, and served by another voice server."""

import asyncio

import pytest

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.participants import Participant
from discord_recorder.simulator.voice.rtp import SILENCE
from discord_recorder.simulator.voice.speakers import SpeakerOptions
from tests.support.simulator import Scene
from tests.support.waiting import until


def speech(count: int, mark: int) -> list[bytes]:
    return [bytes((0xFC, mark, number >> 8, number & 0xFF)) * 10 for number in range(count)]


async def heard(listener: Participant, count: int) -> None:
    await until(lambda: len(listener.speaker.heard) >= count)


async def test_two_people_hear_each_other(scene: Scene) -> None:
    simulator = scene.simulator
    hearing = SpeakerOptions(hear=True)
    async with simulator.participant(scene.ada, hearing) as ada, simulator.participant(scene.ben, hearing) as ben:
        await asyncio.gather(ada.join(scene.talk), ben.join(scene.talk))
        await asyncio.gather(ada.speaker.ready(), ben.speaker.ready())
        await asyncio.gather(ada.say(speech(20, 1)), ben.say(speech(20, 2)))
        for listener, talker in ((ada, ben), (ben, ada)):
            sent = [frame.opus for frame in talker.speaker.sent]
            assert [opus for opus in sent if opus != SILENCE] == speech(20, 2 if talker is ben else 1)
            await heard(listener, len(sent))
            assert [(frame.user_id, frame.opus) for frame in listener.speaker.heard] == [
                (talker.user.id, opus) for opus in sent
            ]
    assert scene.guild.voice_states == {}


@pytest.mark.parametrize("how", ["move", "rotate"])
async def test_a_participant_follows(scene: Scene, how: str) -> None:
    simulator = scene.simulator
    async with simulator.participant(scene.ada) as ada, simulator.participant(scene.ben) as ben:
        await asyncio.gather(ada.join(scene.talk), ben.join(scene.talk))
        talking = asyncio.create_task(ada.say(speech(60, 1)))
        await until(lambda: len(ada.speaker.sent) >= 10)
        first = ada.speaker.connection
        before = simulator.voice_server(scene.guild)
        if how == "move":
            simulator.move(scene.ada, scene.side)
            simulator.move(scene.ben, scene.side)
        else:
            simulator.rotate_voice_server(scene.guild)
            assert simulator.voice_server(scene.guild) is not before
        await asyncio.gather(ada.connected(), ben.connected())
        assert ada.speaker.connection is not first
        await talking
        said = [frame.opus for frame in ada.speaker.sent if frame.opus != SILENCE]
        assert (said[0], said[-1]) == (speech(60, 1)[0], speech(60, 1)[-1])
        assert len({frame.ssrc for frame in ada.speaker.sent}) == 2
        where = scene.side if how == "move" else scene.talk
        assert {state.channel_id for state in scene.guild.voice_states.values()} == {where.id}


async def test_who_is_put_out_is_out_and_can_come_back(scene: Scene) -> None:
    simulator = scene.simulator
    async with simulator.participant(scene.ada) as ada, simulator.participant(scene.ben) as ben:
        await asyncio.gather(ada.join(scene.talk), ben.join(scene.talk))
        talking = asyncio.create_task(ada.say(speech(10_000, 1)))
        await until(lambda: ada.speaker.sent)
        simulator.disconnect(scene.ada, scene.guild)
        await talking
        assert scene.ada.id not in scene.guild.voice_states
        await ada.join(scene.talk)
        await ada.say(speech(5, 2))
        assert ada.speaker.sent[-6].opus == speech(5, 2)[-1]


async def test_a_lost_connection_ends_the_voice_state(scene: Scene) -> None:
    simulator = scene.simulator
    async with simulator.participant(scene.ada) as ada:
        await ada.join(scene.talk)
        await ada.speaker.leave()
        await simulator.until(lambda: scene.ada.id not in scene.guild.voice_states)


async def test_a_full_channel_is_said_so(scene: Scene) -> None:
    simulator = scene.simulator
    small = simulator.add_voice_channel(scene.guild, "Small", user_limit=1)
    async with simulator.participant(scene.ada) as ada, simulator.participant(scene.ben) as ben:
        await ada.join(small)
        with pytest.raises(SimulatorError, match="full"):
            await ben.join(small)
