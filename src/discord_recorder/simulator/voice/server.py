"""A voice server on loopback: gateway over TLS, UDP forwarding, and every command that a test may want to give.

Several can run, as Discord's regions do; a user moves when it is admitted to another one.
"""

import asyncio
import ssl
from collections.abc import Callable
from logging import getLogger
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.voice.connection import Connection
from discord_recorder.simulator.voice.dave_service import DaveService
from discord_recorder.simulator.voice.faults import Direction, Faults, Link, LinkFaults
from discord_recorder.simulator.voice.forwarder import Forwarder, Unused
from discord_recorder.simulator.voice.garbage import Garbage, make_garbage
from discord_recorder.simulator.voice.gateway import Gateway
from discord_recorder.simulator.voice.options import VoiceOptions
from discord_recorder.simulator.voice.session import Session
from discord_recorder.simulator.voice.sessions import Sessions
from discord_recorder.simulator.voice.udp import UdpSocket
from discord_recorder.simulator.voice_port import VoiceTicket

MAX_CONNECTIONS: Final = 2_000
_TICK_SECONDS: Final = 0.1
_BLOCKED_SECONDS: Final = 1.0
_SHUTDOWN_SECONDS: Final = 0.5

_log = getLogger(__name__)


class VoiceServer:
    """One voice server; without a TLS context it speaks plain `ws`, which only tests of its own can use.

    `on_left(user_id, guild_id)` hears of users who closed their connection or did not come back in time; not of those
    who were removed.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        options: VoiceOptions | None = None,
        on_left: Callable[[int, int], None] = lambda user_id, guild_id: None,
    ) -> None:
        self._tls = tls
        self.options = options if options is not None else VoiceOptions()
        self.sessions = Sessions(self.options, on_left)
        self.faults = Faults(self.options.seed)
        self._connections: set[Connection] = set()
        self._delays: dict[int, float] = {}
        self._runner: web.AppRunner | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._socket: UdpSocket | None = None
        self._forwarder: Forwarder | None = None
        self._gateway: Gateway | None = None
        self._garbage_made = 0
        self.endpoint = ""
        """Host and port without a scheme; set by `start`."""

    async def start(self, host: str = "127.0.0.1") -> None:
        """Listen on a free TCP and a free UDP port."""
        self._socket = UdpSocket(host, self._receive)
        self._forwarder = Forwarder(self.sessions, self.faults, self._socket.send, self._socket.later)
        self._gateway = Gateway(self.sessions, self._socket.address)
        app = web.Application()
        app.router.add_get("/", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        try:
            await self._runner.setup()
            site = web.TCPSite(self._runner, host, 0, ssl_context=self._tls)
            await site.start()
        except BaseException:
            await self.close()
            raise
        self.endpoint = f"localhost:{self._runner.addresses[0][1]}"
        self._ticker = asyncio.create_task(self._tick(), name="voice server")

    async def close(self) -> None:
        """Cut all connections and stop listening."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None
        for connection in tuple(self._connections):
            connection.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # What the world says (`voice_port.VoicePort`)

    def admit(self, ticket: VoiceTicket) -> None:
        """Let this user identify with this ticket; an older one of the same user and guild is void."""
        self.sessions.admit(ticket, self._now())

    def remove(self, user_id: int, guild_id: int, close_code: int = 4014) -> None:
        """Close the user's connection, if there is one, and forget the ticket; not reported as having left."""
        self.sessions.remove(user_id, guild_id, close_code, self._now())

    def set_muted(self, user_id: int, guild_id: int, *, mute: bool, deaf: bool) -> None:
        """Forward nothing of a server-muted user, nothing to a server-deafened one."""
        self.sessions.set_muted(user_id, guild_id, mute=mute, deaf=deaf)

    def set_self_deaf(self, user_id: int, guild_id: int, *, deaf: bool) -> None:
        """Forward nothing to a user that has deafened itself."""
        self.sessions.set_self_deaf(user_id, guild_id, deaf=deaf)

    # Faults by command

    def disturb(self, user_id: int, direction: Direction, faults: LinkFaults) -> Link:
        """Let faults happen to a user's datagrams from now on; the link that is returned tells what happened."""
        return self.faults.set(user_id, direction, faults)

    def heal(self, user_id: int, direction: Direction | None = None) -> None:
        """End the faults of a user's datagrams, in one direction or both."""
        self.faults.clear(user_id, direction)

    def close_websocket(self, user_id: int, guild_id: int, code: int, *, void_ticket: bool = False) -> None:
        """Close a user's websocket with a code. The session ends, but with 4015 and 1006: then it can be resumed.

        The ticket stays good for a new IDENTIFY, if it is not to be voided.

        Raises:
            SimulatorError: the user has no session here.
        """
        session = self._session(user_id, guild_id)
        if void_ticket:
            self.sessions.remove(user_id, guild_id, code, self._now())
        else:
            self.sessions.close(session, code, self._now())

    def cut(self, user_id: int, guild_id: int) -> None:
        """Cut a user's TCP connection; the session can be resumed for a while.

        Raises:
            SimulatorError: the user is not connected.
        """
        self._connection(self._session(user_id, guild_id)).cut()

    def delay_websocket(self, user_id: int, seconds: float) -> None:
        """Send everything that goes to a user by websocket so much later, in order; also on connections to come."""
        self._delays[user_id] = seconds

    def change_version(self, channel_id: int, version: int) -> None:
        """Take a channel's call to DAVE version 0 or 1, or set it for a call that is to come."""
        self.sessions.change_version(channel_id, version, self._now())

    def send_garbage(self, user_id: int, guild_id: int, kind: Garbage | None = None, count: int = 1) -> None:
        """Send datagrams to a user that no client should have to see; of all kinds in turn when none is named.

        Raises:
            SimulatorError: the user has no session here, or not yet a key and an address.
        """
        session = self._session(user_id, guild_id)
        if session.key is None or session.address is None or self._forwarder is None:
            raise SimulatorError("this user's connection is not complete yet")
        kinds = tuple(Garbage)
        for _ in range(count):
            chosen = kind if kind is not None else kinds[self._garbage_made % len(kinds)]
            self._garbage_made += 1
            self._forwarder.to(session, make_garbage(chosen, session.key, self._garbage_made))

    # What tests look at

    def dave(self, channel_id: int) -> DaveService | None:
        """The delivery service of a channel's call, None when nobody is in it."""
        call = self.sessions.calls.get(channel_id)
        return None if call is None else call.dave

    def session(self, user_id: int, guild_id: int) -> Session | None:
        """A user's session."""
        return self.sessions.get(user_id, guild_id)

    @property
    def unused(self) -> dict[Unused, int]:
        """Datagrams of clients that were not forwarded, by reason."""
        return {} if self._forwarder is None else dict(self._forwarder.unused)

    @property
    def packets(self) -> tuple[int, int]:
        """RTP packets that came from clients, and that were sent to them (before faults)."""
        return (0, 0) if self._forwarder is None else (self._forwarder.packets_in, self._forwarder.packets_out)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self._gateway is None or len(self._connections) >= MAX_CONNECTIONS:
            return web.Response(status=503)
        connection = Connection(self._gateway, self.sessions, request, lambda user_id: self._delays.get(user_id, 0.0))
        self._connections.add(connection)
        try:
            return await connection.run()
        finally:
            self._connections.discard(connection)

    async def _tick(self) -> None:
        last = self._now()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            late, last = self._now() - last > _BLOCKED_SECONDS, self._now()
            if not late:  # else the event loop was blocked, and what clients sent in time is still unread
                self.sessions.expire(last)
            if self._forwarder is not None:
                self._forwarder.forget()

    def _receive(self, datagram: bytes, address: tuple[str, int]) -> None:
        if self._forwarder is not None:
            self._forwarder.datagram(datagram, address)

    def _session(self, user_id: int, guild_id: int) -> Session:
        session = self.sessions.get(user_id, guild_id)
        if session is None:
            raise SimulatorError("this user has no voice session here")
        return session

    def _connection(self, session: Session) -> Connection:
        for connection in self._connections:
            if connection is session.wire:
                return connection
        raise SimulatorError("this user is not connected now")

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
