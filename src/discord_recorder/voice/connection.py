"""The asyncio shell of one voice session: a websocket, a UDP socket and a clock around the sans-I/O cores.

The session outlives its websocket: `serve` runs one websocket from its opening to its loss, and may be called again to
resume. The UDP socket stays open and heard meanwhile, until `close`. Nothing that the network sends raises out of
here: what ends a websocket is a `Loss`. Source: PROTOCOL "Connecting".
"""

import asyncio
import logging
import time
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Final

import aiohttp

from discord_recorder.errors import ParseError, VoiceError, VoiceGatewayError, VoiceGatewayTimeoutError
from discord_recorder.voice import dave, opus, payloads
from discord_recorder.voice.address import AddressFinder
from discord_recorder.voice.counters import PacketLedger
from discord_recorder.voice.dave import DaveSession
from discord_recorder.voice.events import (
    ClientDisconnected,
    ClientsConnected,
    DaveBinaryReceived,
    DaveJsonReceived,
    Described,
    GatewayEvent,
    Ready,
    Resumed,
    SpeakingAnnounced,
    SsrcMapped,
    Ticket,
)
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.gateway import GatewayState, VoiceGateway
from discord_recorder.voice.health import DeafnessWatch
from discord_recorder.voice.inbound import Inbound
from discord_recorder.voice.ports import ConnectionListener, ConnectionOptions
from discord_recorder.voice.reconnect import Loss, LossKind
from discord_recorder.voice.sender import SILENCE_FRAMES, OpusSender
from discord_recorder.voice.transport import MODES, TransportCipher
from discord_recorder.voice.udp import Batch, UdpSocket
from discord_recorder.voice.websocket import Closed, open_websocket, receive, send, shut

TICK_SECONDS: Final = 0.25
"""How often the clock of the cores moves."""

VOICE_STATES_SECONDS: Final = 1.0
"""How often the main gateway's knowledge of the channel is looked at."""

KEEPALIVE_HEAD: Final = bytes.fromhex("1337cafe")
"""What Discord's own client begins its keepalives of 8 bytes with; servers were seen to answer no others."""

FRAME_SECONDS: Final = 0.020
MAX_PRESENT: Final = payloads.MAX_USERS
"""Users who are remembered to be in the channel; of more, the encryption's own list decides."""

_RESUMABLE_CLOSE: Final = 4900
"""Our close code when we mean to come back: with 1000 or 1001 a server may end the session."""

_log = logging.getLogger(__name__)


