"""Points discord.py at a simulator for the length of a test."""

import discord.gateway
import discord.http
import pytest

from discord_recorder.bot.endpoint import use_discord_api
from discord_recorder.simulator.server import Simulator


def point_discord_py(monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> None:
    """As the program does it; undone when the test ends."""
    route, socket = discord.http.Route, discord.gateway.DiscordWebSocket
    monkeypatch.setattr(route, "BASE", route.BASE)
    monkeypatch.setattr(socket, "DEFAULT_GATEWAY", socket.DEFAULT_GATEWAY)
    use_discord_api(simulator.api_url)
