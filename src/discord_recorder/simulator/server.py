"""The simulated Discord on loopback: REST and gateway on one port, voice servers beside it."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from discord_recorder.errors import ApiRefusalError
from discord_recorder.simulator.discord import SimulatedDiscord
from discord_recorder.simulator.drafts import MAX_FILE_BYTES
from discord_recorder.simulator.entities import Guild, User
from discord_recorder.simulator.gateway.connection import Connection
from discord_recorder.simulator.gateway.hub import RESUME_SECONDS, Close, Hub, Op
from discord_recorder.simulator.gateway.session import Session, envelope
from discord_recorder.simulator.interactions import ANSWER_SECONDS
from discord_recorder.simulator.participants import Participant
from discord_recorder.simulator.rest.accounts import Accounts
from discord_recorder.simulator.rest.api import PREFIX, Access, Api
from discord_recorder.simulator.rest.application_commands import ApplicationCommands
from discord_recorder.simulator.rest.channels import Channels
from discord_recorder.simulator.rest.guilds import Guilds
from discord_recorder.simulator.rest.rate_limits import Failure, RateLimit, RateLimits
from discord_recorder.simulator.rest.webhooks import Webhooks
from discord_recorder.simulator.tls import HOST, Certificates
from discord_recorder.simulator.voice.options import VoiceOptions
from discord_recorder.simulator.voice.server import VoiceServer
from discord_recorder.simulator.voice.speakers import SpeakerOptions
from discord_recorder.simulator.voice_states import UpdateOrder

HEARTBEAT_SECONDS: Final = 41.25
MAX_CONNECTIONS: Final = 1_000
SHUTDOWN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """How this Discord behaves."""

    port: int = 0
    """Of REST and gateway; 0 takes a free one."""
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    resume_seconds: float = RESUME_SECONDS
    """How long a session, and with it a voice connection, outlives its gateway connection."""
    answer_seconds: float = ANSWER_SECONDS
    rate_limit: RateLimit = field(default_factory=RateLimit)
    update_order: UpdateOrder = UpdateOrder.STATE_FIRST
    announce_null_endpoint: bool = False
    voice_servers: int = 2
    """How many there are to rotate through."""
    voice: VoiceOptions = field(default_factory=VoiceOptions)


class Simulator(SimulatedDiscord):
    """A Discord to log in to while its `async with` block runs.

    Clients are pointed at `api_url` (`discord_recorder.bot.endpoint.use_discord_api`) and trust `ca_file`
    (`SSL_CERT_FILE`), or in this process `client_context()`.
    """

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions()
        self._voice_servers: list[VoiceServer] = []
        super().__init__(time.time, time.monotonic, self.options.answer_seconds, self._voice_servers)
        self.voice_states.order = self.options.update_order
        self.voice_states.announce_null_endpoint = self.options.announce_null_endpoint
        self.api_url = ""
        self.gateway_url = ""
        self.ca_file = Path()
        self._certificates = Certificates()
        self._limits = RateLimits(self.options.rate_limit)
        self._connections: set[Connection] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            loop = asyncio.get_running_loop()
            self._hub = Hub(self.world, self.voice_states, loop.call_later, self.options.resume_seconds)
            stack.callback(self._hub.close)
            self._accounts = Accounts(self.world, self._hub)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="discord-simulator-"))
            self.ca_file = Path(folder, "ca.pem")
            self.ca_file.write_text(self._certificates.ca_pem)
            for _ in range(self.options.voice_servers):
                tls = self._certificates.server_context()
                voice = VoiceServer(tls=tls, options=self.options.voice, on_left=self.voice_states.left)
                self._voice_servers.append(await stack.enter_async_context(voice))
            await self._start_web(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in list(self._connections):
            connection.cut()
        await self._stack.aclose()

    def client_context(self) -> SSLContext:
        """Trust in this simulator and in nothing else, for clients in this process."""
        return self._certificates.client_context()

    @property
    def voice_servers(self) -> Sequence[VoiceServer]:
        """The voice servers, in the order in which `rotate_voice_server` takes them."""
        return self._voice_servers

    def voice_server(self, guild: Guild) -> VoiceServer:
        """The one that serves a guild now; its faults are commanded there."""
        return next(each for each in self._voice_servers if each is self.voice_states.server(guild.id))

    def participant(self, user: User, options: SpeakerOptions | None = None) -> Participant:
        """A voice for a person: `async with simulator.participant(ada) as voice: await voice.join(channel)`."""
        return Participant(self, user, tls=self.client_context(), options=options)

    # What a test may command of REST and gateway

    def fail_next(self, failure: Failure | None = None) -> None:
        """Answer one of the next REST requests with 429, or as told."""
        self._limits.plan(failure or Failure())

    def recommend_shards(self, bot: User, count: int) -> None:
        """What `/gateway/bot` says to a bot from now on."""
        self._accounts.shards[bot.id] = count

    def deny_privileged_intents(self, bot: User) -> None:
        """As if the bot's owner had not switched them on: IDENTIFY with them is closed with 4014."""
        self._hub.without_privileges.add(bot.id)

    def sessions(self, bot: User, shard: int | None = None) -> list[Session]:
        """A bot's gateway sessions, those that wait to be resumed included."""
        return self._hub.sessions(bot.id, shard)

    def connected(self, bot: User) -> list[Session]:
        """A bot's gateway sessions that have a connection."""
        return [session for session in self.sessions(bot) if session.outlet is not None]

    def drop_gateway(self, bot: User, *, resumable: bool = True, shard: int | None = None) -> None:
        """Cut a bot's gateway connections like a network does; the sessions can be resumed, or are gone too."""
        for session in self.sessions(bot, shard):
            if outlet := session.outlet:
                self._hub.detach(session, outlet, for_good=not resumable)
                outlet.cut()
            elif not resumable:
                self._hub.end(session)

    def close_gateway(self, bot: User, code: int = Close.UNKNOWN_ERROR, *, shard: int | None = None) -> None:
        """Close a bot's gateway websockets with a code."""
        for session in self.sessions(bot, shard):
            if session.outlet is not None:
                session.outlet.close(code)

    def ask_to_reconnect(self, bot: User, *, shard: int | None = None) -> None:
        """Send RECONNECT (op 7), which asks for a new connection and a resume."""
        self._send(bot, shard, envelope(Op.RECONNECT))

    def invalidate_session(self, bot: User, *, shard: int | None = None) -> None:
        """End a bot's sessions and say so (op 9): it has to identify again."""
        for session in self.sessions(bot, shard):
            outlet = session.outlet
            self._hub.end(session)
            if outlet is not None:
                outlet.send(envelope(Op.INVALID_SESSION, False))

    def freeze_gateway(self, bot: User, *, shard: int | None = None) -> None:
        """Go silent on a bot's connections, heartbeats included, without closing them."""
        for connection in self._connections:
            session = connection.session
            if session in self.sessions(bot, shard):
                connection.frozen = True

    def _send(self, bot: User, shard: int | None, text: str) -> None:
        for session in self.sessions(bot, shard):
            if session.outlet is not None:
                session.outlet.send(text)

    async def _start_web(self, stack: AsyncExitStack) -> None:
        app = web.Application(client_max_size=2 * MAX_FILE_BYTES)
        app.router.add_get("/", self._serve_gateway)
        app.router.add_get("/attachments/{channel_id}/{attachment_id}/{filename}", self._serve_file)
        access = Access(self.world)
        Api(self.world, self._limits, self.changes).add(
            app,
            [
                self._accounts,
                Guilds(self.world, self.voice_states, access),
                Channels(self.world, self.messages_store, self.voice_states, access),
                ApplicationCommands(self.commands, access),
                Webhooks(self.interactions, self.messages_store),
            ],
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        context = self._certificates.server_context()
        site = web.TCPSite(runner, HOST, self.options.port, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        self.api_url = f"https://{HOST}:{port}{PREFIX}"
        self.gateway_url = self._hub.gateway_url = f"wss://{HOST}:{port}/"
        self.messages_store.file_url = f"https://{HOST}:{port}/attachments"

    async def _serve_gateway(self, request: web.Request) -> web.StreamResponse:
        if len(self._connections) >= MAX_CONNECTIONS:
            return web.Response(status=503)
        connection = Connection(self._hub, self.changes, self.options.heartbeat_seconds)
        self._connections.add(connection)
        try:
            return await connection.serve(request)
        finally:
            self._connections.discard(connection)

    async def _serve_file(self, request: web.Request) -> web.Response:
        try:
            attachment = self.messages_store.file(int(request.match_info["attachment_id"]))
        except (ApiRefusalError, ValueError):
            return web.Response(status=404)
        return web.Response(body=attachment.data, headers={"Content-Type": attachment.content_type})
