"""The voice client on a real discord.py, over real sockets on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from typing import Any

import pytest

from discord_recorder.errors import VoiceConnectionError
from discord_recorder.voice import health, receiver, supervisor
from discord_recorder.voice.client import RecorderVoiceClient
from discord_recorder.voice.counters import Outcome
from discord_recorder.voice.ports import ConnectionOptions
from discord_recorder.voice.reconnect import ReconnectPolicy
from discord_recorder.voice.sink import Ended, EndReason, GapReason
from tests.support.waiting import until
from tests.voice.discord_side import CHANNEL, ME, OTHER_CHANNEL, Heard, MainGateway, turns
from tests.voice.server import VoiceServer, voice_server

QUICK = partial(ReconnectPolicy, backoff_seconds=(0.0, 0.02))


def quick_policy(reconnect: bool) -> ReconnectPolicy:
    return QUICK(reconnect=reconnect)


@pytest.fixture
async def server() -> AsyncIterator[VoiceServer]:
    async with voice_server() as made:
        yield made


@pytest.fixture
async def other_server() -> AsyncIterator[VoiceServer]:
    async with voice_server() as made:
        yield made


@pytest.fixture
async def main(server: VoiceServer) -> AsyncIterator[MainGateway]:
    made = MainGateway()
    made.answer = server.endpoint
    yield made
    for voice in made.client.voice_clients:
        await voice.disconnect(force=True)
    await made.client.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


async def join(main: MainGateway, heard: Heard, *, seconds: float = 20, reconnect: bool = True) -> RecorderVoiceClient:
    made = RecorderVoiceClient.into(heard, options=ConnectionOptions(scheme="ws"), policy=quick_policy)
    return await main.channel.connect(cls=made, timeout=seconds, reconnect=reconnect)


_words = count(1)


async def hears(server: VoiceServer, heard: Heard, user_id: int = 77, *, words: int = 3) -> None:
    """Somebody speaks, and is heard with just these words."""
    said = [b"\xfc" + next(_words).to_bytes(4) for _ in range(words)]
    await server.say_next(5, {"user_id": str(user_id), "ssrc": user_id, "speaking": 1})
    for word in said:
        server.speak(user_id, word, int.from_bytes(word[1:]))
    await until(lambda: heard.frames and heard.frames[-1].opus == said[-1])
    frames = [frame for frame in heard.frames if frame.opus in said]
    assert [frame.opus for frame in frames] == said
    assert {frame.user_id for frame in frames} == {user_id}


class TestConnecting:
    async def test_ends_with_audio_flowing(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        voice = await join(main, heard)
        assert voice.is_connected
        assert main.client.voice_clients == [voice]
        assert main.asked == [CHANNEL]
        assert [(segment.number, segment.channel_id) for segment in heard.segments] == [(1, CHANNEL)]
        assert server.heard[0]["d"]["token"] == "token 1"
        assert server.heard[0]["d"]["max_dave_protocol_version"] >= 1
        await hears(server, heard)
        await until(lambda: sum(len(datagram) == 12 + 3 + 16 + 4 for datagram in server.datagrams) == 5)
        assert server.ops() == [0, 1, 5]
        await until(lambda: any(len(datagram) == 8 for datagram in server.datagrams))

        await voice.disconnect(force=False)
        assert heard.ended == [Ended(reason=EndReason.LEFT)]
        assert main.asked == [CHANNEL, None]
        assert main.client.voice_clients == []
        assert heard.gaps == []
        voice.ledger.check()
        assert voice.ledger.counts().stored == 3
        assert voice.ledger.parked == 0

    async def test_takes_the_two_updates_in_either_order(self, main: MainGateway, heard: Heard) -> None:
        main.server_first = True
        voice = await join(main, heard)
        assert voice.is_connected

    async def test_asks_again_for_our_address(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        server.habits.answers_discovery = 2
        voice = await join(main, heard)
        assert voice.is_connected
        assert sum(len(datagram) == 74 for datagram in server.datagrams) == 3

    async def test_takes_another_mode_when_the_best_is_not_offered(
        self, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        server.habits.modes = ["something_new", "aead_xchacha20_poly1305_rtpsize"]
        voice = await join(main, heard)
        assert voice.connection is not None
        assert voice.connection.mode == "aead_xchacha20_poly1305_rtpsize"

    async def test_waits_for_an_endpoint(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        main.answer = None
        joining = asyncio.create_task(join(main, heard))
        await until(lambda: main.tokens == 1)
        main.say_server(server.endpoint)
        assert (await joining).is_connected

    async def test_times_out_in_a_full_channel(self, main: MainGateway, heard: Heard) -> None:
        main.answers_states = False
        with pytest.raises(TimeoutError):
            await join(main, heard, seconds=0.2)
        assert main.client.voice_clients == []
        assert main.asked == [CHANNEL, None]
        assert heard.ended == [Ended(reason=EndReason.LEFT)]

    @pytest.mark.parametrize(
        ("code", "reason"),
        [(4017, EndReason.E2EE_REQUIRED), (4021, EndReason.RATE_LIMITED), (4004, EndReason.REFUSED)],
    )
    async def test_tells_when_it_is_refused(
        self, code: int, reason: EndReason, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        server.habits.refuses_identify = code
        with pytest.raises(VoiceConnectionError, match=str(code)):
            await join(main, heard)
        assert heard.ended == [Ended(reason=reason, close_code=code)]
        assert main.client.voice_clients == []
        assert len(server.websockets) == (2 if code == 4004 else 1)
        assert main.asked[-1] is None

    async def test_chooses_another_mode_once(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        joining = asyncio.create_task(join(main, heard))
        server.habits.dave_version = 0
        answer = server._answer

        async def refuse(websocket: Any, op: int, data: Any) -> None:
            if op == 1 and data["data"]["mode"] == "aead_aes256_gcm_rtpsize":
                await websocket.close(code=4016)
            else:
                await answer(websocket, op, data)

        server._answer = refuse  # type: ignore[method-assign]
        voice = await joining
        assert voice.connection is not None
        assert voice.connection.mode == "aead_xchacha20_poly1305_rtpsize"

    async def test_can_be_cancelled(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        server.habits.hello = False
        joining = asyncio.create_task(join(main, heard))
        await until(lambda: server.websockets)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert main.client.voice_clients == []
        assert heard.ended == [Ended(reason=EndReason.LEFT)]

    async def test_can_be_cancelled_at_any_turn_of_the_event_loop(
        self, main: MainGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervisor, "_POLL_SECONDS", 0.0)
        main.answers_states = False
        for number in range(20):
            main.asked.clear()
            joining = asyncio.create_task(join(main, Heard()))
            await until(lambda: main.asked)
            await turns(number)
            joining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await joining
            assert main.asked == [CHANNEL, None]
        assert main.client.voice_clients == []

    async def test_does_not_retry_when_told_so(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        server.habits.refuses_identify = 4006
        with pytest.raises(VoiceConnectionError):
            await join(main, heard, reconnect=False)
        assert len(server.websockets) == 1


class TestLosses:
    @pytest.mark.parametrize("code", [4015, 4000, None])
    async def test_the_session_is_resumed_and_nothing_is_lost(
        self, code: int | None, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        voice = await join(main, heard)
        await hears(server, heard)
        if code is None:
            server.cut()
        else:
            await server.close(code)
        server.speak(77, b"\xfcbetween", next(_words))  # while there is no websocket
        await until(lambda: heard.frames[-1].opus == b"\xfcbetween")
        await until(lambda: voice.is_connected and len(server.websockets) == 2)
        assert server.ops() == [0, 1, 5, 7]
        assert next(message["d"]["seq_ack"] for message in server.heard if message["op"] == 7) == 1
        await hears(server, heard)
        assert (len(heard.segments), heard.gaps, main.asked) == (1, [], [CHANNEL])

    @pytest.mark.parametrize("code", [4006, 4009])
    async def test_a_dead_session_takes_a_new_voice_state(
        self, code: int, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        await hears(server, heard)
        before = time.monotonic()
        await server.close(code)
        await until(lambda: len(heard.segments) == 2)
        assert main.asked == [CHANNEL, None, CHANNEL]
        assert [reason for _, _, reason in heard.gaps] == [GapReason.SESSION_ENDED]
        start, end, _ = heard.gaps[0]
        assert before <= start < end == heard.segments[1].started
        await hears(server, heard)
        assert not heard.ended

    async def test_a_refused_resume_takes_a_new_voice_state(
        self, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        server.habits.refuses_resume = 4006
        await server.close(4015)
        await until(lambda: len(heard.segments) == 2)
        assert [op for op in server.ops() if op in (0, 7)] == [0, 7, 0]
        await hears(server, heard)

    async def test_a_lost_session_with_a_silent_main_gateway_is_asked_for_again(
        self, main: MainGateway, server: VoiceServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervisor, "JOIN_SECONDS", 0.05)
        await join(main, heard)
        main.answers_states = False
        await server.close(4006)
        await until(lambda: len(main.asked) >= 5)
        main.answers_states = True
        await until(lambda: len(heard.segments) == 2)
        await hears(server, heard)

    async def test_a_slow_main_gateway_that_answers_twice_removes_nobody(
        self, main: MainGateway, server: VoiceServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervisor, "JOIN_SECONDS", 0.05)
        await join(main, heard)
        main.answers_states = False
        await server.close(4006)
        await until(lambda: main.asked == [CHANNEL, None, CHANNEL, None, CHANNEL])
        for _ in range(2):
            main.say_state(ME, None)
            await turns()
            main.say_state(ME, CHANNEL)
            main.say_server(server.endpoint)
            await turns()
        await until(lambda: len(heard.segments) >= 2)
        await hears(server, heard)
        main.say_state(ME, None)  # nobody asked for that
        await until(lambda: heard.ended)
        assert heard.ended == [Ended(reason=EndReason.REMOVED)]

    async def test_unanswered_heartbeats_lead_to_a_resume(
        self, main: MainGateway, server: VoiceServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        voice = await join(main, heard)
        answer = server._answer

        async def better_from_now_on(websocket: Any, op: int, data: Any) -> None:
            if op == 7:
                server.habits.acks = True
                patience.undo()
            await answer(websocket, op, data)

        server._answer = better_from_now_on  # type: ignore[method-assign]
        server.habits.acks = False
        with monkeypatch.context() as patience:
            patience.setattr("discord_recorder.voice.gateway.ACK_SECONDS", 0.1)
            await until(lambda: 7 in server.ops())
        await until(lambda: voice.is_connected)
        await hears(server, heard)
        assert heard.gaps == []

    @pytest.mark.parametrize(
        "nonsense", ["{", '{"op":8,"d":{"heartbeat_interval":5}}', '{"op":2,"d":{}}', '{"op":9}', "[" * 100_000]
    )
    async def test_nonsense_leads_to_a_new_session(
        self, nonsense: str, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        await server.websocket.send_str(nonsense)
        await until(lambda: len(heard.segments) == 2)
        await hears(server, heard)

    async def test_binary_nonsense_leads_to_a_new_session(
        self, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        await server.websocket.send_bytes(b"\0")
        await until(lambda: len(heard.segments) == 2)
        await server.websocket.send_bytes(b"\0" * (2 << 20))
        await until(lambda: len(heard.segments) == 3)
        await hears(server, heard)

    async def test_a_server_that_is_gone_is_asked_for_anew(
        self, main: MainGateway, server: VoiceServer, other_server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        server.habits.greeting = "{"  # for the resume
        main.answer = other_server.endpoint
        server.cut()
        await until(lambda: len(heard.segments) == 2)
        await hears(other_server, heard)


class TestMainGateway:
    async def test_moves_us_to_another_server_in_mid_call(
        self, main: MainGateway, server: VoiceServer, other_server: VoiceServer, heard: Heard
    ) -> None:
        voice = await join(main, heard)
        await hears(server, heard)
        main.say_server(other_server.endpoint)
        await until(lambda: len(heard.segments) == 2)
        await hears(other_server, heard)
        await until(lambda: server.websocket.closed)
        assert [reason for _, _, reason in heard.gaps] == [GapReason.SERVER_MOVED]
        assert main.asked == [CHANNEL]
        voice.ledger.check()
        assert voice.ledger.parked == 0

    async def test_the_old_server_is_heard_until_the_new_one_is_there(
        self,
        main: MainGateway,
        server: VoiceServer,
        other_server: VoiceServer,
        heard: Heard,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(receiver, "PARK_SECONDS", 100.0)
        voice = await join(main, heard)
        await hears(server, heard)
        other_server.habits.hello = False
        main.say_server(other_server.endpoint)
        await until(lambda: other_server.websockets)
        server.speak(99, b"\xfcnobody's", 1)  # nobody says whose it is: parked in the old connection
        await hears(server, heard, words=4)
        assert voice.ledger.parked == 1
        await other_server.say(8, {"heartbeat_interval": 1000})
        await until(lambda: len(heard.segments) == 2)
        assert voice.ledger.parked == 0
        voice.ledger.check()
        assert voice.ledger.counts().lost == 1

    async def test_says_things_twice(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        await join(main, heard)
        main.say_state(ME, CHANNEL)
        main.say_server(server.endpoint, token="token 1")
        await hears(server, heard)
        assert (len(server.websockets), len(heard.segments), heard.gaps) == (1, 1, [])

    async def test_takes_the_server_away_and_gives_another(
        self, main: MainGateway, server: VoiceServer, other_server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        main.say_server(None)
        await until(lambda: server.websocket.closed)
        main.say_server(other_server.endpoint)
        await until(lambda: len(heard.segments) == 2)
        await hears(other_server, heard)
        assert main.asked == [CHANNEL]

    async def test_takes_the_server_away_and_gives_it_back(
        self, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        main.say_server(None)
        await until(lambda: server.websocket.closed)
        main.say_server(server.endpoint, token="token 1")
        await until(lambda: len(heard.segments) == 2)
        await hears(server, heard)
        assert main.asked == [CHANNEL]
        assert [reason for _, _, reason in heard.gaps] == [GapReason.SERVER_MOVED]

    async def test_has_no_server_yet_when_asked_for_one(
        self, main: MainGateway, server: VoiceServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Asking again would not bring it sooner."""
        await join(main, heard)
        monkeypatch.setattr(supervisor, "JOIN_SECONDS", 0.05)
        main.answer = None
        await server.close(4006)
        await until(lambda: main.tokens == 2)
        await asyncio.sleep(0.3)
        main.say_server(server.endpoint)
        await until(lambda: len(heard.segments) == 2)
        assert main.asked == [CHANNEL, None, CHANNEL]
        await hears(server, heard)

    async def test_takes_the_server_away_after_the_connection(
        self,
        main: MainGateway,
        server: VoiceServer,
        other_server: VoiceServer,
        heard: Heard,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(supervisor, "AWAIT_SECONDS", 0.5)
        voice = await join(main, heard)
        await server.close(4014)
        await until(lambda: not voice.is_connected)
        await asyncio.sleep(0.01)
        main.say_server(None)
        await asyncio.sleep(1)
        main.say_server(other_server.endpoint)
        await until(lambda: len(heard.segments) == 2)
        assert main.asked == [CHANNEL]
        await hears(other_server, heard)

    async def test_closes_and_announces_the_same_server_again(
        self, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        await server.close(4014)
        await until(lambda: server.websocket.closed)
        main.say_state(ME, CHANNEL)
        await turns()
        main.say_server(server.endpoint, token="token 1")
        await until(lambda: len(heard.segments) == 2)
        await hears(server, heard)
        assert main.asked == [CHANNEL]

    async def test_a_failed_move_leaves_the_old_server_heard(
        self, main: MainGateway, server: VoiceServer, other_server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        other_server.habits.refuses_identify = 4015
        main.say_server(other_server.endpoint)
        await until(lambda: len(other_server.websockets) >= 1)
        await hears(server, heard)
        other_server.habits.refuses_identify = None
        await until(lambda: len(heard.segments) == 2)

    @pytest.mark.parametrize("code", [4014, 4022])
    async def test_a_kick_ends_it(self, code: int, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        voice = await join(main, heard)
        await server.close(code)
        main.say_state(ME, None)
        await until(lambda: heard.ended)
        assert heard.ended == [Ended(reason=EndReason.REMOVED)]
        await until(lambda: not main.client.voice_clients)
        assert main.asked == [CHANNEL]
        assert voice.ended is not None

    async def test_a_kick_that_is_told_before_the_websocket_closes_ends_it(
        self, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        main.say_state(ME, None)
        await until(lambda: heard.ended)
        assert heard.ended == [Ended(reason=EndReason.REMOVED)]

    async def test_a_move_by_a_moderator_goes_on_in_the_other_channel(
        self, main: MainGateway, server: VoiceServer, other_server: VoiceServer, heard: Heard
    ) -> None:
        voice = await join(main, heard)
        await server.close(4014)
        main.say_state(ME, OTHER_CHANNEL)
        main.say_server(other_server.endpoint)
        await until(lambda: len(heard.segments) == 2)
        assert heard.segments[1].channel_id == OTHER_CHANNEL
        assert voice.channel.id == OTHER_CHANNEL
        await hears(other_server, heard)
        assert main.asked == [CHANNEL]

    async def test_a_move_whose_server_comes_first(
        self, main: MainGateway, server: VoiceServer, other_server: VoiceServer, heard: Heard
    ) -> None:
        await join(main, heard)
        main.say_server(other_server.endpoint)
        main.say_state(ME, OTHER_CHANNEL)
        await until(lambda: heard.segments[-1].channel_id == OTHER_CHANNEL)
        await hears(other_server, heard)

    async def test_a_move_without_a_server_is_asked_about(
        self, main: MainGateway, server: VoiceServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervisor, "MOVE_SECONDS", 0.05)
        await join(main, heard)
        main.say_state(ME, OTHER_CHANNEL)
        await until(lambda: len(heard.segments) == 2)
        assert heard.segments[1].channel_id == OTHER_CHANNEL
        assert main.asked == [CHANNEL, None, OTHER_CHANNEL]
        await hears(server, heard)

    async def test_a_close_that_nobody_explains_leads_to_joining_again(
        self, main: MainGateway, server: VoiceServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervisor, "AWAIT_SECONDS", 0.05)
        await join(main, heard)
        await server.close(4014)
        await until(lambda: len(heard.segments) == 2)
        await hears(server, heard)

    async def test_a_new_session_of_the_main_gateway_is_survived(
        self, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        voice = await join(main, heard)
        main.ready()
        assert main.client.voice_clients == []
        await server.close(4014)
        await until(lambda: len(heard.segments) == 2)
        assert main.client.voice_clients == [voice]
        await hears(server, heard)

    @pytest.mark.parametrize("code", [4006, 4014, 4015])
    async def test_a_guild_that_comes_late_is_waited_for(
        self, code: int, main: MainGateway, server: VoiceServer, heard: Heard
    ) -> None:
        """The rest of the program goes on meanwhile: the very message that is waited for has to be read."""
        voice = await join(main, heard)
        main.ready(with_guild=False)
        server.habits.refuses_resume = 4006
        await server.close(code)
        await until(lambda: server.websocket.closed)
        await asyncio.sleep(0.1)
        main.guild_comes()
        await until(lambda: len(heard.segments) == 2)
        assert main.client.voice_clients == [voice]
        await hears(server, heard)

    async def test_a_main_gateway_that_is_back_ends_the_pause(
        self, main: MainGateway, server: VoiceServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Joining failed while it was away, and would be tried again in a minute."""
        monkeypatch.setitem(QUICK.keywords, "backoff_seconds", (0.0, 60.0))
        await join(main, heard)
        failed = asyncio.Event()

        async def voice_state(*_: Any) -> None:
            failed.set()
            raise ConnectionResetError

        with monkeypatch.context() as away:
            away.setattr(main, "voice_state", voice_state)
            await server.close(4006)
            await failed.wait()
            await turns()
        main.ready()
        await until(lambda: len(heard.segments) == 2)
        await hears(server, heard)

    async def test_being_deafened_is_a_gap(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        await join(main, heard)
        main.say_state(ME, CHANNEL, deaf=True)
        await asyncio.sleep(0.01)
        main.say_state(ME, CHANNEL, deaf=False)
        await until(lambda: heard.gaps)
        assert [reason for _, _, reason in heard.gaps] == [GapReason.DEAFENED]
        await hears(server, heard)


class TestSpeakers:
    async def test_come_and_go(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        voice = await join(main, heard)
        await server.say_next(11, {"user_ids": ["5", "6", str(ME)]})
        await server.say_next(13, {"user_id": "5"})
        await server.say_next(13, {"user_id": "5"})
        await server.say_next(12, {"user_id": "7", "audio_ssrc": 3})
        await until(lambda: len(heard.speakers) == 4)
        assert heard.speakers == [(5, True), (6, True), (5, False), (7, True)]
        assert voice.present == {6, 7}

    async def test_who_left_during_a_gap_is_told(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        await join(main, heard)
        main.say_state(5, CHANNEL)
        main.say_state(6, CHANNEL)
        await server.say_next(11, {"user_ids": ["5", "6"]})
        await until(lambda: len(heard.speakers) == 2)
        await server.close(4006)
        main.say_state(6, None)
        await until(lambda: len(heard.segments) == 2)
        assert heard.speakers == [(5, True), (6, True), (6, False)]


class TestDeafness:
    @pytest.fixture(autouse=True)
    def _quickly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("NOTICE_SECONDS", "PAUSE_SECONDS", "EARLY_SECONDS"):
            monkeypatch.setattr(health, name, getattr(health, name) / 10)

    async def test_nothing_opens(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        voice = await join(main, heard)
        await hears(server, heard)
        server.habits.key = bytes(32)  # not what we were told
        for number in range(1000):
            server.speak(78, b"\xfcspeech", number)
            await asyncio.sleep(0.01)
            if len(heard.segments) == 2:
                break
        assert [reason for _, _, reason in heard.gaps] == [GapReason.DEAF]
        await hears(server, heard)
        assert main.asked == [CHANNEL, None, CHANNEL]
        voice.ledger.check()

    async def test_announced_speech_does_not_come(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        await join(main, heard)
        server.habits.sends_audio = False
        await server.say_next(5, {"user_id": "77", "ssrc": 77, "speaking": 1})
        await until(lambda: len(heard.segments) == 2)
        server.habits.sends_audio = True
        await hears(server, heard)
        assert [reason for _, _, reason in heard.gaps] == [GapReason.DEAF]

    async def test_speech_breaks_off(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        await join(main, heard)
        await hears(server, heard)
        await until(lambda: len(heard.segments) == 2)
        assert [reason for _, _, reason in heard.gaps] == [GapReason.DEAF]
        await hears(server, heard)

    async def test_keepalives_go_unanswered(
        self, main: MainGateway, server: VoiceServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "KEEPALIVE_SECONDS", 0.2)
        monkeypatch.setattr(health, "PROBE_SECONDS", 0.1)
        await join(main, heard)
        await until(lambda: sum(len(datagram) == 8 for datagram in server.datagrams) >= 2)
        server.habits.echoes_keepalives = False
        await until(lambda: len(heard.segments) == 2)
        assert [reason for _, _, reason in heard.gaps] == [GapReason.DEAF]

    async def test_silence_is_not_deafness(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        await join(main, heard)
        await server.say_next(5, {"user_id": "77", "ssrc": 77, "speaking": 1})
        for number, opus in enumerate((b"\xfcspeech", b"\xf8\xff\xfe")):  # at once, however slow this machine is
            server.speak(77, opus, number)
        await until(lambda: heard.frames and heard.frames[-1].opus == b"\xf8\xff\xfe")
        ticks = len([message for message in server.heard if message["op"] == 3])
        await until(lambda: len([message for message in server.heard if message["op"] == 3]) >= ticks + 2)
        assert (len(heard.segments), heard.gaps) == (1, [])


class TestHostile:
    async def test_datagrams_harm_nobody(self, main: MainGateway, server: VoiceServer, heard: Heard) -> None:
        voice = await join(main, heard)
        for size in range(0, 3000, 7):
            server.send_datagram(bytes((0x80, 0x78)) + bytes(size))
            server.send_datagram(bytes(size))
        await hears(server, heard)
        voice.ledger.check()
        assert len(heard.segments) == 1

    async def test_a_sink_that_fails_ends_nothing(
        self, main: MainGateway, server: VoiceServer, heard: Heard, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Heard):
            def on_frames(self, frames: Any) -> None:
                super().on_frames(frames)
                raise RuntimeError("the disk is full")

        broken = Broken()
        voice = await join(main, broken)
        await hears(server, broken)
        await hears(server, broken)
        assert "voice_sink_failed" in caplog.text
        assert len(broken.segments) == 1
        voice.ledger.check()
        counts = voice.ledger.user_counts(77)
        assert (counts.stored, counts.dropped) == (0, {Outcome.NOT_RECORDED: 6})

    async def test_nothing_secret_is_logged(
        self, main: MainGateway, server: VoiceServer, heard: Heard, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG", logger="discord_recorder")
        await join(main, heard)
        await hears(server, heard)
        await server.close(4006)
        await until(lambda: len(heard.segments) == 2)
        records = [str(record.__dict__) for record in caplog.records if record.name.startswith("discord_recorder")]
        assert records
        for secret in ("token 1", "session of", str(KEY_LIST)):
            assert not any(secret in record for record in records)


KEY_LIST = list(range(32))