class VoiceConnection:
    """One session with one voice server.

    `mode_to_avoid` is a transport mode that a server said it does not know. `careless` and `ledger` are shared by the
    connections of a recording (see `DeafnessWatch`, `PacketLedger`).
    """

    def __init__(
        self,
        ticket: Ticket,
        *,
        http: aiohttp.ClientSession,
        listener: ConnectionListener,
        ledger: PacketLedger,
        options: ConnectionOptions,
        careless: set[int] | None = None,
        mode_to_avoid: str | None = None,
    ) -> None:
        now = time.monotonic()
        self.ticket = ticket
        self.mode: str | None = None
        self.last_heard: float | None = None
        """When the last frame came, in monotonic seconds."""

        self.established_at: float | None = None
        self._http = http
        self._listener = listener
        self._ledger = ledger
        self._options = options
        self._careless = careless
        self._mode_to_avoid = mode_to_avoid
        self._gateway = VoiceGateway(ticket, max_dave_version=dave.MAX_VERSION)
        self._dave = DaveSession(ticket.user_id, ticket.channel_id)
        self._epoch = self._dave.epoch
        self._inbound = Inbound(ledger, self._dave, accept_plain=options.accept_plain)
        self._sender: OpusSender | None = None
        self._keepalives = 0
        self._watch = DeafnessWatch(now, careless=careless)
        self._udp: UdpSocket | None = None
        self._ready: Ready | None = None
        self._address: AddressFinder | None = None
        self._pulse: asyncio.TimerHandle | None = None
        self._present: set[int] = set()
        self._seen_in_main: frozenset[int] = frozenset()
        self._next_voice_states = now
        self._silence: asyncio.TimerHandle | None = None
        self._outbox = asyncio.Event()
        self._loss: asyncio.Future[Loss] | None = None
        self._last_sign = now
        self._closed = False

    @property
    def can_resume(self) -> bool:
        """Whether `serve(resume=True)` has a session to go on with."""
        return self._gateway.can_resume and not self._closed

    @property
    def is_established(self) -> bool:
        """Whether audio can flow and the websocket is there."""
        return self._gateway.state is GatewayState.ESTABLISHED

    @property
    def dave_version(self) -> int:
        """Version of the end-to-end encryption in force, 0 for none."""
        return self._dave.version

    @property
    def dave_ready(self) -> bool:
        """Whether we are in the encrypted group."""
        return self._dave.ready

    @property
    def present(self) -> frozenset[int]:
        """Who is in the channel as the voice server says, ourselves left out."""
        return frozenset(self._present)

    def send_opus(self, packet: bytes) -> bool:
        """Send an Opus packet of 20 ms; the caller keeps the pace. False when it could not be sent."""
        if self._sender is None or self._udp is None:
            return False
        try:
            return self._udp.send(self._sender.datagram(packet))
        except VoiceError:  # not in the encrypted group (yet)
            return False

    async def serve(self, *, resume: bool = False) -> Loss:
        """Open a websocket and keep the session on it until it is lost; cancel to stop."""
        websocket = await open_websocket(self._http, self.ticket.endpoint, self._options)
        if websocket is None:
            return Loss(kind=LossKind.UNREACHABLE, since=self._last_sign_if_established())
        self._loss = asyncio.get_running_loop().create_future()
        self._last_sign = time.monotonic()
        self._gateway.open(self._last_sign, resume=resume)
        if not resume:
            self._watch = DeafnessWatch(self._last_sign, careless=self._careless)
        tasks = [
            asyncio.create_task(self._root(work), name=f"voice {name}")
            for name, work in (
                ("reader", self._read(websocket)),
                ("writer", self._write(websocket)),
                ("clock", self._tick()),
            )
        ]
        try:
            return await self._loss
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._gateway.closed()
            self._loss = None
            await shut(websocket, aiohttp.WSCloseCode.OK if self._closed else _RESUMABLE_CLOSE)

    def close(self) -> None:
        """Stop listening: what the socket still holds is taken, what is still parked is dropped with its reason.

        The websocket is `serve`'s, which is to be cancelled by whoever called it.
        """
        if self._closed:
            return
        for timer in (self._silence, self._pulse):
            if timer is not None:
                timer.cancel()
        if self._udp is not None:
            self._udp.close()
        self._closed = True
        self._give(self._inbound.close())

    # the websocket

    async def _root(self, work: Coroutine[Any, Any, None]) -> None:
        """Run one of the tasks of a websocket; nothing escapes, whatever ends it is a loss."""
        try:
            await work
        except VoiceGatewayTimeoutError as error:
            _log.warning("voice_gateway_silent", extra={"error": str(error)})
            self._lose(LossKind.UNRESPONSIVE)
        except (VoiceGatewayError, ParseError) as error:
            _log.warning("voice_gateway_broke_protocol", extra={"error": str(error)})
            self._lose(LossKind.PROTOCOL)
        except Exception:
            _log.exception("voice_connection_failed")
            self._lose(LossKind.PROTOCOL)

    async def _read(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        while not isinstance(message := await receive(websocket), Closed):
            now = self._last_sign = time.monotonic()
            if isinstance(message, str):
                self._gateway.receive_text(message, now)
            else:
                self._gateway.receive_binary(message, now)
            for event in self._gateway.events():
                self._handle(event, now)
            self._outbox.set()
        self._last_sign = time.monotonic()
        self._lose(LossKind.CLOSED, code=message.code)

    async def _write(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        is_open = True
        while is_open:
            await self._outbox.wait()
            self._outbox.clear()
            for message in self._gateway.messages():
                is_open = is_open and await send(websocket, message)

    def _lose(self, kind: LossKind, *, code: int | None = None, since: float | None = None) -> None:
        if self._loss is not None and not self._loss.done():
            self._loss.set_result(Loss(kind=kind, code=code, since=since or self._last_sign_if_established()))

    def _last_sign_if_established(self) -> float | None:
        return self._last_sign if self.established_at is not None else None

    # time

    async def _tick(self) -> None:
        while True:
            now = time.monotonic()
            self._gateway.tick(now)
            self._discover(now)
            if self.is_established:
                self._look_at_channel(now)
                self._watch.unopened(self._inbound.newly_unopened(), now)
                alarm = self._watch.check(now)
                if alarm is not None and self._listener.may_heal(alarm):
                    _log.warning("voice_deaf", extra={"deafness": alarm.deafness.name.lower()})
                    self._lose(LossKind.DEAF, since=alarm.since)
            self._outbox.set()
            await asyncio.sleep(TICK_SECONDS)

    def _beat(self) -> None:
        """What goes on for as long as UDP is open, whether there is a websocket or not."""
        self._pulse = asyncio.get_running_loop().call_later(TICK_SECONDS, self._beat)
        try:
            if self._udp is not None:
                self._udp.drain()  # when this process has stood still, what is missing may have come meanwhile
            now = time.monotonic()
            self._give(self._inbound.expire(now), now)
            if self._udp is not None and self._watch.keepalive_due(now):
                self._keepalives = (self._keepalives + 1) % (1 << 32)
                self._udp.send(KEEPALIVE_HEAD + self._keepalives.to_bytes(4))
        except Exception:  # the root of what the event loop calls
            _log.exception("voice_beat_failed")

    def _discover(self, now: float) -> None:
        """Ask for our address, again and again."""
        if self._udp is None or self._address is None:
            return
        if self._address.has_failed(now):
            self._lose(LossKind.NO_DISCOVERY)
        elif (request := self._address.request(now)) is not None:
            self._udp.send(request)

    def _look_at_channel(self, now: float) -> None:
        if now < self._next_voice_states:
            return
        self._next_voice_states = now + VOICE_STATES_SECONDS
        view = self._listener.channel_view()
        self._watch.voice_states(muted=view.muted, server_deafened=view.deafened)
        present = frozenset(view.present)
        if not present <= self._seen_in_main:
            self._dave_says(self._dave.on_members(self._members()), now)
        self._seen_in_main = present

    # UDP

    def on_datagrams(self, batch: Batch) -> None:
        """Take a batch of the UDP socket."""
        now = time.monotonic()
        try:
            if self._gateway.state is GatewayState.DISCOVERING:
                batch = self._without_answers(batch)
            frames = self._inbound.datagrams(batch)
            if self._inbound.newly_answered():
                self._watch.keepalive_answered()
            self._give(frames, now)
        except Exception:  # the root of what the event loop calls
            _log.exception("voice_datagrams_failed", extra={"datagrams": len(batch)})

    def on_kernel_dropped(self, count: int) -> None:
        """Count what the kernel had no room for."""
        self._ledger.add_kernel_dropped(count)
        _log.warning("voice_kernel_dropped", extra={"datagrams": count})

    def _without_answers(self, batch: Batch) -> Batch:
        """Take answers to IP discovery out of a batch, and choose the transport by the first."""
        if self._address is None or self._ready is None:
            return batch
        others = [item for item in batch if not self._address.take(item[0])]
        for _ in range(len(batch) - len(others)):
            self._inbound.discovery_answer()
        if (answer := self._address.answer) is not None:
            usable = [mode for mode in MODES if mode != self._mode_to_avoid]
            self.mode = next((mode for mode in usable if mode in self._ready.modes), usable[-1])
            self._gateway.select(address=answer.address, port=answer.port, mode=self.mode)
            self._outbox.set()
        return others

    # what the gateway tells

    def _handle(self, event: GatewayEvent, now: float) -> None:
        if self._closed:
            return
        match event:
            case Ready():
                self._open_udp(event, now)
            case Described():
                self._establish(event, now)
            case Resumed():
                self._listener.on_established(resumed=True)
            case SsrcMapped(user_id=user_id, ssrc=ssrc):
                self._give(self._inbound.map_ssrc(ssrc, user_id, now), now)
                self._enter((user_id,), now)
            case SpeakingAnnounced(user_id=user_id, speaking=speaking):
                if user_id != self.ticket.user_id:
                    self._watch.announced(user_id, speaking=speaking, now=now)
            case ClientsConnected(user_ids=user_ids):
                self._enter(user_ids, now)
            case ClientDisconnected(user_id=user_id):
                self._leave(user_id)
            case DaveBinaryReceived(op=op, body=body):
                self._drain()  # a commit may take the keys of what is still in the socket
                self._dave_says(self._dave.on_binary(op, body, self._members()), now)
            case DaveJsonReceived(op=op, data=data):
                self._drain()
                self._dave_says(self._dave.on_json(op, data), now)

    def _open_udp(self, ready: Ready, now: float) -> None:
        self._ready = ready
        if self._udp is not None:
            self._udp.close()
        try:
            self._udp = UdpSocket(ready.ip, ready.port, self)
        except OSError as error:
            _log.warning("voice_udp_failed", extra={"error": type(error).__name__})
            self._lose(LossKind.NO_DISCOVERY)
            return
        self._address = AddressFinder(ready.ssrc, now)
        self._discover(now)
        if self._pulse is None:
            self._beat()

    def _establish(self, described: Described, now: float) -> None:
        ssrc = 0 if self._ready is None else self._ready.ssrc
        cipher = TransportCipher(described.mode, described.key)
        again = self.established_at is not None
        self.mode = described.mode
        self._drain()
        self._sender = OpusSender(ssrc, cipher, self._dave)
        messages = [] if again else self._dave.start(described.dave_version)
        if not again:
            self.established_at = now
            self._listener.on_established(resumed=False)
        self._give(self._inbound.key(cipher, ssrc, now), now)
        self._gateway.announce_speaking()
        self._dave_says(messages, now)
        self._send_silence(SILENCE_FRAMES)

    def _send_silence(self, frames: int) -> None:
        """Servers may send nothing to a client that never sent audio."""
        self.send_opus(opus.SILENCE)
        if frames > 1:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(FRAME_SECONDS, self._send_silence, frames - 1)

    def _enter(self, user_ids: Collection[int], now: float) -> None:
        new = [user_id for user_id in user_ids if user_id not in self._present and user_id != self.ticket.user_id]
        for user_id in new[: MAX_PRESENT - len(self._present)]:
            self._present.add(user_id)
            self._listener.on_speaker(user_id, joined=True)
        if new:
            self._dave_says(self._dave.on_members(self._members()), now)

    def _leave(self, user_id: int) -> None:
        self._drain()
        self._inbound.forget_user(user_id)
        self._watch.gone(user_id)
        if user_id in self._present:
            self._present.discard(user_id)
            self._listener.on_speaker(user_id, joined=False)

    def _members(self) -> Collection[int]:
        return self._present.union(self._listener.channel_view().present)

    def _dave_says(self, messages: Sequence[dave.Message], now: float) -> None:
        for message in messages:
            if isinstance(message, dave.BinaryMessage):
                self._gateway.send_binary(message.op, message.body)
            else:
                self._gateway.send_json(message.op, message.data)
        if self._dave.epoch != self._epoch:
            self._epoch = self._dave.epoch
            self._give(self._inbound.epoch_changed(now), now)
        self._outbox.set()

    def _drain(self) -> None:
        if self._udp is not None:
            self._udp.drain()

    def _give(self, frames: Sequence[OpusFrame], now: float | None = None) -> None:
        if not frames:
            return
        self.last_heard = time.monotonic() if now is None else now
        self._watch.heard(frames, self.last_heard)
        self._listener.on_frames(frames)
