"""A voice server with real clients over TLS and UDP: who hears what, under every fault that can be commanded."""

import asyncio
import json
import socket
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

import aiohttp
import pytest

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.voice.faults import Direction, Kind, LinkFaults
from discord_recorder.simulator.voice.forwarder import Unused
from discord_recorder.simulator.voice.garbage import Garbage
from discord_recorder.simulator.voice.opus_source import tone
from discord_recorder.simulator.voice.outgoing import Op
from discord_recorder.simulator.voice.rtp import MODES, SILENCE, Shape
from discord_recorder.simulator.voice.speakers import Speaker
from discord_recorder.simulator.voice_port import VoiceAccess
from tests.simulator.voice.conftest import CHANNEL, GUILD, Studio, speaking
from tests.simulator.voice.wires import identity, resumption, selection
from tests.support.waiting import until

A, B, C = 1, 2, 3
SPEECH = [bytes((0xFC, number)) * 30 for number in range(40)]


class Frame(NamedTuple):
    ssrc: int
    sequence: int
    timestamp: int
    opus: bytes | None


def _sent(*speakers: Speaker) -> Counter[Frame]:
    return Counter(Frame(one.ssrc, one.sequence, one.timestamp, one.opus) for each in speakers for one in each.sent)


def _heard(listener: Speaker) -> Counter[Frame]:
    return Counter(Frame(one.ssrc, one.sequence, one.timestamp, one.opus) for one in listener.heard)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [Shape(), Shape(extension=b"", padding_share=1.0, csrcs=2), Shape(padding_bytes=0)])
async def test_everybody_hears_everybody_else_byte_for_byte(studio: Studio, mode: str, shape: Shape) -> None:
    server = await studio.start(shape=shape)
    people = await studio.together(A, B, C, mode=mode)
    speech = tone(440, 0.4)
    await asyncio.gather(*(person.speak(speech) for person in people))
    for person in people:
        others = [one for one in people if one is not person]
        await until(lambda: _heard(person) == _sent(*others))  # noqa: B023 - awaited in its turn
    assert server.packets == (3 * 25, 6 * 25)
    assert server.unused == {}


async def test_churn_costs_a_steady_pair_nothing(studio: Studio) -> None:
    await studio.start()
    speaker, listener = await studio.together(A, B)
    async with speaking(speaker, SPEECH * 20) as spurt:
        for user in range(C, C + 12):
            await studio.join(user)
            if user >= C + 3:
                await studio.people[user - 3].leave()
        await studio.settled(A, B, *range(C + 9, C + 12))
        assert not spurt.done()
        speaker.mute()
        await speaker_is_done(speaker)
        await studio.people[A].leave()
    await until(lambda: _heard(listener) == _sent(speaker))
    assert all(person.connection.dave.resets == 0 for user, person in studio.people.items() if user > C + 8)


async def speaker_is_done(speaker: Speaker) -> None:
    """Muted, and its last silence is sent."""
    await until(lambda: speaker.held_frames > 0)


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        (LinkFaults(loss=0.3), Kind.LOST),
        (LinkFaults(blackhole=True), Kind.BLACKHOLED),
        (LinkFaults(duplicate=0.3), Kind.DUPLICATED),
        (LinkFaults(corrupt=0.3), Kind.CORRUPTED),
        (LinkFaults(reorder=0.3), Kind.REORDERED),
        (LinkFaults(jitter_ms=100), None),
    ],
)
@pytest.mark.parametrize("direction", Direction)
async def test_faults_do_what_their_incidents_say(
    studio: Studio, faults: LinkFaults, kind: Kind | None, direction: Direction
) -> None:
    server = await studio.start()
    speaker, listener, other = await studio.together(A, B, C)
    await speaker.speak(SPEECH[:1])  # davey opens no frame that was sent before the first one it sees of an epoch
    await until(lambda: len(listener.heard) == len(other.heard) == 6)
    for one in (speaker.sent, listener.heard, other.heard):
        one.clear()
    link = server.disturb(A if direction is Direction.UP else B, direction, faults)
    await speaker.speak(SPEECH)
    hit = {one.sequence for one in link.incidents}
    assert set(link.counts) == ({kind} if kind else set())
    assert bool(hit) == bool(kind)
    expected: Counter[Frame] = Counter()
    for frame in _sent(speaker):
        struck = kind if frame.sequence in hit else None
        if struck in (None, Kind.REORDERED, Kind.DUPLICATED):
            expected[frame] += 1
        if struck is Kind.DUPLICATED:  # davey opens a frame once; silence is not encrypted
            expected[frame if frame.opus == SILENCE else frame._replace(opus=None)] += 1
    await until(lambda: _heard(listener) == expected)
    await until(lambda: _heard(other) == (_sent(speaker) if direction is Direction.DOWN else expected))
    server.heal(A)
    server.heal(B)
    before = len(listener.heard)
    await speaker.speak(SPEECH[:3])
    await until(lambda: len(listener.heard) == before + 8)


