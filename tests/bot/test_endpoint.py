"""Pointing the program at another Discord."""

import discord.gateway
import discord.http
import pytest

from discord_recorder.bot.endpoint import use_discord_api
from discord_recorder.errors import SettingsError


@pytest.fixture(autouse=True)
def _undone(monkeypatch: pytest.MonkeyPatch) -> None:
    route, socket = discord.http.Route, discord.gateway.DiscordWebSocket
    monkeypatch.setattr(route, "BASE", route.BASE)
    monkeypatch.setattr(socket, "DEFAULT_GATEWAY", socket.DEFAULT_GATEWAY)


@pytest.mark.parametrize(
    ("url", "base", "gateway"),
    [
        ("https://127.0.0.1:8443/api/v10", "https://127.0.0.1:8443/api/v10", "wss://127.0.0.1:8443/"),
        ("http://discord.test/api/v10/", "http://discord.test/api/v10", "ws://discord.test/"),
    ],
)
def test_routes_and_gateway_follow_the_url(url: str, base: str, gateway: str) -> None:
    use_discord_api(url)
    assert discord.http.Route("GET", "/gateway/bot").url == f"{base}/gateway/bot"
    assert str(discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY) == gateway


def test_the_gateway_can_be_elsewhere() -> None:
    use_discord_api("https://discord.test/api/v10", gateway_url="wss://gateway.discord.test/")
    assert str(discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY) == "wss://gateway.discord.test/"


@pytest.mark.parametrize("url", ["", "discord.test/api/v10", "ftp://discord.test/api", "https:///api/v10"])
def test_what_is_no_url_is_refused(url: str) -> None:
    before = discord.http.Route.BASE
    with pytest.raises(SettingsError, match="is no API URL"):
        use_discord_api(url)
    assert before == discord.http.Route.BASE
