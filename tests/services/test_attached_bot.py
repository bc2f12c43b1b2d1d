"""Sessions of services that a bot is attached to: joining, refusals that say what to do, nothing left behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import discord
import pytest

from discord_recorder import (
    MeetingExistsError,
    ServicesClosedError,
    ServicesManager,
    Settings,
    UserError,
    VoiceChannelError,
    VoiceConnectionError,
)
from discord_recorder.services import discord_voice
from discord_recorder.simulator.entities import Channel, User
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.server import Simulator
from discord_recorder.voice.ports import ConnectionOptions
from tests.support.recorder import MEETING, OpenServices
from tests.support.simulator import Scene, logged_in
from tests.support.waiting import until


@asynccontextmanager
async def attached(
    services: ServicesManager, scene: Scene, account: User | None = None, **given: Any
) -> AsyncIterator[discord.Client]:
    """A bot that is logged in and attached."""
    client = scene.client(**given)
    services.attach(client, options=ConnectionOptions(ssl_context=scene.simulator.client_context()))
    async with logged_in(client, account or scene.bot):
        yield client


@pytest.fixture
async def bot(services: ServicesManager, scene: Scene) -> AsyncIterator[discord.Client]:
    async with attached(services, scene) as client:
        yield client
        await services.detach()


def in_voice(scene: Scene) -> int | None:
    """The channel that the bot is in."""
    state = scene.guild.voice_states.get(scene.bot.id)
    return None if state is None else state.channel_id


async def refused(services: ServicesManager, scene: Scene, channel: Channel | int, says: str) -> None:
    """Starting fails with that, and leaves nothing behind."""
    channel_id = channel if isinstance(channel, int) else channel.id
    with pytest.raises(VoiceConnectionError, match=says):
        await services.discord_recorder_service.start_session(channel_id, MEETING)
    await nothing_is_left(services, scene)


async def nothing_is_left(services: ServicesManager, scene: Scene) -> None:
    assert len(services.discord_recorder_service.sessions) == 0
    assert await services.sql_recording_service.list_meetings() == []
    assert not list(services.settings.temp_dir.glob("*"))
    assert in_voice(scene) is None
    assert services.bot is None or services.bot.voice_clients == []


class TestJoining:
    async def test_joins_and_takes_from_the_channel_what_is_not_given(
        self, services: ServicesManager, scene: Scene, bot: discord.Client
    ) -> None:
        recorder = services.discord_recorder_service
        assert await recorder.start_session(scene.talk.id)
        assert in_voice(scene) == scene.talk.id
        status = await recorder.get_session_status(scene.talk.id)
        assert status is not None
        assert (status["guild_id"], status["title"]) == (str(scene.guild.id), "Talk")
        assert await recorder.stop_session(scene.talk.id)
        assert in_voice(scene) is None
        assert bot.voice_clients == []

    async def test_what_is_given_stands(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        recorder = services.discord_recorder_service
        assert await recorder.start_session(scene.talk.id, MEETING, guild_id=5, title="Weekly")
        status = await recorder.get_session_status(scene.talk.id)
        assert status is not None
        assert (status["guild_id"], status["title"]) == ("5", "Weekly")

    async def test_a_second_start_of_a_channel_is_none(
        self, services: ServicesManager, scene: Scene, bot: discord.Client
    ) -> None:
        recorder = services.discord_recorder_service
        both = await asyncio.gather(recorder.start_session(scene.talk.id), recorder.start_session(scene.talk.id))
        assert sorted(both) == [False, True]
        assert not await recorder.start_session(scene.talk.id)

    async def test_again_right_after_a_stop(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        """In another channel of the same server, while the bot is still leaving the first."""
        recorder = services.discord_recorder_service
        assert await recorder.start_session(scene.talk.id)
        stopping = asyncio.create_task(recorder.stop_session(scene.talk.id))
        await until(lambda: in_voice(scene) is None)
        assert await recorder.start_session(scene.side.id)
        assert await stopping
        assert in_voice(scene) == scene.side.id

    async def test_a_stage_channel(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        stage = scene.simulator.add_stage_channel(scene.guild, "Stage")
        await until(lambda: bot.get_channel(stage.id))
        assert await services.discord_recorder_service.start_session(stage.id)
        assert in_voice(scene) == stage.id

    async def test_closing_leaves(self, scene: Scene, open_services: OpenServices) -> None:
        async with open_services() as services, attached(services, scene):
            assert await services.discord_recorder_service.start_session(scene.talk.id)
            await services.aclose()
            assert in_voice(scene) is None


class TestRefusals:
    async def test_an_unknown_channel(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        await refused(services, scene, 4711, "knows no channel 4711.*invited")

    async def test_a_text_channel(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        await refused(services, scene, scene.text, "is no voice channel")

    @pytest.mark.parametrize(
        ("denied", "name"), [(Permission.VIEW_CHANNEL, "View Channel"), (Permission.CONNECT, "Connect")]
    )
    async def test_no_permission(
        self, services: ServicesManager, scene: Scene, bot: discord.Client, denied: Permission, name: str
    ) -> None:
        scene.simulator.overwrite(scene.talk, scene.bot, deny=denied)
        channel = bot.get_channel(scene.talk.id)
        assert isinstance(channel, discord.VoiceChannel)
        await until(lambda: channel.overwrites)
        await refused(services, scene, scene.talk, f'"{name}"')

    async def test_a_full_channel(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        small = scene.simulator.add_voice_channel(scene.guild, "Small", user_limit=1)
        scene.simulator.join(scene.ada, small)
        channel = await until(lambda: bot.get_channel(small.id))
        await until(lambda: channel.voice_states)
        await refused(services, scene, small, "is full: it has room for 1")

    async def test_in_another_channel_of_the_server(
        self, services: ServicesManager, scene: Scene, bot: discord.Client
    ) -> None:
        recorder = services.discord_recorder_service
        assert await recorder.start_session(scene.talk.id)
        with pytest.raises(VoiceChannelError, match="is in Talk already"):
            await recorder.start_session(scene.side.id)
        assert in_voice(scene) == scene.talk.id
        assert list(recorder.sessions) == [str(scene.talk.id)]

    async def test_without_the_intent(self, services: ServicesManager, scene: Scene) -> None:
        async with attached(services, scene, intents=discord.Intents(guilds=True)):
            await refused(services, scene, scene.talk, "no intent voice_states")

    async def test_a_bot_that_is_not_logged_in(self, services: ServicesManager, scene: Scene) -> None:
        client = scene.client()
        services.attach(client)
        await refused(services, scene, scene.talk, "is not logged in.*wait_until_ready")
        await client.close()

    async def test_discord_says_nothing(
        self, services: ServicesManager, scene: Scene, bot: discord.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(discord_voice, "JOIN_SECONDS", 0.3)
        scene.simulator.voice_states.request = lambda *_, **__: None  # type: ignore[method-assign]
        await refused(services, scene, scene.talk, "did not let the bot into the channel Talk")

    async def test_the_voice_server_refuses(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        server = scene.simulator.voice_server(scene.guild)
        server.admit = lambda ticket: None  # type: ignore[method-assign]
        await refused(services, scene, scene.talk, "could not be joined.*close code 4004")

    async def test_a_used_meeting_id(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        recorder = services.discord_recorder_service
        assert await recorder.start_session(scene.talk.id, MEETING)
        await recorder.stop_session(scene.talk.id)
        with pytest.raises(MeetingExistsError):
            await recorder.start_session(scene.talk.id, MEETING)
        assert in_voice(scene) is None
        assert [each["meeting_id"] for each in await services.sql_recording_service.list_meetings()] == [MEETING]


class TestGivenUp:
    @pytest.fixture
    def _no_answer(self, scene: Scene) -> None:
        scene.simulator.voice_states.request = lambda *_, **__: None  # type: ignore[method-assign]

    @pytest.mark.usefixtures("_no_answer")
    async def test_a_cancelled_start(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        starting = asyncio.create_task(services.discord_recorder_service.start_session(scene.talk.id, MEETING))
        await until(lambda: bot.voice_clients)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await nothing_is_left(services, scene)

    @pytest.mark.usefixtures("_no_answer")
    async def test_closed_while_it_joins(self, scene: Scene, open_services: OpenServices) -> None:
        async with open_services() as services, attached(services, scene) as bot:
            starting = asyncio.create_task(services.discord_recorder_service.start_session(scene.talk.id, MEETING))
            await until(lambda: bot.voice_clients)
            await services.aclose()
            with pytest.raises(ServicesClosedError):
                await starting
        async with open_services() as services:
            await nothing_is_left(services, scene)


class TestAttaching:
    async def test_one_bot_at_a_time(self, services: ServicesManager, scene: Scene, bot: discord.Client) -> None:
        services.attach(bot)
        other = scene.client()
        with pytest.raises(UserError, match="Another bot is attached"):
            services.attach(other)
        assert services.bot is bot
        await other.close()

    async def test_detaching_stops_what_was_joined(
        self, services: ServicesManager, scene: Scene, bot: discord.Client
    ) -> None:
        recorder = services.discord_recorder_service
        assert await recorder.start_session(scene.talk.id, MEETING)
        await services.detach()
        assert in_voice(scene) is None
        assert services.bot is None
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        assert meeting["end_reason"] == "the bot was detached"
        assert await recorder.start_session(scene.talk.id)  # pushed to from now on
        assert in_voice(scene) is None

    async def test_pushing_into_a_session_that_joined(
        self, services: ServicesManager, scene: Scene, bot: discord.Client
    ) -> None:
        recorder = services.discord_recorder_service
        assert await recorder.start_session(scene.talk.id, MEETING)
        await recorder.sessions[scene.talk.id].push_audio_data(bytes(192_000), user_id=5)
        await recorder.stop_session(scene.talk.id)
        [recording] = await services.sql_recording_service.list_recordings()
        assert [track["user_id"] for track in recording["tracks"]] == ["5"]

    async def test_the_setting_points_discord_py_elsewhere(
        self, simulator: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DISCORD_RECORDER_DISCORD_API_URL", "https://discord.test/api/v10")
        services = ServicesManager(Settings(data_dir=settings.data_dir))
        client = discord.Client(intents=discord.Intents.none())
        services.attach(client)
        assert discord.http.Route("GET", "/gateway").url == "https://discord.test/api/v10/gateway"
        await client.close()
