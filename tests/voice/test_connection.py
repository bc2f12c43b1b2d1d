"""The shell of one connection: end-to-end encryption through it, early datagrams, hostile payloads."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discord_recorder.voice import receiver
from discord_recorder.voice.connection import TICK_SECONDS, VoiceConnection
from discord_recorder.voice.counters import PacketLedger
from discord_recorder.voice.events import Ticket
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.health import Alarm
from discord_recorder.voice.ports import ChannelView, ConnectionOptions
from discord_recorder.voice.reconnect import Loss, LossKind
from tests.support.waiting import until
from tests.voice.delivery import CHANNEL, RECORDER, Delivery, Peer, split_commit
from tests.voice.server import KEY, VoiceServer, voice_server
from tests.voice.test_gateway import MESSAGES


@dataclass
class Listener:
    established: list[bool] = field(default_factory=list)
    frames: list[OpusFrame] = field(default_factory=list)
    speakers: list[tuple[int, bool]] = field(default_factory=list)
    view: ChannelView = field(default_factory=ChannelView)

    def on_established(self, *, resumed: bool) -> None:
        self.established.append(resumed)

    def on_frames(self, frames: Sequence[OpusFrame]) -> None:
        assert self.established
        self.frames += frames

    def on_speaker(self, user_id: int, *, joined: bool) -> None:
        self.speakers.append((user_id, joined))

    def may_heal(self, alarm: Alarm) -> bool:
        return True

    def channel_view(self) -> ChannelView:
        return self.view


@pytest.fixture
async def server() -> AsyncIterator[VoiceServer]:
    async with voice_server() as made:
        yield made


@asynccontextmanager
async def connected(
    server: VoiceServer, listener: Listener, ledger: PacketLedger | None = None
) -> AsyncIterator[tuple[VoiceConnection, asyncio.Task[Loss]]]:
    """A connection that is served."""
    ticket = Ticket(
        guild_id=1, channel_id=CHANNEL, user_id=RECORDER, session_id="s", token="t", endpoint=server.endpoint
    )
    async with aiohttp.ClientSession() as http:
        made = VoiceConnection(
            ticket,
            http=http,
            listener=listener,
            ledger=ledger or PacketLedger(),
            options=ConnectionOptions(scheme="ws"),
        )
        task = asyncio.create_task(made.serve())
        try:
            yield made, task
        finally:
            made.close()
            task.cancel()
            await asyncio.wait({task})


class Remote:
    """The recorder at the far end of the websocket, as a member of the delivery service's group."""

    user_id = RECORDER

    def __init__(self, server: VoiceServer) -> None:
        self._server = server
        self.outgoing: list[tuple[int, bytes]] = []

    def key_package(self) -> bytes:
        return next(message[1:] for message in reversed(self._server.heard_binary) if message[0] == 26)

    def give(self, op: int, body: bytes) -> bytes | None:
        self.outgoing.append((op, body))
        return None

    async def flush(self, *, but: int | None = None) -> None:
        """Send what was given, in order; what has the op `but` is left out."""
        outgoing, self.outgoing = self.outgoing, []
        for op, body in outgoing:
            if op != but:
                await self._server.say_binary(op, body)


