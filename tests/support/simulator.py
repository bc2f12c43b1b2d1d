"""Unmodified discord.py clients, logged in to the simulator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import aiohttp
import discord
from discord.ext import commands

from discord_recorder.simulator.entities import Channel, Guild, User
from discord_recorder.simulator.server import Simulator
from tests.support.waiting import until

ClientT = TypeVar("ClientT", bound=discord.Client)

LOGIN_SECONDS: Final = 30.0
"""How long a login may take; none does unless it is broken."""


def client_options(
    simulator: Simulator, *, members: bool = False, content: bool = True, **given: Any
) -> dict[str, Any]:
    """Arguments of a client: trust in the simulator, intents, and no waiting for guilds that do not come."""
    intents = discord.Intents.default()
    intents.message_content = content
    intents.members = members
    connector = aiohttp.TCPConnector(ssl=simulator.client_context())
    return {"intents": intents, "connector": connector, "guild_ready_timeout": 0.05, **given}


@asynccontextmanager
async def logged_in(client: ClientT, account: User) -> AsyncIterator[ClientT]:
    """The client while it runs: its guilds and channels are known; closed at the end."""
    async with client:
        await client.login(account.token)
        running = asyncio.create_task(client.connect())
        ready = asyncio.create_task(_ready(client))
        try:
            await asyncio.wait((running, ready), timeout=LOGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            assert ready.done(), "the client did not get ready"
            yield client
        finally:
            ready.cancel()
            await client.close()
            await asyncio.gather(running, ready, return_exceptions=True)


async def _ready(client: discord.Client) -> None:
    await client.wait_until_ready()
    await until(lambda: all(not guild.unavailable for guild in client.guilds))


class Scene:
    """What most tests need: a guild with two people, a text and two voice channels, and a bot."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.ada: User = simulator.add_user("Ada")
        self.ben: User = simulator.add_user("Ben")
        self.guild: Guild = simulator.add_guild("Team", self.ada, self.ben)
        self.text: Channel = simulator.add_text_channel(self.guild, "general")
        self.talk: Channel = simulator.add_voice_channel(self.guild, "Talk")
        self.side: Channel = simulator.add_voice_channel(self.guild, "Side")
        self.bot: User = simulator.add_bot("Recorder", self.guild)

    def client(self, **given: Any) -> discord.Client:
        """A plain client."""
        return discord.Client(**client_options(self.simulator, **given))

    def command_bot(self, **given: Any) -> commands.Bot:
        """A bot with commands."""
        return commands.Bot("!", **client_options(self.simulator, **given))
