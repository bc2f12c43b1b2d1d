"""A headless voice client: websocket and UDP of its own, on purpose apart from `discord_recorder.voice`."""

import asyncio
import json
import socket
import ssl
from collections import deque
from collections.abc import Callable
from logging import getLogger
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, ClientWSTimeout, WSMsgType

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.voice import rtp
from discord_recorder.simulator.voice.closing import ABNORMAL
from discord_recorder.simulator.voice.outgoing import Op
from discord_recorder.simulator.voice.speaker_dave import SpeakerDave
from discord_recorder.simulator.voice_port import VoiceAccess

CONNECT_SECONDS: Final = 10.0
"""How long the whole handshake may take."""

MAX_OUTBOX: Final = 4096
_DISCOVERY_TRIES: Final = 40
_DISCOVERY_SECONDS: Final = 0.25
_KEEPALIVE_SECONDS: Final = 5.0
_BUFFER_BYTES: Final = 4 << 20
_MAX_DATAGRAM: Final = 4096
_GOODBYE: Final = 1000
_CLOSE_TIMEOUT: Final = ClientWSTimeout(ws_close=0.5)

_log = getLogger(__name__)


class SpeakerConnection:
    """One connection to a voice server, from `open` to `close`; it never comes back by itself.

    `hear`, if given, gets every datagram that is no answer to something else.
    """

    def __init__(
        self,
        access: VoiceAccess,
        *,
        tls: ssl.SSLContext | None,
        mode: str,
        hear: Callable[[bytes], None] | None = None,
        commit_after_seconds: float = 0.0,
    ) -> None:
        ticket = access.ticket
        self._access = access
        self._tls = tls
        self._mode = mode
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[str | bytes] = deque(maxlen=MAX_OUTBOX)
        self._posted = asyncio.Event()
        self._tasks: asyncio.Task[None] | None = None
        self._websocket: ClientWebSocketResponse | None = None
        self._socket: socket.socket | None = None
        self._key: rtp.TransportKey | None = None
        self._seen = -1
        self._heartbeat_seconds = 5.0
        self._described = asyncio.Event()
        self._changed = asyncio.Event()
        self.dave = SpeakerDave(
            ticket.user_id,
            ticket.channel_id,
            send_json=self._send_json,
            send_binary=self._send_binary,
            on_change=self._on_change,
            later=self._loop.call_later,
            commit_after_seconds=commit_after_seconds,
        )
        self.ssrc = 0
        self.users: dict[int, int] = {}
        """User ids by SSRC, as the server told them."""
        self.close_code: int | None = None
        """How the websocket ended; None while it is open."""

    async def open(self) -> None:
        """Connect, and return when audio can be sent; not yet when it can be encrypted, see `wait_ready`.

        Raises:
            SimulatorError: the server refused, or did not answer in time.
        """
        self._tasks = asyncio.create_task(self._run(), name="simulated speaker")
        described = asyncio.create_task(self._described.wait())
        await asyncio.wait((self._tasks, described), timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not self._described.is_set():
            described.cancel()
            await self.close()
            raise SimulatorError(f"the voice server did not let this speaker in (close code {self.close_code})")

    async def close(self) -> None:
        """Say goodbye and end everything."""
        task, self._tasks = self._tasks, None
        if task is None:
            return
        try:
            if self._websocket is not None:
                await self._websocket.close(code=_GOODBYE)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def is_open(self) -> bool:
        """Audio can be sent."""
        return self._key is not None and self._socket is not None and self.close_code is None

    async def wait_ready(self) -> None:
        """Return when frames can be sent as the call demands (see `SpeakerDave.ready`), or the connection has ended."""
        while not self.dave.ready and self.close_code is None:
            self._changed.clear()
            await self._changed.wait()

    def announce(self, *, speaking: bool) -> None:
        """Send SPEAKING."""
        self._send_json(Op.SPEAKING, {"speaking": int(speaking), "delay": 0, "ssrc": self.ssrc})

    def send(self, sequence: int, timestamp: int, payload: bytes) -> bool:
        """Send a packet; False when it could not leave."""
        if self._key is None or self._socket is None:
            return False
        try:
            self._socket.send(self._key.seal(rtp.header(sequence, timestamp, self.ssrc), payload))
        except OSError:
            return False
        return True

    def unseal(self, datagram: bytes) -> bytes | None:
        """The payload of a packet from the server; None when it is not one."""
        return None if self._key is None else self._key.open(datagram)

    async def _run(self) -> None:
        try:
            await self._connect()
        except (OSError, ClientError):
            _log.debug("A simulated speaker could not connect")
        except Exception:
            _log.exception("A simulated speaker's connection has failed")
        finally:
            self.close_code = self.close_code or ABNORMAL
            self.dave.close()
            if self._socket is not None:
                self._loop.remove_reader(self._socket)
                self._socket.close()
                self._socket = None
            self._on_change()

    async def _connect(self) -> None:
        port = int(self._access.endpoint.rpartition(":")[2])
        scheme = "ws" if self._tls is None else "wss"
        url = f"{scheme}://127.0.0.1:{port}/?v=8"
        async with (
            ClientSession() as http,
            http.ws_connect(url, ssl=self._tls or True, max_msg_size=0, timeout=_CLOSE_TIMEOUT) as websocket,
            asyncio.TaskGroup() as tasks,
        ):
            self._websocket = websocket
            helpers = [tasks.create_task(self._write(websocket)), tasks.create_task(self._keep_alive())]
            try:
                await self._read(websocket, tasks)
            finally:
                self.close_code = websocket.close_code or _GOODBYE
                for helper in helpers:
                    helper.cancel()

    async def _read(self, websocket: ClientWebSocketResponse, tasks: asyncio.TaskGroup) -> None:
        ticket = self._access.ticket
        self._send_json(
            Op.IDENTIFY,
            {
                "server_id": str(ticket.guild_id),
                "user_id": str(ticket.user_id),
                "session_id": ticket.session_id,
                "token": ticket.token,
                "max_dave_protocol_version": 1,
            },
        )
        async for message in websocket:
            if message.type is WSMsgType.BINARY:
                self._seen = int.from_bytes(message.data[:2])
                self.dave.binary(message.data[2], message.data[3:])
            elif message.type is WSMsgType.TEXT:
                decoded = json.loads(message.data)
                self._seen = decoded.get("seq", self._seen)
                data = decoded["d"]
                if decoded["op"] == Op.READY:
                    tasks.create_task(self._discover(data))
                else:
                    self._handle(decoded["op"], data)

    def _handle(self, op: int, data: dict[str, Any]) -> None:
        match op:
            case Op.HELLO:
                self._heartbeat_seconds = min(data["heartbeat_interval"] / 1000, self._heartbeat_seconds)
            case Op.SESSION_DESCRIPTION:
                self._key = rtp.TransportKey(data["mode"], bytes(data["secret_key"]))
                self.announce(speaking=False)
                self.dave.start(data["dave_protocol_version"])
                self._described.set()
            case Op.SPEAKING:
                self.users[data["ssrc"]] = int(data["user_id"])
            case Op.CLIENT_CONNECT:
                self.users[data["audio_ssrc"]] = int(data["user_id"])
            case _:
                self.dave.json(op, data)

    async def _discover(self, ready: dict[str, Any]) -> None:
        self.ssrc = ready["ssrc"]
        self._socket = udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setblocking(False)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        udp.connect((ready["ip"], ready["port"]))
        request = bytes.fromhex("00010046") + self.ssrc.to_bytes(4) + bytes(66)
        for _ in range(_DISCOVERY_TRIES):
            udp.send(request)
            try:
                async with asyncio.timeout(_DISCOVERY_SECONDS):
                    while (answer := await self._loop.sock_recv(udp, _MAX_DATAGRAM))[:2] != b"\x00\x02":
                        pass
            except TimeoutError:
                continue
            address = {"address": answer[8:72].rstrip(b"\0").decode(), "port": int.from_bytes(answer[72:74])}
            self._send_json(Op.SELECT_PROTOCOL, {"protocol": "udp", "data": {**address, "mode": self._mode}})
            self._loop.add_reader(udp, self._drain)
            return
        raise SimulatorError("the voice server answers no IP discovery")

    def _drain(self) -> None:
        for _ in range(256):
            try:
                datagram = self._socket.recv(_MAX_DATAGRAM) if self._socket is not None else b""
            except OSError:
                return
            if self._hear is not None and len(datagram) > rtp.HEADER_BYTES:
                self._hear(datagram)

    async def _keep_alive(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(min(self._heartbeat_seconds, _KEEPALIVE_SECONDS))
            count += 1
            self._send_json(Op.HEARTBEAT, {"t": count, "seq_ack": self._seen})
            if self._socket is not None:
                try:
                    self._socket.send(count.to_bytes(8))
                except OSError:
                    _log.debug("A keepalive could not be sent")

    async def _write(self, websocket: ClientWebSocketResponse) -> None:
        while True:
            while not self._outbox:
                self._posted.clear()
                await self._posted.wait()
            message = self._outbox.popleft()
            try:
                if isinstance(message, str):
                    await websocket.send_str(message)
                else:
                    await websocket.send_bytes(message)
            except ConnectionError:
                return

    def _send_json(self, op: Op, data: dict[str, Any]) -> None:
        self._outbox.append(json.dumps({"op": int(op), "d": data}))
        self._posted.set()

    def _send_binary(self, op: Op, body: bytes) -> None:
        self._outbox.append(op.to_bytes(1) + body)
        self._posted.set()

    def _on_change(self) -> None:
        self._changed.set()