class TestEncryption:
    async def test_frames_are_opened_through_a_join_a_late_commit_and_a_leave(self, server: VoiceServer) -> None:
        server.habits.dave_version = 1
        listener, ledger = Listener(), PacketLedger()
        delivery, remote = Delivery(), Remote(server)
        anna, ben, cora = Peer(101), Peer(102), Peer(103)
        delivery.committer = anna.user_id
        delivery.begin(anna, ben)
        said: list[bytes] = []
        numbers = dict.fromkeys((101, 102, 103), 0)

        def speak(peer: Peer) -> None:
            packet, frame = peer.says()
            numbers[peer.user_id] += 1
            said.append(packet)
            server.speak(peer.user_id, frame, numbers[peer.user_id])

        async with connected(server, listener, ledger) as (voice, _):
            await until(lambda: any(message[0] == 26 for message in server.heard_binary))
            await server.say_next(11, {"user_ids": ["101", "102"]})
            for user_id in (101, 102):
                await server.say_next(5, {"user_id": str(user_id), "ssrc": user_id, "speaking": 1})
            delivery.change(joining=[remote])
            await remote.flush()
            await until(lambda: voice.dave_ready)

            speak(anna)
            speak(ben)
            await until(lambda: len(listener.frames) == 2)

            # somebody joins; the others use the new keys before our commit comes
            await server.say_next(11, {"user_ids": ["103"]})
            delivery.change(joining=[cora])
            for peer in (anna, ben, cora):
                speak(peer)
            await until(lambda: ledger.parked == 3)
            await remote.flush()
            await server.say_next(5, {"user_id": "103", "ssrc": 103, "speaking": 1})
            await until(lambda: len(listener.frames) == 5)

            # somebody leaves, and the last words are still on the way
            speak(ben)
            delivery.change(leaving=[102])
            await remote.flush()
            await server.say_next(13, {"user_id": "102"})
            speak(anna)
            await until(lambda: len(listener.frames) == 7)
            assert sorted(frame.opus for frame in listener.frames) == sorted(said)
            assert listener.speakers == [(101, True), (102, True), (103, True), (102, False)]

            commits = [message for message in server.heard_binary if message[0] == 28]
            assert commits  # we offer commits of our own
            assert split_commit(commits[0][1:])
            assert voice.dave_version == 1
        ledger.check()
        assert ledger.counts().lost == 0

    async def test_what_came_while_the_process_stood_still_is_not_late(
        self, server: VoiceServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first frame of a stream comes after the second, and before anybody looks the patience for it is over."""
        monkeypatch.setattr(receiver, "REORDER_SECONDS", 1.0)
        server.habits.dave_version = 1
        listener, ledger = Listener(), PacketLedger()
        delivery, remote, anna, ben = Delivery(), Remote(server), Peer(101), Peer(102)
        delivery.begin(anna, ben)
        async with connected(server, listener, ledger) as (voice, _):
            await until(lambda: any(message[0] == 26 for message in server.heard_binary))
            await server.say_next(11, {"user_ids": ["101", "102"]})
            await server.say_next(5, {"user_id": "101", "ssrc": 101, "speaking": 1})
            delivery.change(joining=[remote])
            await remote.flush()
            await until(lambda: voice.dave_ready)
            (first, sealed_first), (second, sealed_second) = anna.says(), anna.says()
            server.speak(101, sealed_second, 2)
            await until(lambda: ledger.parked == 1 and voice._udp and voice._udp._watching)
            server.speak(101, sealed_first, 1)
            time.sleep(1.0 + TICK_SECONDS)  # noqa: ASYNC251 - the event loop hangs
            await until(lambda: len(listener.frames) == 2)
        assert [frame.opus for frame in listener.frames] == [first, second]
        ledger.check()
        assert ledger.counts().lost == 0

    async def test_we_can_be_heard(self, server: VoiceServer) -> None:
        async with connected(server, Listener()) as (voice, _):
            await until(lambda: len(server.datagrams) >= 6)
            assert voice.send_opus(b"\xfcan announcement")
            await until(lambda: any(len(datagram) == 12 + 16 + 16 + 4 for datagram in server.datagrams))

    async def test_nothing_is_sent_before_there_is_a_key(self, server: VoiceServer) -> None:
        server.habits.hello = False
        async with connected(server, Listener()) as (voice, _):
            await until(lambda: server.websockets)
            assert not voice.send_opus(b"\xfcan announcement")


class TestEarlyDatagrams:
    async def test_wait_for_the_key(self, server: VoiceServer) -> None:
        listener, ledger = Listener(), PacketLedger()
        answer = server._answer

        async def speak_first(websocket: Any, op: int, data: Any) -> None:
            if op == 1:
                for number in range(3):
                    server.speak(77, b"\xfcearly" + bytes((number,)), number)
                await asyncio.sleep(0.1)
                await server.say(5, {"user_id": "77", "ssrc": 77, "speaking": 1})
            await answer(websocket, op, data)

        server._answer = speak_first  # type: ignore[method-assign]
        async with connected(server, listener, ledger):
            await until(lambda: len(listener.frames) == 3)
        ledger.check()
        assert ledger.counts().stored == 3

    async def test_without_a_key_are_counted(self, server: VoiceServer) -> None:
        ledger = PacketLedger()

        async def speak_only(websocket: Any, op: int, data: Any) -> None:
            if op == 1:
                server.speak(77, b"\xfcearly", 1)
                server.send_datagram(b"after")

        answer = server._answer

        async def answer_first(websocket: Any, op: int, data: Any) -> None:
            await (speak_only if op == 1 else answer)(websocket, op, data)

        server._answer = answer_first  # type: ignore[method-assign]
        async with connected(server, Listener(), ledger) as (voice, _):
            await until(lambda: any(message["op"] == 1 for message in server.heard))
            await until(lambda: len(voice._inbound._early) == 2)
        ledger.check()
        assert {outcome.value: count for outcome, count in ledger.counts().dropped.items()} == {
            "discovery": 1,
            "keepalive": ledger.counts().received - 3,
            "no_transport_key": 2,
        }


class TestHandshake:
    async def test_fails_when_nobody_answers_discovery(
        self, server: VoiceServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("discord_recorder.voice.address.RETRY_SECONDS", 0.05)
        server.habits.answers_discovery = 1000
        async with connected(server, Listener()) as (_, task):
            assert (await task).kind is LossKind.NO_DISCOVERY

    async def test_fails_when_the_server_says_nothing(
        self, server: VoiceServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("discord_recorder.voice.gateway.HANDSHAKE_SECONDS", 0.1)
        server.habits.hello = False
        async with connected(server, Listener()) as (_, task):
            assert await task == Loss(kind=LossKind.UNRESPONSIVE)

    async def test_fails_when_nobody_is_there(self, server: VoiceServer) -> None:
        server.endpoint = "127.0.0.1:1"
        async with connected(server, Listener()) as (_, task):
            assert await task == Loss(kind=LossKind.UNREACHABLE)

    @pytest.mark.parametrize("endpoint", ["", ":", "[::", "a b", "host:99999", "host/../\0"])
    async def test_fails_at_an_endpoint_that_is_none(self, endpoint: str, server: VoiceServer) -> None:
        server.endpoint = endpoint
        async with connected(server, Listener()) as (_, task):
            assert (await task).kind is LossKind.UNREACHABLE

    async def test_fails_at_a_mode_that_we_do_not_speak(self, server: VoiceServer) -> None:
        answer = server._answer

        async def choose(websocket: Any, op: int, data: Any) -> None:
            if op == 1:
                data["data"]["mode"] = "plain_text"
            await answer(websocket, op, data)

        server._answer = choose  # type: ignore[method-assign]
        async with connected(server, Listener()) as (_, task):
            assert (await task).kind is LossKind.PROTOCOL


async def test_a_new_key_in_mid_call_keeps_the_speakers(server: VoiceServer) -> None:
    listener, ledger = Listener(), PacketLedger()
    async with connected(server, listener, ledger):
        await until(lambda: listener.established)
        await server.say(5, {"user_id": "77", "ssrc": 77, "speaking": 1})
        server.speak(77, b"\xfcone", 1)
        await until(lambda: len(listener.frames) == 1)
        server.habits.key = bytes(reversed(KEY))
        await server.say(
            4,
            {
                "mode": "aead_aes256_gcm_rtpsize",
                "secret_key": list(server.habits.key),
                "dave_protocol_version": 0,
            },
        )
        await until(lambda: server.ops().count(5) == 2)
        server.speak(77, b"\xfctwo", 2)
        await until(lambda: len(listener.frames) == 2)
    assert listener.established == [False]
    ledger.check()


class TestHostilePayloads:
    @settings(max_examples=25)
    @given(messages=st.lists(MESSAGES | st.binary(max_size=60), min_size=1, max_size=20))
    async def test_end_in_a_loss_or_in_nothing(self, messages: list[Any]) -> None:
        async with voice_server() as server:
            server.habits.heartbeat_ms = 100
            listener = Listener()
            async with connected(server, listener) as (_, task):
                await until(lambda: listener.established)
                for message in messages:
                    if server.websocket.closed:
                        break
                    if isinstance(message, bytes):
                        await server.websocket.send_bytes(message)
                    else:
                        await server.websocket.send_str(json.dumps(message))
                answers = len([message for message in server.heard if message["op"] == 3])
                await until(lambda: task.done() or len([it for it in server.heard if it["op"] == 3]) > answers)
                if task.done():
                    assert task.result().kind in (LossKind.PROTOCOL, LossKind.NO_DISCOVERY)
