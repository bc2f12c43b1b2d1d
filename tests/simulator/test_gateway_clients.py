"""discord.py against everything a gateway can do to a client."""

import asyncio
import zlib
from typing import Any

import aiohttp
import discord
import pytest
from discord.ext import commands

from discord_recorder.simulator.gateway.compression import compressor
from discord_recorder.simulator.server import Simulator, SimulatorOptions
from tests.support.pointing import point_discord_py
from tests.support.simulator import Scene, client_options, logged_in
from tests.support.waiting import until


class Eager(discord.Client):
    """Identifies again without the pause that spares the real service, and notes what it lives through."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.lived: list[str] = []
        self.heard: list[str] = []

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        self.lived.append("identify")

    async def on_resumed(self) -> None:
        self.lived.append("resumed")

    async def on_ready(self) -> None:
        self.lived.append("ready")

    async def on_message(self, message: discord.Message) -> None:
        self.heard.append(message.content)


class Sharded(commands.AutoShardedBot):
    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Without the pause that spares the real service."""


def raw_session(simulator: Simulator) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=simulator.client_context()))


def eager(scene: Scene, **given: Any) -> Eager:
    return Eager(**client_options(scene.simulator, **given))


@pytest.mark.parametrize("how", ["cut", "close", "ask"])
async def test_a_dropped_client_resumes_and_misses_nothing(scene: Scene, how: str) -> None:
    simulator = scene.simulator
    async with logged_in(eager(scene), scene.bot) as client:
        simulator.post(scene.ada, scene.text, "before")
        await until(lambda: client.heard == ["before"])
        match how:
            case "cut":
                simulator.drop_gateway(scene.bot)
            case "close":
                simulator.close_gateway(scene.bot)
            case "ask":
                simulator.ask_to_reconnect(scene.bot)
        simulator.post(scene.ada, scene.text, "meanwhile")
        await until(lambda: "resumed" in client.lived)
        simulator.post(scene.ada, scene.text, "after")
        await until(lambda: client.heard == ["before", "meanwhile", "after"])
        assert client.lived == ["identify", "ready", "resumed"]


@pytest.mark.parametrize("how", ["dropped", "told"])
async def test_a_client_whose_session_is_gone_identifies_again(scene: Scene, how: str) -> None:
    simulator = scene.simulator
    async with logged_in(eager(scene), scene.bot) as client:
        [old] = simulator.connected(scene.bot)
        if how == "dropped":
            simulator.drop_gateway(scene.bot, resumable=False)
        else:
            simulator.invalidate_session(scene.bot)
        await simulator.until(lambda: [each for each in simulator.connected(scene.bot) if each is not old])
        simulator.post(scene.ada, scene.text, "again")
        await until(lambda: client.heard == ["again"] and len(client.lived) == 4)
        assert client.lived == ["identify", "ready"] * 2


async def test_a_client_notices_a_gateway_that_went_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Simulator(SimulatorOptions(heartbeat_seconds=0.2)) as simulator:
        point_discord_py(monkeypatch, simulator)
        scene = Scene(simulator)
        async with logged_in(eager(scene, heartbeat_timeout=1.0), scene.bot) as client:
            simulator.freeze_gateway(scene.bot)
            simulator.post(scene.ada, scene.text, "while it was frozen")
            await until(lambda: client.heard == ["while it was frozen"])
            assert client.lived[:3] == ["identify", "ready", "resumed"]
            assert set(client.lived[3:]) <= {"resumed"}  # again, if this process has stood still for as long


async def test_a_client_without_heartbeats_is_closed() -> None:
    async with (
        Simulator(SimulatorOptions(heartbeat_seconds=0.05)) as simulator,
        raw_session(simulator) as session,
        session.ws_connect(simulator.gateway_url) as socket,
    ):
        hello = await socket.receive_json()
        assert (hello["op"], hello["d"]["heartbeat_interval"]) == (10, 50)
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4009)


@pytest.mark.parametrize(("code", "left"), [(1000, 0), (1001, 0), (4000, 1)])
async def test_the_close_code_says_whether_a_session_is_over(scene: Scene, code: int, left: int) -> None:
    simulator = scene.simulator
    async with raw_session(simulator) as session, session.ws_connect(simulator.gateway_url) as socket:
        await socket.send_json({"op": 2, "d": {"token": scene.bot.token, "intents": 1, "properties": {}}})
        [gateway_session] = await simulator.until(lambda: simulator.connected(scene.bot))
        await socket.close(code=code)
    await simulator.until(lambda: gateway_session.outlet is None)
    assert len(simulator.sessions(scene.bot)) == left


