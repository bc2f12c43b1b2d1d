"""The server side of a voice client's websocket: reads until it ends, sends what is posted, in order and maybe late."""

import asyncio
from collections import deque
from collections.abc import Callable
from logging import getLogger
from typing import Final

from aiohttp import WSMsgType, web

from discord_recorder.errors import VoiceRefusalError
from discord_recorder.simulator.voice.closing import ABNORMAL
from discord_recorder.simulator.voice.gateway import Gateway
from discord_recorder.simulator.voice.session import Session
from discord_recorder.simulator.voice.sessions import Sessions

MAX_MESSAGE_BYTES: Final = 4 << 20
MAX_OUTBOX: Final = 8192
"""Messages that may wait for a client that does not read; beyond that its TCP connection is cut."""

_CLOSE_SECONDS: Final = 1.0  # not every client answers a close frame
_GOODBYES: Final = frozenset((1000, 1001))

_log = getLogger(__name__)


class Connection:
    """One websocket; a `session.Wire`. `delay_of(user_id)` tells how many seconds late messages are to be sent."""

    def __init__(
        self, gateway: Gateway, sessions: Sessions, request: web.Request, delay_of: Callable[[int], float]
    ) -> None:
        self.session: Session | None = None
        self._delay_of = delay_of
        self._gateway = gateway
        self._sessions = sessions
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._websocket = web.WebSocketResponse(timeout=_CLOSE_SECONDS, max_msg_size=MAX_MESSAGE_BYTES, autoping=True)
        self._outbox: deque[tuple[float, str | bytes | int]] = deque()
        self._posted = asyncio.Event()
        self._closing = False

    def post(self, message: str | bytes) -> None:
        """Send a message after those that were posted before."""
        self._put(message)

    def close(self, code: int) -> None:
        """Close with a code after what was posted; does not wait. What the client still says is not heard.

        1006 is no code that can be sent: it cuts.
        """
        self._closing = True
        if code == ABNORMAL:
            self.cut()
            return
        self._put(code)

    def cut(self) -> None:
        """Cut the TCP connection without a word."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def run(self) -> web.WebSocketResponse:
        """Serve the websocket until it ends."""
        await self._websocket.prepare(self._request)
        self._gateway.hello(self)
        async with asyncio.TaskGroup() as tasks:
            sender = tasks.create_task(self._send())
            try:
                await self._read()
            finally:
                goodbye = not self._closing and self._websocket.close_code in _GOODBYES
                self._sessions.lost(self, goodbye=goodbye, now=self._loop.time())
                sender.cancel()
        return self._websocket

    async def _read(self) -> None:
        async for message in self._websocket:
            if self._closing:
                continue
            now = self._loop.time()
            try:
                if message.type is WSMsgType.TEXT:
                    self._gateway.text(self, message.data, now)
                elif message.type is WSMsgType.BINARY:
                    self._gateway.binary(self, message.data, now)
            except VoiceRefusalError as refusal:
                _log.info("A voice client was refused", extra={"code": refusal.code, "reason": str(refusal)})
                self._sessions.refuse(self, refusal.code, now)

    async def _send(self) -> None:
        while True:
            while not self._outbox:
                self._posted.clear()
                await self._posted.wait()
            due, message = self._outbox.popleft()
            if due > (now := self._loop.time()):
                await asyncio.sleep(due - now)
            try:
                if isinstance(message, str):
                    await self._websocket.send_str(message)
                elif isinstance(message, bytes):
                    await self._websocket.send_bytes(message)
                else:
                    await self._websocket.close(code=message)
                    self.cut()
                    return
            except (ConnectionError, RuntimeError):  # it has ended meanwhile; `_read` knows
                return

    def _put(self, message: str | bytes | int) -> None:
        if len(self._outbox) >= MAX_OUTBOX:
            self.cut()
            return
        delay = 0.0 if self.session is None else self._delay_of(self.session.user_id)
        self._outbox.append((self._loop.time() + delay, message))
        self._posted.set()
