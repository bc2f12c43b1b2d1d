"""The voice gateway's websocket on aiohttp: opened, read and closed with all its errors made plain."""

import logging
from asyncio import timeout
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

from discord_recorder.errors import VoiceGatewayError
from discord_recorder.voice.payloads import MAX_MESSAGE_BYTES
from discord_recorder.voice.ports import ConnectionOptions

CONNECT_SECONDS: Final = 6.0
"""Longest time for TCP, TLS and the websocket's handshake."""

_CLOSE_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The websocket has ended, with a close code unless it was cut."""

    code: int | None


async def open_websocket(
    http: aiohttp.ClientSession, endpoint: str, options: ConnectionOptions
) -> aiohttp.ClientWebSocketResponse | None:
    """A websocket to a voice server's gateway, None when it cannot be reached."""
    try:
        async with timeout(CONNECT_SECONDS):
            return await http.ws_connect(
                f"{options.scheme}://{endpoint}/?v=8",
                ssl=options.ssl_context or True,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                max_msg_size=MAX_MESSAGE_BYTES,
                compress=0,
            )
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        _log.info("voice_unreachable", extra={"error": type(error).__name__})
        return None


async def receive(websocket: aiohttp.ClientWebSocketResponse) -> str | bytes | Closed:
    """The next message.

    Raises:
        VoiceGatewayError: it is too long, or no websocket message.
    """
    message = await websocket.receive()
    if message.type is aiohttp.WSMsgType.TEXT:
        return str(message.data)
    if message.type is aiohttp.WSMsgType.BINARY:
        return bytes(message.data)
    if message.type is aiohttp.WSMsgType.ERROR:
        raise VoiceGatewayError("a websocket message that cannot be read")
    return Closed(code=int(message.data) if message.type is aiohttp.WSMsgType.CLOSE else None)


async def send(websocket: aiohttp.ClientWebSocketResponse, message: str | bytes) -> bool:
    """Send a message; false when the websocket has ended, which its reader knows more about."""
    try:
        if isinstance(message, str):
            await websocket.send_str(message)
        else:
            await websocket.send_bytes(message)
    except (aiohttp.ClientError, OSError):
        return False
    return True


async def shut(websocket: aiohttp.ClientWebSocketResponse, code: int) -> None:
    """Close; a server that does not answer is not waited for (Discord's own clients do not, either)."""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with timeout(2 * _CLOSE_SECONDS):
            await websocket.close(code=code)
