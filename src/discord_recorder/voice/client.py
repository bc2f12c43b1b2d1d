"""The recorder's voice client: what `channel.connect(cls=...)` of discord.py takes.

It is the supervisor's way to discord.py, and uses nothing but the library's public API. Source: PROTOCOL "Connecting".
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

import aiohttp
import discord

from discord_recorder.errors import VoiceConnectionError
from discord_recorder.voice.chronicle import Chronicle
from discord_recorder.voice.connection import VoiceConnection
from discord_recorder.voice.counters import PacketLedger
from discord_recorder.voice.events import Ticket
from discord_recorder.voice.ports import ChannelView, ConnectionListener, ConnectionOptions
from discord_recorder.voice.reconnect import ReconnectPolicy
from discord_recorder.voice.signals import Signals
from discord_recorder.voice.sink import Ended, EndReason, VoiceSink
from discord_recorder.voice.supervisor import Supervisor

_LEAVE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1

_log = logging.getLogger(__name__)

VocalChannel = discord.VoiceChannel | discord.StageChannel


class RecorderVoiceClient(discord.VoiceProtocol):
    """Listens to a voice channel until it is told to leave, is removed, or cannot go on.

    Use it as `await channel.connect(cls=RecorderVoiceClient.into(sink))`. The sink is told everything; this object is
    for leaving (`disconnect`), sending (`send_opus`) and looking at (`ledger`, `present`, `connection`).
    """

    channel: VocalChannel

    def __init__(
        self,
        client: discord.Client,
        channel: discord.abc.Connectable,
        *,
        sink: VoiceSink | None = None,
        ledger: PacketLedger | None = None,
        options: ConnectionOptions | None = None,
        policy: Callable[[bool], ReconnectPolicy] | None = None,
    ) -> None:
        """Made by `channel.connect`.

        Args:
            client: the bot.
            channel: a voice or stage channel of a guild.
            sink: takes what is heard; None throws it away.
            ledger: where packets are counted; a new one by default.
            options: how connections are made.
            policy: makes the reconnect policy from whether reconnecting is wanted.
        """
        super().__init__(client, channel)
        self.ledger = PacketLedger() if ledger is None else ledger
        self._options = options or ConnectionOptions()
        self._make_policy = policy or (lambda reconnect: ReconnectPolicy(reconnect=reconnect))
        self._chronicle = Chronicle(sink, self.ledger)
        self._careless: set[int] = set()
        self._self_mute = False
        self._http: aiohttp.ClientSession | None = None
        self._signals: Signals | None = None
        self._supervisor: Supervisor | None = None
        self._task: asyncio.Task[None] | None = None
        self._end_task: asyncio.Task[None] | None = None
        self._ended: Ended | None = None

    @classmethod
    def into(
        cls, sink: VoiceSink, **options: Any
    ) -> "Callable[[discord.Client, discord.abc.Connectable], RecorderVoiceClient]":
        """What to hand to `channel.connect(cls=...)`; the options are those of the constructor."""
        return partial(cls, sink=sink, **options)

    # what a caller may look at

    @property
    def guild(self) -> discord.Guild:
        """The guild, as the library knows it now."""
        guild = self.channel.guild
        return self.client.get_guild(guild.id) or guild

    @property
    def connection(self) -> VoiceConnection | None:
        """The connection of now; another one after a reconnect."""
        return None if self._supervisor is None else self._supervisor.connection

    @property
    def is_connected(self) -> bool:
        """Whether audio can flow now."""
        return self.connection is not None and self.connection.is_established and self._ended is None

    @property
    def ended(self) -> Ended | None:
        """Why it has ended, once it has."""
        return self._ended

    @property
    def present(self) -> frozenset[int]:
        """User ids of who is in the channel, ourselves left out."""
        return self._chronicle.speakers

    def send_opus(self, packet: bytes) -> bool:
        """Send an Opus packet of 20 ms; the caller keeps the pace. False when it could not be sent."""
        return self.connection is not None and self.connection.send_opus(packet)

    # what discord.py calls

    async def on_voice_state_update(self, data: Any, /) -> None:
        """Our own voice state has changed."""
        if self._signals is not None and self._supervisor is not None and self._ended is None:
            self._signals.state(data)
            self._chronicle.deafened(self._signals.deafened, time.monotonic())
            self._supervisor.signal()

    async def on_voice_server_update(self, data: Any, /) -> None:
        """There is a voice server for us, another one, or none."""
        if self._signals is not None and self._supervisor is not None:
            self._signals.server(data, time.monotonic())
            self._supervisor.signal()

    async def connect(
        self,
        *,
        timeout: float,  # noqa: ASYNC109 - the library's interface
        reconnect: bool,
        self_deaf: bool = False,
        self_mute: bool = False,
    ) -> None:
        """Join and return once audio can flow.

        Args:
            timeout: seconds until the attempt ends with `TimeoutError`.
            reconnect: whether to go on after a lost connection, now and later.
            self_deaf: has no effect: a self-deafened client is sent no audio.
            self_mute: whether to be shown as muted.

        Raises:
            TimeoutError: the channel could not be joined in time; it may be full.
            VoiceConnectionError: the voice server refuses us; the message says why.
        """
        if self._task is not None:
            return  # registered again, after the main gateway began a new session
        user = self.client.user
        if user is None:
            self.cleanup()
            raise VoiceConnectionError("The bot is not logged in.")
        self._self_mute = self_mute
        self._signals = Signals(guild_id=self.channel.guild.id, user_id=user.id, channel_id=self.channel.id)
        self._supervisor = supervisor = Supervisor(
            signals=self._signals,
            main=self,
            policy=self._make_policy(reconnect),
            chronicle=self._chronicle,
            make=self._make_connection,
        )
        self._task = asyncio.create_task(self._run(supervisor), name="voice supervisor")
        try:
            async with asyncio.timeout(timeout):
                await supervisor.first_established
        except BaseException:
            await self.disconnect(force=True)
            raise

    async def disconnect(self, *, force: bool = False) -> None:
        """Leave the channel; returns when nothing is left of the connection and the sink knows."""
        if self._task is None:
            self.cleanup()
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._finish(Ended(reason=EndReason.LEFT))

    def cleanup(self) -> None:
        """Take this object out of the library's list of voice clients, unless another one has taken its place."""
        if self.is_registered:
            super().cleanup()

    # the supervisor's main gateway

    @property
    def is_registered(self) -> bool:
        """Whether the library tells us of our voice state and server; a new session of it empties its list."""
        return self.guild.voice_client is self

    async def register(self) -> None:
        """Be in the library's list again, as soon as the library knows the channel again."""
        while not isinstance(  # noqa: ASYNC110 - the library tells us nothing before we are registered
            channel := self.client.get_channel(self.channel.id), VocalChannel
        ):
            await asyncio.sleep(_POLL_SECONDS)
        self.channel = channel
        await channel.connect(cls=lambda _client, _channel: self)

    async def change_voice_state(self, channel_id: int | None) -> None:
        """Be in a channel, or in none."""
        channel = None if channel_id is None else discord.Object(channel_id)
        await self.guild.change_voice_state(channel=channel, self_mute=self._self_mute, self_deaf=False)

    def channel_view(self) -> ChannelView:
        """What the library knows of the channel; nothing without the intent for voice states."""
        states = cast("VocalChannel", self.client.get_channel(self.channel.id) or self.channel).voice_states
        own = states.pop(self._signals.user_id, None) if self._signals is not None else None
        return ChannelView(
            present=frozenset(states),
            muted=frozenset(
                user_id for user_id, state in states.items() if state.mute or state.self_mute or state.suppress
            ),
            deafened=own is not None and own.deaf,
            complete=own is not None,
        )

    # beginning and end

    async def _run(self, supervisor: Supervisor) -> None:
        try:
            if self._options.scheme == "wss" and self._options.ssl_context is None:
                context = await asyncio.to_thread(ssl.create_default_context)
                self._options = replace(self._options, ssl_context=context)
            self._http = aiohttp.ClientSession()
            ended = await supervisor.run()
        except Exception:
            _log.exception("voice_supervisor_failed")
            ended = Ended(reason=EndReason.GAVE_UP)
        await self._finish(ended)

    def _make_connection(
        self, ticket: Ticket, listener: ConnectionListener, mode_to_avoid: str | None
    ) -> VoiceConnection:
        if self._http is None:
            raise VoiceConnectionError("The voice client was not connected.")
        channel = self.client.get_channel(ticket.channel_id)
        if isinstance(channel, VocalChannel):
            self.channel = channel
        return VoiceConnection(
            ticket,
            http=self._http,
            listener=listener,
            ledger=self.ledger,
            options=self._options,
            careless=self._careless,
            mode_to_avoid=mode_to_avoid,
        )

    async def _finish(self, ended: Ended) -> None:
        """End once, whoever asks first; everybody waits until it is done."""
        if self._end_task is None:
            self._ended = ended
            self._end_task = asyncio.create_task(self._end(ended), name="voice end")
        await asyncio.shield(self._end_task)

    async def _end(self, ended: Ended) -> None:
        """Close everything, tell the sink, leave the channel."""
        supervisor = self._supervisor
        heard_until = supervisor.close() if supervisor is not None else None
        self._chronicle.ended(ended, time.monotonic(), heard_until=heard_until)
        if ended.reason is not EndReason.REMOVED:
            try:
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self.change_voice_state(None)
            except Exception as error:  # whatever the library raises; without a main gateway we are out anyway
                _log.info("voice_leave_failed", extra={"error": type(error).__name__})
        if supervisor is not None:
            await supervisor.drained()
        if self._http is not None:
            await self._http.close()
        self.cleanup()
        if supervisor is not None and not supervisor.first_established.done():
            supervisor.first_established.set_exception(
                VoiceConnectionError(f"The voice channel could not be joined: {ended}.")
            )
