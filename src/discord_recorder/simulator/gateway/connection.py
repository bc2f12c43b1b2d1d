"""One gateway websocket: reads for the hub, writes what it says, watches the heartbeat."""

import asyncio
import logging
from typing import Final

from aiohttp import WSMsgType, web

from discord_recorder.simulator.changes import Changes
from discord_recorder.simulator.gateway.compression import Compress, compressor
from discord_recorder.simulator.gateway.hub import Close, Hub, Op
from discord_recorder.simulator.gateway.session import Session, envelope

_log = logging.getLogger(__name__)

MAX_WAITING: Final = 8_192
"""Messages that wait for a slow client; a slower one is cut off, and can resume."""

MAX_MESSAGE_BYTES: Final = 4_096
"""Of a client's message; Discord's limit. Beyond it Discord closes with 4002, and aiohttp with 1009."""

CLOSE_SECONDS: Final = 0.5
"""How long to wait for the client's close frame: not every client sends one."""

_MISSED_HEARTBEATS: Final = 2.5
_FOR_GOOD: Final = (1000, 1001)
"""Close codes by which a client ends its session."""


class Connection:
    """The `Outlet` of a session, over aiohttp.

    Args:
        hub: whom to ask.
        changes: told whenever a client has said something.
        heartbeat_seconds: what HELLO asks for.
    """

    def __init__(self, hub: Hub, changes: Changes, heartbeat_seconds: float) -> None:
        self.frozen = False
        """Nothing is sent any more, not even to heartbeats: what the client sees of a dead gateway."""
        self._hub = hub
        self._changes = changes
        self._heartbeat_seconds = heartbeat_seconds
        self._waiting: asyncio.Queue[str | int] = asyncio.Queue(MAX_WAITING)
        self._socket = web.WebSocketResponse(timeout=CLOSE_SECONDS, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        self._transport: asyncio.BaseTransport | None = None
        self._session: Session | None = None
        self._is_closing = False

    @property
    def session(self) -> Session | None:
        """What it identified as."""
        return self._session

    def send(self, text: str) -> None:
        """Queue a message; a client that is too slow is cut off."""
        if not self.frozen:
            self._put(text)

    def close(self, code: int) -> None:
        """Queue the end."""
        self._put(code)

    def cut(self) -> None:
        """End it now."""
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Run until either side ends it."""
        await self._socket.prepare(request)
        self._transport = request.transport
        writer = asyncio.create_task(self._write(compressor(request.query.get("compress", ""))))
        self.send(envelope(Op.HELLO, {"heartbeat_interval": int(self._heartbeat_seconds * 1000), "_trace": []}))
        code = None
        try:
            code = await self._read()
        finally:
            if self._is_closing:  # the close frame has gone out; leave the client a moment to see it
                await asyncio.wait((writer,), timeout=2 * CLOSE_SECONDS)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            if self._session is not None:
                self._hub.detach(self._session, self, for_good=code in _FOR_GOOD)
            self._changes.announce()
        return self._socket

    async def _read(self) -> int | None:
        """Read until it ends; gives the code of the client's close frame, if that is how."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _MISSED_HEARTBEATS * self._heartbeat_seconds
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await self._socket.receive()
            except TimeoutError:
                await self._socket.close(code=Close.SESSION_TIMED_OUT)
                return None
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return int(message.data) if message.type is WSMsgType.CLOSE else None
            if not self.frozen:
                self._session = self._hub.receive(self, self._session, message.data)
                self._changes.announce()
            deadline = clock() + _MISSED_HEARTBEATS * self._heartbeat_seconds

    async def _write(self, compress: Compress | None) -> None:
        try:
            while isinstance(each := await self._waiting.get(), str):
                await self._send(each, compress)
            self._is_closing = True
            await self._socket.close(code=each)
        except (ConnectionError, RuntimeError):  # the client has gone; the reader ends
            _log.debug("gateway client gone")

    async def _send(self, text: str, compress: Compress | None) -> None:
        if compress is None:
            await self._socket.send_str(text)
        else:
            await self._socket.send_bytes(compress(text.encode()))

    def _put(self, each: str | int) -> None:
        try:
            self._waiting.put_nowait(each)
        except asyncio.QueueFull:
            _log.warning("gateway client too slow, cut off")
            self.cut()
