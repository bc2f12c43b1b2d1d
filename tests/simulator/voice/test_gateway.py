"""Voice gateway v8 without sockets: handshake, what is told of others, resuming, close codes, time-outs."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.errors import VoiceRefusalError
from discord_recorder.simulator.voice.call import Call
from discord_recorder.simulator.voice.outgoing import Op
from tests.simulator.voice.wires import CHANNEL, GUILD, MODE, NotingWire, Room, identity, resumption, selection

A, B, C = 1001, 1002, 1003


def test_the_handshake() -> None:
    room = Room(heartbeat_interval_ms=1234.5)
    wire = room.identify(room.admit(A))
    assert wire.ops == [Op.HELLO, Op.READY]
    assert wire.told(Op.HELLO) == [{"v": 8, "heartbeat_interval": 1234.5}]
    [ready] = wire.told(Op.READY)
    assert (ready["ip"], ready["port"], ready["modes"][0]) == ("127.0.0.1", 9, MODE)
    room.select(wire)
    assert wire.ops[2:] == [Op.SESSION_DESCRIPTION, Op.EXTERNAL_SENDER]
    [description] = wire.told(Op.SESSION_DESCRIPTION)
    assert len(description["secret_key"]) == 32
    assert (description["mode"], description["dave_protocol_version"]) == (MODE, 1)
    assert wire.sequences == [1, 2, 3]


def test_heartbeats_are_answered_even_before_identify() -> None:
    room, wire = Room(), NotingWire()
    room.say(wire, Op.HEARTBEAT, {"t": 17, "seq_ack": -1})
    assert [json.loads(str(one)) for one in wire.posted] == [{"op": 6, "d": {"t": 17}}]


def test_what_is_told_of_others() -> None:
    room = Room()
    first = room.connect(A)
    second = room.connect(B)
    [ready_a], [ready_b] = first.told(Op.READY), second.told(Op.READY)
    assert first.told(Op.CLIENTS_CONNECT) == [{"user_ids": [str(B)]}]
    assert second.told(Op.CLIENTS_CONNECT) == [{"user_ids": [str(A)]}]
    assert [(one["user_id"], one["audio_ssrc"]) for one in first.told(Op.CLIENT_CONNECT)] == [(str(B), ready_b["ssrc"])]
    assert [(one["user_id"], one["audio_ssrc"]) for one in second.told(Op.CLIENT_CONNECT)] == [
        (str(A), ready_a["ssrc"])
    ]
    assert first.told(Op.SPEAKING) == [{"user_id": str(B), "ssrc": ready_b["ssrc"], "speaking": 0}]
    assert second.told(Op.SPEAKING) == [{"user_id": str(A), "ssrc": ready_a["ssrc"], "speaking": 0}]
    room.sessions.lost(second, goodbye=True, now=room.now)
    assert first.told(Op.CLIENT_DISCONNECT) == [{"user_id": str(B)}]
    assert room.left == [(B, GUILD)]


def test_ssrcs_can_be_told_by_speaking_only() -> None:
    room = Room(tell_ssrcs=False)
    first, second = room.connect(A), room.connect(B)
    assert first.told(Op.CLIENT_CONNECT) == second.told(Op.CLIENT_CONNECT) == []
    assert len(first.told(Op.SPEAKING)) == 1


@pytest.mark.parametrize("field", ["token", "session_id", "user_id", "server_id"])
def test_a_wrong_ticket_is_refused(field: str) -> None:
    room = Room()
    assert room.refused(NotingWire(), Op.IDENTIFY, {**identity(room.admit(A)), field: "9"}) == 4004


def test_refusals_have_their_codes() -> None:
    room = Room()
    wire = room.connect(A)
    assert room.refused(wire, Op.IDENTIFY, identity(room.admit(A))) == 4005
    assert room.refused(wire, 99, {}) == 4001
    assert room.refused(wire, Op.READY, {}) == 4001
    assert room.refused(wire, Op.SELECT_PROTOCOL, selection("xsalsa20_poly1305")) == 4016
    assert room.refused(wire, Op.SELECT_PROTOCOL, {**selection(), "protocol": "webrtc"}) == 4012
    assert room.refused(wire, Op.SELECT_PROTOCOL, {}) == 4002
    assert room.refused(NotingWire(), Op.SPEAKING, {"speaking": 1}) == 4003
    assert room.refused(NotingWire(), Op.RESUME, {}) == 4002
    with pytest.raises(VoiceRefusalError) as refusal:
        room.gateway.text(wire, "{", room.now)
    assert refusal.value.code == 4002
    with pytest.raises(VoiceRefusalError) as refusal:
        room.gateway.binary(wire, b"\x1b", room.now)
    assert refusal.value.code == 4001


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda one: (
            st.lists(one)
            | st.dictionaries(
                st.sampled_from(["op", "d", "t", "seq_ack", "speaking", "transition_id", "protocol", "data", "mode"]),
                one,
            )
        ),
    )
)
def test_no_json_does_more_than_refuse(value: object) -> None:
    room = Room()
    wire = room.connect(A)
    for message in (value, {"op": 3, "d": value}, {"op": 5, "d": value}, {"op": 23, "d": value}, {"op": 1, "d": value}):
        with suppress(VoiceRefusalError):
            room.gateway.text(wire, json.dumps(message), room.now)


@pytest.mark.parametrize("data", [{"speaking": math.inf}, {"speaking": -math.inf}, {"speaking": math.nan}])
def test_numbers_that_are_none_are_refused(data: object) -> None:
    room = Room()
    assert room.refused(room.connect(A), Op.SPEAKING, data) == 4002


def test_there_is_no_version_below_0() -> None:
    room = Room(require_dave=False)
    room.connect(A)
    room.connect(B, version=-1)
    assert room.sessions.calls[CHANNEL].dave.version == 0


def test_a_resume_brings_exactly_what_was_missed() -> None:
    room = Room()
    ticket = room.admit(A)
    wire = room.identify(ticket)
    room.select(wire)
    seen = wire.sequences[-1]
    room.sessions.lost(wire, goodbye=False, now=room.now)
    other = room.connect(B)
    room.say(other, Op.SPEAKING, {"speaking": 1})
    assert wire.sequences[-1] == seen
    again = NotingWire()
    room.resume(again, ticket, seen)
    assert again.ops[0] == Op.RESUMED
    assert again.sequences == list(range(seen + 1, seen + 1 + len(again.sequences)))
    assert again.told(Op.SPEAKING)[-1]["speaking"] == 1
    assert again.told(Op.CLIENTS_CONNECT) == [{"user_ids": [str(B)]}]
    room.say(other, Op.SPEAKING, {"speaking": 0})
    assert again.told(Op.SPEAKING)[-1]["speaking"] == 0
    assert other.told(Op.CLIENT_DISCONNECT) == []


def test_a_resume_after_all_was_acknowledged() -> None:
    room = Room()
    ticket = room.admit(A)
    wire = room.identify(ticket)
    room.select(wire)
    room.say(wire, Op.HEARTBEAT, {"t": 1, "seq_ack": wire.sequences[-1]})
    again = NotingWire()
    room.resume(again, ticket, wire.sequences[-1])  # while the older websocket is still there
    assert again.ops == [Op.RESUMED]
    assert wire.closed
    room.sessions.lost(wire, goodbye=True, now=room.now)  # of the older one: it ends nothing
    room.connect(B)
    assert again.told(Op.CLIENTS_CONNECT) == [{"user_ids": [str(B)]}]


def test_sequence_numbers_wrap_and_can_be_resumed_across() -> None:
    room = Room()
    ticket = room.admit(A)
    wire, other = room.identify(ticket), room.connect(B)
    for _ in range(65_600 - wire.sequences[-1]):
        room.say(other, Op.SPEAKING, {"speaking": 1})
        wire.posted.clear()
    wire_now = 65_600 - 65_536
    room.sessions.lost(wire, goodbye=False, now=room.now)
    again = NotingWire()
    room.resume(again, ticket, 65_530)
    assert again.sequences == [*range(65_531, 65_536), *range(wire_now + 1)]


@pytest.mark.parametrize("change", [{"token": "x"}, {"session_id": "x"}, {"seq_ack": 0}])
def test_resumes_that_cannot_be(change: dict[str, object]) -> None:
    room = Room()
    ticket = room.admit(A)
    wire = room.identify(ticket)
    room.say(wire, Op.HEARTBEAT, {"t": 1, "seq_ack": 1})  # what was acknowledged is gone
    room.sessions.lost(wire, goodbye=False, now=room.now)
    assert room.refused(NotingWire(), Op.RESUME, {**resumption(ticket, 1), **change}) == 4006
    room.resume(NotingWire(), ticket, 1)


def test_a_session_that_nobody_resumes_ends() -> None:
    room = Room(resume_seconds=10)
    wire, other = room.connect(A), room.connect(B)
    room.sessions.lost(wire, goodbye=False, now=room.now)
    room.pass_time(9.9)
    assert room.left == []
    room.say(other, Op.HEARTBEAT, {"t": 1, "seq_ack": -1})
    room.pass_time(0.2)
    assert room.left == [(A, GUILD)]
    assert other.told(Op.CLIENT_DISCONNECT) == [{"user_id": str(A)}]
    assert room.sessions.get(A, GUILD) is None


def test_a_client_without_heartbeats_is_closed_and_then_gone() -> None:
    room = Room(heartbeat_interval_ms=1000, missed_heartbeats=3, resume_seconds=5)
    wire = room.connect(A)
    room.pass_time(2.9)
    assert wire.closed == []
    room.pass_time(0.2)
    assert wire.closed == [4009]
    assert room.left == []
    room.pass_time(5.1)
    assert room.left == [(A, GUILD)]
    assert room.sessions.calls == {}


@pytest.mark.parametrize(
    ("code", "resumable"), [(4015, True), (1006, True), (4006, False), (4014, False), (4022, False)]
)
def test_after_which_codes_a_client_can_resume(code: int, resumable: bool) -> None:
    room = Room()
    ticket = room.admit(A)
    wire = room.identify(ticket)
    session = wire.session
    assert session is not None
    room.sessions.close(session, code, room.now)
    assert wire.closed == [code]
    room.sessions.lost(wire, goodbye=False, now=room.now)
    if resumable:
        room.resume(NotingWire(), ticket, 1)
    else:
        assert room.refused(NotingWire(), Op.RESUME, resumption(ticket, 1)) == 4006
        room.identify(ticket)  # the ticket is still good
    assert room.left == []


def test_removal_voids_the_ticket_and_is_not_reported() -> None:
    room = Room()
    ticket = room.admit(A)
    wire = room.identify(ticket)
    room.sessions.remove(A, GUILD, 4014, room.now)
    room.sessions.lost(wire, goodbye=False, now=room.now)
    assert wire.closed == [4014]
    assert room.refused(NotingWire(), Op.IDENTIFY, identity(ticket)) == 4004
    room.pass_time(100)
    assert room.left == []


def test_identifying_anew_ends_the_older_session() -> None:
    room = Room()
    other, ticket = room.connect(B), room.admit(A)
    older = room.identify(ticket)
    newer = room.identify(ticket)
    assert older.closed == [4006]
    assert other.told(Op.CLIENT_DISCONNECT) == [{"user_id": str(A)}]
    assert len(other.told(Op.CLIENTS_CONNECT)) == 2
    assert older.told(Op.READY)[0]["ssrc"] != newer.told(Op.READY)[0]["ssrc"]
    with pytest.raises(VoiceRefusalError):
        room.say(older, Op.SPEAKING, {"speaking": 1})


def test_a_client_without_dave_is_refused_or_brings_the_call_down() -> None:
    strict = Room()
    assert strict.refused(NotingWire(), Op.IDENTIFY, identity(strict.admit(A), 0)) == 4017

    lenient = Room(require_dave=False)
    able = lenient.connect(A)
    plain = lenient.connect(B, version=0)
    assert plain.told(Op.SESSION_DESCRIPTION)[0]["dave_protocol_version"] == 0
    [down] = able.told(Op.PREPARE_TRANSITION)
    assert down["protocol_version"] == 0
    lenient.say(able, Op.TRANSITION_READY, {"transition_id": down["transition_id"]})
    assert able.told(Op.EXECUTE_TRANSITION) == [{"transition_id": down["transition_id"]}]
    lenient.sessions.lost(plain, goodbye=True, now=lenient.now)
    assert able.told(Op.PREPARE_EPOCH) == [{"protocol_version": 1, "epoch": 1}]


def test_a_channels_version_is_kept_for_the_next_call() -> None:
    room = Room()
    room.sessions.change_version(CHANNEL, 0, room.now)
    assert room.connect(A).told(Op.SESSION_DESCRIPTION)[0]["dave_protocol_version"] == 0


def test_who_listens() -> None:
    room = Room(silence_first=True)
    room.connect(A)
    room.connect(B)
    call, session = room.sessions.calls[CHANNEL], room.sessions.get(A, GUILD)
    assert session is not None
    assert _listeners(call) == []
    room.sessions.found(session, ("127.0.0.1", 1))
    assert _listeners(call) == []
    room.sessions.heard(session)
    assert _listeners(call) == [A]
    room.sessions.set_muted(A, GUILD, mute=False, deaf=True)
    assert _listeners(call) == []
    room.sessions.set_muted(A, GUILD, mute=True, deaf=False)
    assert session.mute
    assert _listeners(call) == [A]
    room.sessions.set_self_deaf(A, GUILD, deaf=True)
    assert _listeners(call) == []


def _listeners(call: Call) -> list[int]:
    return [one.session.user_id for one in call.listeners]