async def test_late_commits_lose_nothing_that_is_kept(studio: Studio) -> None:
    server = await studio.start()
    speaker, listener = await studio.together(A, B)
    server.delay_websocket(B, 0.4)
    async with speaking(speaker, SPEECH * 2):
        await studio.join(C)
        dave = server.dave(CHANNEL)
        assert dave is not None
        await until(lambda: set(dave.members) == {A, B, C})
        await until(lambda: any(one.opus is None for one in listener.heard))  # of an epoch still to come
    await speaker.speak(SPEECH[:1])  # the last of them opens with what comes after
    await until(lambda: _heard(listener) == _sent(speaker))


async def test_down_and_up_again(studio: Studio) -> None:
    server = await studio.start()
    speaker, listener = await studio.together(A, B)
    server.change_version(CHANNEL, 0)
    await until(lambda: speaker.connection.dave.version == listener.connection.dave.version == 0)
    await speaker.speak(SPEECH[:5])
    assert not any(one.encrypted for one in speaker.sent)
    server.change_version(CHANNEL, 1)
    await studio.settled(A, B)
    await speaker.speak(SPEECH[:5])
    assert [one.encrypted for one in speaker.sent[-10:]] == [True] * 5 + [False] * 5
    await until(lambda: _heard(listener) == _sent(speaker))


async def test_garbage_hurts_nobody_and_arrives(studio: Studio) -> None:
    server = await studio.start()
    speaker, listener = await studio.together(A, B)
    known = speaker.connection.ssrc
    async with speaking(speaker, SPEECH):
        server.send_garbage(B, GUILD, count=5 * len(Garbage))
    await until(lambda: Counter(one for one in _heard(listener).elements() if one[0] == known) == _sent(speaker))
    opened_garbage = [one for one in listener.heard if one.ssrc != known]
    assert len(opened_garbage) == 5 * 3  # video, unknown SSRC, no payload
    with pytest.raises(SimulatorError):
        server.send_garbage(C, GUILD)


async def test_server_mute_and_deafen(studio: Studio) -> None:
    server = await studio.start()
    speaker, listener = await studio.together(A, B)
    server.set_muted(A, GUILD, mute=True, deaf=False)
    await speaker.speak(SPEECH[:3])
    await until(lambda: server.unused == {Unused.MUTED: 8})
    server.set_muted(A, GUILD, mute=False, deaf=False)
    server.set_muted(B, GUILD, mute=False, deaf=True)
    await speaker.speak(SPEECH[:3])
    await until(lambda: server.packets[0] == 16)
    server.set_muted(B, GUILD, mute=False, deaf=False)
    server.set_self_deaf(B, GUILD, deaf=True)
    await speaker.speak(SPEECH[:3])
    await until(lambda: server.packets[0] == 24)
    assert server.packets[1] == 0
    assert listener.heard == []


async def test_a_move_to_another_voice_server(studio: Studio) -> None:
    first = await studio.start()
    second = await studio.start()
    speaker, listener = await studio.together(A, B)
    await speaker.speak(SPEECH[:2])
    for user, person in ((A, speaker), (B, listener)):
        access = studio.access(user, second)
        first.remove(user, GUILD)
        await until(lambda: person.connection.close_code == 4014)  # noqa: B023 - awaited in its turn
        await person.leave()
        await person.join(access)
    await asyncio.gather(speaker.ready(), listener.ready())
    await speaker.speak(SPEECH[:2])
    await until(lambda: _heard(listener) == _sent(speaker))
    assert first.dave(CHANNEL) is None
    assert studio.left == []


class _RawClient:
    """A websocket without any habits."""

    def __init__(self, http: aiohttp.ClientSession, studio: Studio, access: VoiceAccess) -> None:
        self._http, self._studio, self.access = http, studio, access
        self.seq = -1

    async def connect(self) -> aiohttp.ClientWebSocketResponse:
        port = self.access.endpoint.rpartition(":")[2]
        tls = self._studio.certificates.client_context()
        self.websocket = await self._http.ws_connect(f"wss://127.0.0.1:{port}/?v=8", ssl=tls, autoclose=False)
        assert (await self.json())["op"] == Op.HELLO
        return self.websocket

    async def say(self, op: Op, data: object) -> None:
        await self.websocket.send_str(json.dumps({"op": op, "d": data}))

    async def json(self) -> dict[str, object]:
        while (message := await self.websocket.receive()).type is aiohttp.WSMsgType.BINARY:
            self.seq = int.from_bytes(message.data[:2])
        assert message.type is aiohttp.WSMsgType.TEXT, message
        decoded: dict[str, object] = json.loads(message.data)
        self.seq = int(str(decoded.get("seq", self.seq)))
        return decoded

    async def until_op(self, op: Op) -> object:
        while (message := await self.json())["op"] != op:
            pass
        return message["d"]

    async def close_code(self) -> int:
        """How it ends; 1006 when it is cut."""
        while True:
            message = await self.websocket.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                return int(message.data)
            if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR):
                return 1006


