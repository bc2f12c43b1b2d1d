"""Faults by command: each does to the simulator what its words say."""

import pytest

from discord_recorder.simulator.console.console import Console
from discord_recorder.simulator.voice.faults import Direction, LinkFaults
from tests.support.simulator import Scene, logged_in
from tests.support.waiting import until


async def test_datagrams_are_disturbed_wherever_the_user_is_moved(scene: Scene, console: Console) -> None:
    await console.run("disturb Ada up loss=0.5 jitter_ms=20 audio_only")
    for server in scene.simulator.voice_servers:
        link = server.faults.link(scene.ada.id, Direction.UP)
        assert link is not None
        assert link.faults == LinkFaults(loss=0.5, jitter_ms=20.0, audio_only=True)
    await console.run("heal Ada down")
    assert all(server.faults.link(scene.ada.id, Direction.UP) for server in scene.simulator.voice_servers)
    await console.run("heal Ada")
    assert not any(server.faults.link(scene.ada.id, Direction.UP) for server in scene.simulator.voice_servers)


async def test_the_voice_connection_is_broken(scene: Scene, console: Console) -> None:
    simulator = scene.simulator
    await console.run("join Ada Talk")
    server = simulator.voice_server(scene.guild)
    await console.run("garbage Ada 12")
    await console.run("version Talk 0")
    call = server.dave(scene.talk.id)
    assert call is not None
    assert call.version == 0
    await console.run("move Ada Side")
    assert scene.guild.voice_states[scene.ada.id].channel_id == scene.side.id
    await console.run("rotate")
    assert simulator.voice_server(scene.guild) is not server
    await console.run("join Ada Talk")
    await console.run("delay Ada 0")
    await console.run("cut Ada")
    session = simulator.voice_server(scene.guild).session(scene.ada.id, scene.guild.id)
    assert session is not None
    await until(lambda: session.lost_at is not None)
    await console.run("close Ada 4006")
    assert session.over


async def test_somebody_with_the_right_to_interferes(scene: Scene, console: Console) -> None:
    await console.run("join Ada Talk")
    member = scene.guild.members[scene.ada.id]
    await console.run("server-mute Ada on")
    await console.run("server-deafen Ada on")
    assert (member.mute, member.deaf) == (True, True)
    await console.run("server-mute Ada off")
    assert (member.mute, member.deaf) == (False, True)
    await console.run("disconnect Ada")
    assert scene.guild.voice_states == {}
    await console.run("join Ada Talk")
    await console.run("remove Talk")
    assert scene.guild.voice_states == {}
    assert scene.talk.id not in scene.guild.channels


@pytest.mark.parametrize("how", ["drop", "lose", "reconnect", "invalidate", "4000"])
async def test_a_bots_gateway_is_broken_and_comes_back(scene: Scene, console: Console, how: str) -> None:
    simulator = scene.simulator
    back: list[str] = []
    client = scene.client()
    async with logged_in(client, scene.bot):
        [first] = simulator.sessions(scene.bot)

        @client.event
        async def on_ready() -> None:
            back.append("identified")

        @client.event
        async def on_resumed() -> None:
            back.append("resumed")

        await console.run(f"gateway Recorder {how}")
        await until(lambda: back)
        [last] = simulator.connected(scene.bot)
        resumes = how in ("drop", "reconnect", "4000")
        assert (back, last is first) == (["resumed" if resumes else "identified"], resumes)
