"""Which Discord the program talks to: the real one, or another service with the same API."""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

import discord.gateway
import discord.http
from yarl import URL

from discord_recorder.errors import SettingsError

_GATEWAY_SCHEMES: Final = {"https": "wss", "http": "ws"}


def use_discord_api(url: str, *, gateway_url: str | None = None) -> None:
    """Point discord.py, for the whole process, at another Discord-compatible service.

    Call it before any client logs in; trust in the service's certificate comes from `SSL_CERT_FILE`.

    Args:
        url: base URL of the REST API with its version, for instance `https://127.0.0.1:8443/api/v10`.
        gateway_url: where clients without shards connect to, as they never ask; default: the root of the same host.

    Raises:
        SettingsError: the URL is not one of http or https.
    """
    parts = urlsplit(url)
    if parts.scheme not in _GATEWAY_SCHEMES or not parts.netloc:
        raise SettingsError(f"{url!r} is no API URL: it takes https://HOST[:PORT]/api/v10")
    scheme = _GATEWAY_SCHEMES[parts.scheme]
    discord.http.Route.BASE = url.rstrip("/")
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(
        gateway_url or urlunsplit((scheme, parts.netloc, "/", "", ""))
    )