async def test_closing_cutting_and_resuming(studio: Studio) -> None:
    server = await studio.start(resume_seconds=30)
    async with aiohttp.ClientSession() as http:
        client = _RawClient(http, studio, studio.access(A))
        ticket = client.access.ticket
        await client.connect()
        await client.say(Op.IDENTIFY, identity(ticket))
        await client.until_op(Op.READY)
        await client.say(Op.SELECT_PROTOCOL, selection())
        await client.until_op(Op.SESSION_DESCRIPTION)

        for end in ("cut", 4015):
            if end == "cut":
                server.cut(A, GUILD)
            else:
                server.close_websocket(A, GUILD, 4015)
            assert await client.close_code() == (1006 if end == "cut" else 4015)
            session = server.session(A, GUILD)
            assert session is not None
            await until(lambda: session.wire is None)  # noqa: B023 - awaited in its turn
            await (other := await studio.join(B)).leave()  # missed, to be told at the resume
            await client.connect()
            await client.say(Op.RESUME, resumption(ticket, client.seq))
            assert (await client.json())["op"] == Op.RESUMED
            assert await client.until_op(Op.CLIENTS_CONNECT) == {"user_ids": [str(B)]}
            assert await client.until_op(Op.CLIENT_DISCONNECT) == {"user_id": str(B)}
            assert not other.is_speaking

        server.close_websocket(A, GUILD, 4006)
        assert await client.close_code() == 4006
        await client.connect()
        await client.say(Op.RESUME, resumption(ticket, client.seq))
        assert await client.close_code() == 4006
        await client.connect()
        await client.say(Op.IDENTIFY, identity(ticket))
        await client.until_op(Op.READY)
        server.close_websocket(A, GUILD, 4022, void_ticket=True)
        assert await client.close_code() == 4022
        await client.connect()
        await client.say(Op.IDENTIFY, identity(ticket))
        assert await client.close_code() == 4004
        with pytest.raises(SimulatorError):
            server.close_websocket(A, GUILD, 4006)
        assert (A, GUILD) not in studio.left


async def test_a_client_that_does_not_answer_a_close_frame_is_cut(studio: Studio) -> None:
    server = await studio.start()
    async with aiohttp.ClientSession() as http:
        client = _RawClient(http, studio, studio.access(A))
        websocket = await client.connect()
        await client.say(Op.IDENTIFY, identity(client.access.ticket))
        await client.until_op(Op.READY)
        server.remove(A, GUILD, 4014)
        assert await client.close_code() == 4014  # nothing is sent back
        with suppress(aiohttp.ClientError):
            message = await websocket.receive()
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_keepalives_discovery_and_strangers(studio: Studio) -> None:
    server = await studio.start()
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        client = _RawClient(http, studio, studio.access(A))
        await client.connect()
        await client.say(Op.IDENTIFY, identity(client.access.ticket))
        ready = await client.until_op(Op.READY)
        assert isinstance(ready, dict)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            udp.connect((ready["ip"], ready["port"]))
            udp.send(b"\x01" * 8)
            await until(lambda: server.unused == {Unused.UNKNOWN_ADDRESS: 1})
            link = server.disturb(A, Direction.DOWN, LinkFaults(loss=1))
            request = bytes.fromhex("00010046") + ready["ssrc"].to_bytes(4) + bytes(66)
            udp.send(request)
            await until(lambda: link.counts[Kind.LOST] == 1)
            server.heal(A)
            udp.send(request)
            answer = await loop.sock_recv(udp, 100)
            assert answer[:8] == bytes.fromhex("00020046") + ready["ssrc"].to_bytes(4)
            assert answer[8:72].rstrip(b"\0") == b"127.0.0.1"
            assert int.from_bytes(answer[72:]) == udp.getsockname()[1]
            udp.send(b"\x02" * 8)
            assert await loop.sock_recv(udp, 100) == b"\x02" * 8
            for datagram in (b"", b"\x80\xc8" + bytes(30), b"\x80\x67" + bytes(60), b"\x80\x78" + bytes(60)):
                udp.send(datagram)
            await until(lambda: server.unused.get(Unused.FOREIGN_SSRC) == 1)
            udp.send(b"\x80\x78" + bytes(6) + ready["ssrc"].to_bytes(4) + bytes(60))
            await until(lambda: server.unused.get(Unused.NOT_AUTHENTIC) == 1)
            assert server.unused[Unused.RTCP] == 1
            assert server.unused[Unused.NOT_OPUS] == 2
        await client.websocket.close(code=1000)
    await until(lambda: studio.left == [(A, GUILD)])


async def test_nothing_is_forwarded_before_a_packet_when_silence_comes_first(studio: Studio) -> None:
    server = await studio.start(silence_first=True)
    speaker, listener = await studio.together(A, B)
    await speaker.speak(SPEECH[:2])
    assert server.packets == (7, 0)
    await listener.speak([])
    assert server.packets == (7, 0)  # no frame, no silence
    await listener.speak(SPEECH[:1])
    await speaker.speak(SPEECH[:2])
    await until(lambda: len(listener.heard) == 7)
    assert len(speaker.heard) == 6
