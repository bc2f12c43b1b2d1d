"""The proof: two VoiceClients of discord.py, unmodified, hear each other byte for byte while others come and go."""

import asyncio
from itertools import pairwise

from discord_recorder.simulator.voice.opus_source import tone
from tests.simulator.voice.discord_voice import SILENCE, Ear, Frames, Heard, in_voice, play
from tests.support.simulator import Scene
from tests.support.waiting import until

COMINGS = 12
FRAMES = 250  # at the least: enough for one with padding


async def test_every_frame_is_heard_through_joins_and_leaves(scene: Scene) -> None:
    simulator, channel = scene.simulator, scene.talk
    server = simulator.voice_server(scene.guild)
    listening, coming = simulator.add_bot("Listener", scene.guild), simulator.add_bot("Comer", scene.guild)
    async with (
        asyncio.timeout(60),
        in_voice(scene, scene.bot, channel.id) as speaker,
        in_voice(scene, listening, channel.id) as listener,
    ):
        ear = Ear(listener, {speaker.ssrc: scene.bot.id})
        dave = server.dave(channel.id)
        assert dave is not None
        await until(lambda: set(dave.members) == {scene.bot.id, listening.id} and dave.settled)
        await until(lambda: speaker._connection.can_encrypt and listener._connection.can_encrypt)
        first_epoch = dave.epoch
        source = Frames(tone(440, 2))
        playing = asyncio.create_task(play(speaker, source))
        for _ in range(COMINGS):
            async with in_voice(scene, coming, channel.id):
                await until(lambda: coming.id in dave.members)
            await until(lambda: coming.id not in dave.members)
        await until(lambda: len(source.taken) >= FRAMES)
        source.over = True
        await playing
        await until(lambda: len(_spoken(ear)) >= len(source.taken))
        assert dave.epoch == first_epoch + 2 * COMINGS

    heard = ear.frames
    assert [one.opus for one in _spoken(ear)] == source.taken
    assert [one.sequence for one in heard] == list(range(heard[0].sequence, heard[0].sequence + len(heard)))
    assert {after.timestamp - one.timestamp for one, after in pairwise(heard)} == {960}
    assert ear.unopened == 0
    assert ear.problems == []
    assert {one.had_extension for one in heard} == {True}
    assert {one.had_padding for one in heard} == {True, False}


def _spoken(ear: Ear) -> list[Heard]:
    return [one for one in ear.frames if one.opus != SILENCE]
