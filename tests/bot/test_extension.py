"""The bot as a discord.py extension."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from discord.ext import commands

from discord_recorder import ServicesManager, get_services_manager
from discord_recorder.simulator.server import Simulator
from tests.support.simulator import Scene, logged_in

EXTENSION = "discord_recorder.bot"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, data_dir: Path, simulator: Simulator) -> None:
    monkeypatch.setenv("DISCORD_RECORDER_DATA_DIR", str(data_dir))
    monkeypatch.setenv("DISCORD_RECORDER_DISK_WARN_MIB", "0")
    monkeypatch.setenv("DISCORD_RECORDER_DISK_STOP_MIB", "0")
    monkeypatch.setenv("SSL_CERT_FILE", str(simulator.ca_file))


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[commands.Bot]:
    async with logged_in(scene.command_bot(), scene.bot) as bot:
        yield bot


async def test_loaded_it_records_with_the_services_of_the_process(scene: Scene) -> None:
    async with running(scene) as bot:
        await bot.load_extension(EXTENSION)
        services = get_services_manager()
        assert ServicesManager.attached_to(bot) is services
        assert await services.discord_recorder_service.start_session(scene.talk.id)
        assert scene.bot.id in scene.guild.voice_states
        await bot.unload_extension(EXTENSION)
        assert scene.bot.id not in scene.guild.voice_states
        assert len(services.discord_recorder_service.sessions) == 0
        assert ServicesManager.attached_to(bot) is None
        await bot.load_extension(EXTENSION)
        assert get_services_manager() is services
        assert ServicesManager.attached_to(bot) is services
    await services.aclose()


async def test_services_that_were_given_are_used(scene: Scene, services: ServicesManager) -> None:
    async with running(scene) as bot:
        services.attach(bot)
        await bot.load_extension(EXTENSION)
        assert ServicesManager.attached_to(bot) is services
        assert await services.discord_recorder_service.start_session(scene.talk.id)
    assert len(services.discord_recorder_service.sessions) == 0  # closing the bot unloads the extension
    assert services.bot is None


async def test_closed_services_are_not_used_again(scene: Scene, services: ServicesManager) -> None:
    async with running(scene) as bot:
        services.attach(bot)
        await services.aclose()
        await bot.load_extension(EXTENSION)
        other = get_services_manager()
        assert ServicesManager.attached_to(bot) is other
        assert other is not services
    await other.aclose()
