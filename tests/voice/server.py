"""A voice server for tests of the shell: one websocket and one UDP socket on loopback, no end-to-end encryption.

It is no Discord: it does what a test tells it, and writes down what it was told.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.waiting import until

KEY = bytes(range(32))
MODES = ["aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize"]


@dataclass
class Habits:
    """How the server behaves; tests change it at any time."""

    hello: bool = True
    heartbeat_ms: int = 1000
    acks: bool = True
    answers_discovery: int = 0
    """Requests that get no answer."""

    echoes_keepalives: bool = True
    sends_audio: bool = True
    key: bytes = KEY
    dave_version: int = 0
    refuses_identify: int | None = None
    refuses_resume: int | None = None
    modes: list[str] = field(default_factory=lambda: list(MODES))
    greeting: str | None = None
    """Sent instead of HELLO."""


class VoiceServer(asyncio.DatagramProtocol):
    """One client at a time is enough here; the last one that asked for its address is *the* client."""

    def __init__(self) -> None:
        self.habits = Habits()
        self.websockets: list[web.WebSocketResponse] = []
        self.heard: list[dict[str, Any]] = []
        self.heard_binary: list[bytes] = []
        self.datagrams: list[bytes] = []
        self.on_binary: Callable[[bytes], Any] | None = None
        self.endpoint = ""
        self.udp_port = 0
        self.ssrc = 1000
        self._seq = 0
        self._sealed = 0
        self._client: tuple[str, int] | None = None
        self._udp: asyncio.DatagramTransport | None = None

    # UDP

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._udp = cast("asyncio.DatagramTransport", transport)
        self.udp_port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.datagrams.append(data)
        if data[:2] == b"\0\1":
            self._client = addr  # one that it replaces may go on sending for a moment
            if self.habits.answers_discovery > 0:
                self.habits.answers_discovery -= 1
                return
            head = b"\0\2\0\x46" + data[4:8]
            self.send_datagram(head + addr[0].encode().ljust(64, b"\0") + addr[1].to_bytes(2))
        elif len(data) == 8 and self.habits.echoes_keepalives:
            self.send_datagram(data)

    def send_datagram(self, data: bytes) -> None:
        assert self._udp is not None
        self._udp.sendto(data, self._client)

    def speak(self, ssrc: int, opus: bytes, sequence: int) -> None:
        """Send one RTP packet, sealed apart from the code under test."""
        if not self.habits.sends_audio:
            return
        header = b"\x80\x78" + sequence.to_bytes(2) + (sequence * 960).to_bytes(4) + ssrc.to_bytes(4)
        nonce = self._sealed.to_bytes(4)
        self._sealed += 1
        body = AESGCM(self.habits.key).encrypt(nonce + bytes(8), opus, header)
        self.send_datagram(header + body + nonce)

    # websocket

    @property
    def websocket(self) -> web.WebSocketResponse:
        return self.websockets[-1]

    def ops(self) -> list[int]:
        return [message["op"] for message in self.heard if message["op"] != 3]

    async def say(self, op: int, data: Any, **more: Any) -> None:
        await self.websocket.send_str(json.dumps({"op": op, "d": data} | more))

    async def say_next(self, op: int, data: Any) -> None:
        """Say it with the next sequence number."""
        self._seq += 1
        await self.say(op, data, seq=self._seq)

    async def say_binary(self, op: int, body: bytes) -> None:
        self._seq += 1
        await self.websocket.send_bytes(self._seq.to_bytes(2) + bytes((op,)) + body)

    async def close(self, code: int) -> None:
        await self.websocket.close(code=code)

    def cut(self) -> None:
        """End the TCP connection in the middle of everything."""
        transport = self.websocket._req.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.abort()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        assert request.query["v"] == "8"
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        self.websockets.append(websocket)
        if self.habits.greeting is not None:
            await websocket.send_str(self.habits.greeting)
        elif self.habits.hello:
            await self.say(8, {"v": 8, "heartbeat_interval": self.habits.heartbeat_ms})
        async for message in websocket:
            if message.type is WSMsgType.BINARY:
                self.heard_binary.append(message.data)
                if self.on_binary is not None:
                    await self.on_binary(message.data)
                continue
            heard = json.loads(message.data)
            self.heard.append(heard)
            await self._answer(websocket, heard["op"], heard["d"])
        return websocket

    async def _answer(self, websocket: web.WebSocketResponse, op: int, data: Any) -> None:
        habits = self.habits
        if op == 0 and habits.refuses_identify is not None:
            await websocket.close(code=habits.refuses_identify)
        elif op == 0:
            self.ssrc += 1
            await self.say(
                2, {"ssrc": self.ssrc, "ip": "127.0.0.1", "port": self.udp_port, "modes": habits.modes, "extra": 1}
            )
        elif op == 1:
            await self.say(
                4,
                {
                    "mode": data["data"]["mode"],
                    "secret_key": list(habits.key),
                    "dave_protocol_version": habits.dave_version,
                },
            )
        elif op == 3 and habits.acks:
            await self.say(6, {"t": data["t"]})
        elif op == 7 and habits.refuses_resume is not None:
            await websocket.close(code=habits.refuses_resume)
        elif op == 7:
            await self.say(9, None)


@asynccontextmanager
async def voice_server() -> AsyncIterator[VoiceServer]:
    """A server that runs."""
    server = VoiceServer()
    app = web.Application()
    app.router.add_get("/", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.endpoint = f"127.0.0.1:{runner.addresses[0][1]}"
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        for websocket in server.websockets:
            await websocket.close()
        transport.close()
        await runner.cleanup()
        await until(transport.is_closing)
