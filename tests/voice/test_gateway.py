"""The gateway's state machine, without a socket and in virtual time."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.errors import VoiceGatewayError, VoiceGatewayTimeoutError
from discord_recorder.voice.events import (
    ClientDisconnected,
    ClientsConnected,
    DaveBinaryReceived,
    DaveJsonReceived,
    Described,
    Ready,
    Resumed,
    SpeakingAnnounced,
    SsrcMapped,
    Ticket,
)
from discord_recorder.voice.gateway import ACK_SECONDS, HANDSHAKE_SECONDS, HEARTBEAT_SECONDS, GatewayState, VoiceGateway

TICKET = Ticket(guild_id=7, channel_id=8, user_id=9, session_id="the-session", token="the-token", endpoint="voice:443")
KEY = list(range(32))
NO_INTERVALS: list[Any] = [None, "5000", True, 0, -1, float("nan"), float("inf"), 10**9, []]


def gateway() -> VoiceGateway:
    return VoiceGateway(TICKET, max_dave_version=1)


def say(to: VoiceGateway, op: int, data: Any, *, now: float = 0.0, seq: int | None = None) -> None:
    message = {"op": op, "d": data} | ({} if seq is None else {"seq": seq})
    to.receive_text(json.dumps(message), now)


def said(by: VoiceGateway) -> list[Any]:
    return [json.loads(message) for message in by.messages()]


def is_lost(voice: VoiceGateway, now: float) -> bool:
    try:
        voice.tick(now)
    except VoiceGatewayTimeoutError:
        return True
    return False


def state_of(voice: VoiceGateway) -> GatewayState:
    """The state, read anew."""
    return voice.state


def established() -> VoiceGateway:
    made = gateway()
    made.open(0.0)
    say(made, 8, {"heartbeat_interval": 13750})
    say(made, 2, {"ssrc": 5, "ip": "127.0.0.1", "port": 5000, "modes": ["a"]})
    made.select(address="10.0.0.1", port=40000, mode="a")
    say(made, 4, {"mode": "a", "secret_key": KEY, "dave_protocol_version": 1})
    made.messages()
    made.events()
    return made


class TestHandshake:
    def test_is_identify_ready_select_description(self) -> None:
        voice = gateway()
        voice.open(0.0)
        assert said(voice) == []

        say(voice, 8, {"v": 8, "heartbeat_interval": 13750.5})
        assert said(voice) == [
            {
                "op": 0,
                "d": {
                    "server_id": "7",
                    "user_id": "9",
                    "session_id": "the-session",
                    "token": "the-token",
                    "max_dave_protocol_version": 1,
                },
            }
        ]

        say(voice, 2, {"ssrc": 5, "ip": "127.0.0.1", "port": 5000, "modes": ["a", "b"], "heartbeat_interval": 1})
        assert voice.events() == [Ready(ssrc=5, ip="127.0.0.1", port=5000, modes=("a", "b"))]
        assert state_of(voice) is GatewayState.DISCOVERING

        voice.select(address="203.0.113.4", port=4000, mode="b")
        assert said(voice) == [
            {"op": 1, "d": {"protocol": "udp", "data": {"address": "203.0.113.4", "port": 4000, "mode": "b"}}}
        ]

        say(voice, 4, {"mode": "b", "secret_key": KEY, "dave_protocol_version": 1})
        assert voice.events() == [Described(mode="b", key=bytes(KEY), dave_version=1)]
        assert state_of(voice) is GatewayState.ESTABLISHED

        voice.announce_speaking()
        assert said(voice) == [{"op": 5, "d": {"speaking": 1, "delay": 0, "ssrc": 5}}]

    def test_no_dave_version_means_no_end_to_end_encryption(self) -> None:
        voice = gateway()
        voice.open(0.0)
        say(voice, 8, {"heartbeat_interval": 5000})
        say(voice, 2, {"ssrc": 5, "ip": "::1", "port": 5000, "modes": []})
        voice.select(address="::1", port=1, mode="x")
        say(voice, 4, {"mode": "x", "secret_key": KEY})
        assert voice.events()[-1] == Described(mode="x", key=bytes(KEY), dave_version=0)

    def test_a_second_description_brings_a_new_key(self) -> None:
        voice = established()
        say(voice, 4, {"mode": "a", "secret_key": [1] * 32, "dave_protocol_version": 0})
        assert voice.events() == [Described(mode="a", key=bytes([1] * 32), dave_version=0)]

    @pytest.mark.parametrize(
        ("op", "data"),
        [
            (2, {"ssrc": 5, "ip": "127.0.0.1", "port": 5000, "modes": []}),
            (4, {"mode": "a", "secret_key": KEY}),
            (9, None),
        ],
    )
    def test_a_message_out_of_turn_breaks_the_protocol(self, op: int, data: Any) -> None:
        voice = gateway()
        voice.open(0.0)
        with pytest.raises(VoiceGatewayError):
            say(voice, op, data)

    def test_may_not_last_forever(self) -> None:
        voice = gateway()
        voice.open(10.0)
        say(voice, 8, {"heartbeat_interval": 13750}, now=10.1)
        voice.tick(10.0 + HANDSHAKE_SECONDS - 0.01)
        with pytest.raises(VoiceGatewayTimeoutError):
            voice.tick(10.0 + HANDSHAKE_SECONDS)

    @pytest.mark.parametrize(
        ("op", "data"),
        [
            (8, {}),
            *((8, {"heartbeat_interval": value}) for value in NO_INTERVALS),
            (2, {"ssrc": 5, "ip": "voice.example", "port": 5000, "modes": []}),
            (2, {"ssrc": 1 << 32, "ip": "127.0.0.1", "port": 5000, "modes": []}),
            (2, {"ssrc": 5, "ip": "127.0.0.1", "port": 0, "modes": []}),
            (2, {"ssrc": 5, "ip": "127.0.0.1", "port": 5000, "modes": [1]}),
            (2, {"ssrc": 5, "ip": "127.0.0.1", "port": 5000, "modes": None}),
            (4, {"mode": "a", "secret_key": [0] * 31}),
            (4, {"mode": "a", "secret_key": [256] * 32}),
            (4, {"mode": "a", "secret_key": ["0"] * 32}),
            (4, {"mode": None, "secret_key": KEY}),
            (4, {"mode": "a", "secret_key": KEY, "dave_protocol_version": -1}),
        ],
    )
    def test_nonsense_in_what_matters_breaks_the_protocol(self, op: int, data: Any) -> None:
        voice = gateway()
        voice.open(0.0)
        if op != 8:
            say(voice, 8, {"heartbeat_interval": 13750})
        if op == 4:
            say(voice, 2, {"ssrc": 5, "ip": "127.0.0.1", "port": 5000, "modes": []})
            voice.select(address="10.0.0.1", port=1, mode="a")
        with pytest.raises(VoiceGatewayError) as raised:
            say(voice, op, data)
        assert "256" not in str(raised.value)


class TestHeartbeats:
    def test_carry_the_last_sequence_number(self) -> None:
        voice = established()
        voice.tick(HEARTBEAT_SECONDS - 0.01)
        assert said(voice) == []
        voice.tick(HEARTBEAT_SECONDS)
        assert said(voice) == [{"op": 3, "d": {"t": 4500, "seq_ack": -1}}]
        say(voice, 6, {"t": 4500}, now=4.6)
        say(voice, 11, {"user_ids": ["1"]}, now=5, seq=41)
        voice.receive_binary(bytes((0, 42, 29)) + b"commit", 6)
        voice.tick(9.1)
        assert said(voice) == [{"op": 3, "d": {"t": 9100, "seq_ack": 42}}]

    def test_are_more_frequent_when_the_server_wants_them(self) -> None:
        voice = gateway()
        voice.open(0.0)
        say(voice, 8, {"heartbeat_interval": 1000})
        voice.messages()
        voice.tick(1.0)
        assert [message["op"] for message in said(voice)] == [3]

    def test_unanswered_are_noticed_within_ten_seconds(self) -> None:
        voice = established()
        voice.tick(4.5)
        say(voice, 6, {"t": 4500}, now=4.5)  # the last sign of life
        now = 4.5
        while not is_lost(voice, now):
            now += 0.25
        assert ACK_SECONDS <= now - 4.5 < 10

    def test_answered_go_on(self) -> None:
        voice, sent = established(), 0
        for quarter in range(1, 4 * 3600):
            voice.tick(quarter / 4)
            for message in said(voice):
                assert message["op"] == 3
                sent += 1
                say(voice, 6, {"t": 0}, now=quarter / 4 + 0.2)
        assert sent == pytest.approx(3600 / HEARTBEAT_SECONDS, rel=0.05)


class TestNotices:
    def test_tell_who_is_there_and_whose_stream_is_whose(self) -> None:
        voice = established()
        say(voice, 11, {"user_ids": ["12", "13"]})
        say(voice, 5, {"user_id": "12", "ssrc": 77, "speaking": 1})
        say(voice, 12, {"user_id": "13", "audio_ssrc": 78, "video_ssrc": 0})
        say(voice, 12, {"user_id": "13", "audio_ssrc": 0, "video_ssrc": 3})
        say(voice, 5, {"user_id": "12", "ssrc": 77, "speaking": 0})
        say(voice, 13, {"user_id": "13"})
        assert voice.events() == [
            ClientsConnected(user_ids=(12, 13)),
            SsrcMapped(user_id=12, ssrc=77),
            SpeakingAnnounced(user_id=12, speaking=True),
            SsrcMapped(user_id=13, ssrc=78),
            SsrcMapped(user_id=12, ssrc=77),
            SpeakingAnnounced(user_id=12, speaking=False),
            ClientDisconnected(user_id=13),
        ]

    @pytest.mark.parametrize(
        ("op", "data"),
        [
            (5, {}),
            (5, {"user_id": "x", "ssrc": 1}),
            (5, {"user_id": "1", "ssrc": -1}),
            (5, {"user_id": "1", "ssrc": 1 << 32}),
            (5, {"user_id": "1", "ssrc": 1, "speaking": "yes"}),
            (5, {"user_id": "9" * 5000, "ssrc": 1}),
            (5, {"user_id": str(1 << 64), "ssrc": 1}),
            (11, {"user_ids": "1"}),
            (11, {"user_ids": [None]}),
            (11, {"user_ids": ["1"] * 20_001}),
            (12, {"user_id": "1", "audio_ssrc": 1.5}),
            (13, {"user_id": True}),
            (13, []),
        ],
    )
    def test_without_sense_are_counted_and_harm_nothing(self, op: int, data: Any) -> None:
        voice = established()
        say(voice, op, data)
        assert (voice.events(), voice.rejected_notices) == ([], 1)
        assert state_of(voice) is GatewayState.ESTABLISHED

    def test_of_unknown_kinds_are_ignored(self) -> None:
        voice = established()
        say(voice, 20, {"platform": 0})
        voice.receive_binary(bytes((0, 1, 99)), 0)
        assert (voice.events(), voice.rejected_notices) == ([], 0)


class TestEncryptionMessages:
    def test_pass_through(self) -> None:
        voice = established()
        voice.receive_binary(bytes((1, 2, 27)) + b"proposals", 0)
        say(voice, 21, {"transition_id": 3, "protocol_version": 0})
        assert voice.events() == [
            DaveBinaryReceived(op=27, body=b"proposals"),
            DaveJsonReceived(op=21, data={"transition_id": 3, "protocol_version": 0}),
        ]
        voice.send_binary(26, b"key package")
        voice.send_json(23, {"transition_id": 3})
        assert voice.messages() == [b"\x1akey package", '{"op":23,"d":{"transition_id":3}}']

    @pytest.mark.parametrize("data", [b"", b"\0", b"\0\0"])
    def test_cut_short_break_the_protocol(self, data: bytes) -> None:
        with pytest.raises(VoiceGatewayError):
            established().receive_binary(data, 0)


class TestResume:
    def test_goes_on_after_the_last_sequence_number(self) -> None:
        voice = established()
        say(voice, 11, {"user_ids": ["1"]}, seq=10)
        voice.closed()
        voice.open(5.0, resume=True)
        say(voice, 8, {"heartbeat_interval": 13750}, now=5.0)
        assert said(voice) == [
            {"op": 7, "d": {"server_id": "7", "session_id": "the-session", "token": "the-token", "seq_ack": 10}}
        ]
        voice.events()
        say(voice, 11, {"user_ids": ["1"]}, seq=10)  # the server repeats more than was asked for
        voice.receive_binary(bytes((0, 11, 29)) + b"missed", 5)
        say(voice, 9, None)
        say(voice, 13, {"user_id": "1"}, seq=12)
        assert voice.events() == [DaveBinaryReceived(op=29, body=b"missed"), Resumed(), ClientDisconnected(user_id=1)]
        assert state_of(voice) is GatewayState.ESTABLISHED
        assert voice.seq_ack == 12

    def test_is_none_when_there_was_no_session(self) -> None:
        voice = gateway()
        voice.open(0.0, resume=True)
        say(voice, 8, {"heartbeat_interval": 13750})
        assert [message["op"] for message in said(voice)] == [0]

    def test_sends_nothing_that_was_meant_for_the_old_websocket(self) -> None:
        voice = established()
        voice.send_json(23, {})
        voice.closed()
        assert voice.messages() == []

    def test_numbers_that_come_round_again_are_new(self) -> None:
        voice = established()
        say(voice, 11, {"user_ids": ["1"]}, seq=10)
        voice.closed()
        voice.open(5.0, resume=True)
        say(voice, 8, {"heartbeat_interval": 13750}, now=5.0)
        say(voice, 9, None)
        say(voice, 13, {"user_id": "1"}, seq=11)
        voice.events()
        say(voice, 13, {"user_id": "1"}, seq=10)
        assert voice.events() == [ClientDisconnected(user_id=1)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=30,
)
FIELDS = st.sampled_from(
    [
        *(
            "heartbeat_interval",
            "ssrc",
            "ip",
            "port",
            "modes",
            "secret_key",
            "mode",
            "dave_protocol_version",
            "user_id",
        ),
        *("user_ids", "speaking", "audio_ssrc", "transition_id", "protocol_version", "epoch"),
    ]
)
MESSAGES = st.fixed_dictionaries(
    {"op": st.integers(-1, 40), "d": JSON | st.dictionaries(FIELDS, JSON, max_size=6)}, optional={"seq": JSON}
)


class TestFuzz:
    @given(texts=st.lists(MESSAGES.map(json.dumps) | st.text(max_size=50), max_size=8))
    def test_only_the_documented_error_escapes_from_texts(self, texts: list[str]) -> None:
        for voice in (established(), gateway()):
            for text in texts:
                if voice.state is GatewayState.CLOSED:
                    voice.open(0.0)
                try:
                    voice.receive_text(text, 1.0)
                    voice.tick(1.0)
                except VoiceGatewayError:
                    voice.closed()
                voice.events()

    @given(data=st.binary(max_size=40))
    def test_only_the_documented_error_escapes_from_binaries(self, data: bytes) -> None:
        voice = established()
        try:
            voice.receive_binary(data, 1.0)
        except VoiceGatewayError:
            assert len(data) < 3

    @pytest.mark.parametrize(
        "text", ["[" * 100_000, '{"op":' + "9" * 5000 + "}", "null", "", "5", '{"op":true}', '{"op":5,"seq":-1}']
    )
    def test_hostile_texts_break_the_protocol_and_nothing_else(self, text: str) -> None:
        with pytest.raises(VoiceGatewayError):
            established().receive_text(text, 0)


def test_credentials_and_keys_are_in_no_text() -> None:
    assert "the-token" not in repr(TICKET)
    assert "the-session" not in repr(TICKET)
    assert "\\x01" not in repr(Described(mode="a", key=b"\1" * 32, dave_version=1))