async def test_a_wrong_token_and_missing_privileges_are_refused(scene: Scene) -> None:
    async with scene.client() as client:
        with pytest.raises(discord.LoginFailure):
            await client.login("nobody's token")
    scene.simulator.deny_privileged_intents(scene.bot)
    async with scene.client() as client:
        with pytest.raises(discord.PrivilegedIntentsRequired):
            await client.start(scene.bot.token)


async def test_sharded_bots_get_all_their_guilds(scene: Scene) -> None:
    simulator = scene.simulator
    for number in range(5):
        simulator.add_member(simulator.add_guild(f"Guild {number}", scene.ada), scene.bot)
    simulator.recommend_shards(scene.bot, 3)
    bot = Sharded("!", **client_options(simulator))
    async with logged_in(bot, scene.bot):
        assert sorted(bot.shards) == [0, 1, 2]
        await until(lambda: len(bot.guilds) == 6 and all(not guild.unavailable for guild in bot.guilds))
        assert {guild.shard_id for guild in bot.guilds} == {0, 1, 2}
        simulator.drop_gateway(scene.bot, shard=1)
        assert len(simulator.connected(scene.bot)) == 2
        await simulator.until(lambda: len(simulator.connected(scene.bot)) == 3)


async def test_members_are_fetched_through_the_gateway(scene: Scene) -> None:
    for number in range(20):
        scene.simulator.add_member(scene.guild, scene.simulator.add_user(f"User {number}"))
    async with logged_in(scene.client(members=True), scene.bot) as client:
        guild = client.guilds[0]
        await until(lambda: guild.chunked)
        assert len(guild.members) == 23
        [found] = await guild.query_members("User 17")
        assert found.name == "User 17"


async def test_who_is_in_voice_is_known_from_the_start_and_followed(scene: Scene) -> None:
    simulator = scene.simulator
    simulator.join(scene.ada, scene.talk)
    async with logged_in(scene.client(), scene.bot) as client:
        talk, side = (client.get_channel(channel.id) for channel in (scene.talk, scene.side))
        assert isinstance(talk, discord.VoiceChannel)
        assert isinstance(side, discord.VoiceChannel)
        assert [member.name for member in talk.members] == ["Ada"]
        simulator.move(scene.ada, scene.side)
        await until(lambda: [member.name for member in side.members] == ["Ada"])
        assert talk.members == []
        simulator.server_mute(scene.ada, scene.guild)
        await until(lambda: side.members[0].voice and side.members[0].voice.mute)
        simulator.leave(scene.ada, scene.guild)
        await until(lambda: side.members == [])


async def test_voice_survives_a_resume_and_ends_with_the_session(scene: Scene) -> None:
    simulator = scene.simulator
    async with logged_in(eager(scene), scene.bot) as client:
        talk = client.get_channel(scene.talk.id)
        assert isinstance(talk, discord.VoiceChannel)
        await talk.guild.change_voice_state(channel=talk)
        access = await simulator.until(lambda: simulator.voice_access(scene.bot, scene.guild))
        simulator.drop_gateway(scene.bot)
        await until(lambda: "resumed" in client.lived)
        assert simulator.voice_access(scene.bot, scene.guild) == access
        simulator.drop_gateway(scene.bot, resumable=False)
        assert simulator.voice_access(scene.bot, scene.guild) is None
        await until(lambda: client.lived.count("ready") == 2)


@pytest.mark.parametrize("compress", ["", "zlib-stream"])
async def test_raw_clients_with_and_without_compression(scene: Scene, compress: str) -> None:
    simulator = scene.simulator
    async with raw_session(simulator) as session:
        url = f"{simulator.gateway_url}?v=10&encoding=json" + (f"&compress={compress}" if compress else "")
        async with session.ws_connect(url) as socket:
            stream = zlib.decompressobj()
            message = await asyncio.wait_for(socket.receive(), 20)
            text = stream.decompress(message.data).decode() if compress else message.data
            assert text.startswith('{"op":10,')


def test_zlib_messages_can_be_read_one_by_one() -> None:
    compress, stream = compressor("zlib-stream"), zlib.decompressobj()
    assert compress is not None
    for text in (b"one", b"two" * 1000, b""):
        data = compress(text)
        assert data.endswith(b"\x00\x00\xff\xff")
        assert stream.decompress(data) == text
    assert compressor("") is compressor("brotli") is None
