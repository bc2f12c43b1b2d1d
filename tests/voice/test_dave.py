"""Our side of DAVE, with real `davey` sessions on the others' side and a delivery service of the tests between."""

from collections.abc import Callable

import davey
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.errors import DaveError, ParseError
from discord_recorder.voice import dave as dave_module
from discord_recorder.voice.dave import BinaryMessage, DaveFault, DaveSession, JsonMessage
from discord_recorder.voice.dave_frames import is_encrypted, nonce_of
from tests.voice.delivery import CHANNEL, OPUS, RECORDER, Delivery, Peer, Recorder, split_commit, vector

SILENCE = bytes.fromhex("f8fffe")


class Call:
    """The recorder and two others in a group."""

    def __init__(self, *, committer: int | None = None) -> None:
        self.recorder, self.anna, self.bert = Recorder(), Peer(1), Peer(2)
        self.dave = self.recorder.dave
        self.delivery = Delivery()
        self.delivery.committer = committer
        self.delivery.begin(self.recorder, self.anna, self.bert)

    def hears(self, peer: Peer) -> bool:
        packet, frame = peer.says()
        try:
            return self.dave.decrypt(peer.user_id, frame) == packet
        except DaveError:
            return False


def fault_of(dave: DaveSession, user_id: int, frame: bytes) -> str:
    with pytest.raises(DaveError) as raised:
        dave.decrypt(user_id, frame)
    return raised.value.reason


# into the group


@pytest.mark.parametrize("committer", [RECORDER, 1])
def test_the_first_group_may_be_anybodys_commit(committer: int) -> None:
    call = Call(committer=committer)
    assert call.dave.ready
    assert sorted(call.dave.members) == [1, 2]
    assert call.hears(call.anna)
    assert call.hears(call.bert)


def test_it_is_welcomed_into_a_group_that_is_there() -> None:
    anna, bert, delivery = Peer(1), Peer(2), Delivery()
    delivery.begin(anna, bert)
    recorder = Recorder()
    packet, frame = anna.says()
    assert fault_of(recorder.dave, 1, frame) == DaveFault.NO_GROUP
    before = recorder.dave.epoch
    delivery.change(joining=[recorder])
    assert recorder.dave.epoch > before
    assert fault_of(recorder.dave, 1, frame) == DaveFault.NO_KEY
    packet, frame = anna.says()
    assert recorder.dave.decrypt(1, frame) == packet


def test_a_key_package_is_sent_at_the_start_and_not_in_version_0() -> None:
    dave = DaveSession(RECORDER, CHANNEL)
    [package] = dave.start(1)
    assert isinstance(package, BinaryMessage)
    assert package.op == 26
    assert package.body[:4] == bytes.fromhex("00010002")
    assert DaveSession(RECORDER, CHANNEL).start(0) == []


@pytest.mark.parametrize("version", [-1, dave_module.MAX_VERSION + 1])
def test_a_version_that_is_not_spoken_is_refused(version: int) -> None:
    with pytest.raises(ParseError):
        DaveSession(RECORDER, CHANNEL).start(version)


def test_the_external_sender_may_come_first_and_again() -> None:
    delivery, anna = Delivery(), Peer(1)
    recorder = Recorder(version=0)
    assert recorder.dave.on_binary(25, delivery.external_sender()) == []
    recorder.sent = recorder.dave.start(1)
    delivery.begin(recorder, anna)
    assert recorder.dave.ready
    assert recorder.dave.on_binary(25, delivery.external_sender()) == []
    assert recorder.dave.ready
    assert recorder.dave.resets == 0


# epochs


def test_joins_and_leaves_are_followed() -> None:
    call = Call()
    carl = Peer(3)
    epoch = call.dave.epoch
    call.delivery.change(joining=[carl])
    assert call.hears(carl)
    assert call.hears(call.anna)
    call.delivery.change(leaving=[1])
    assert call.hears(carl)
    assert call.dave.members == [2, 3]
    assert fault_of(call.dave, 1, call.anna.says()[1]) == DaveFault.NOT_A_MEMBER
    call.delivery.change(joining=[Peer(1)], leaving=[2])
    assert call.hears(carl)
    assert call.dave.epoch == epoch + 3
    assert call.dave.resets == call.dave.rejected == 0


def test_our_own_commit_lets_newcomers_in() -> None:
    call = Call(committer=RECORDER)
    carl = Peer(3)
    call.recorder.members = {1, 2, 3}
    call.delivery.change(joining=[carl])
    assert call.hears(carl)


def test_frames_of_an_epoch_to_come_open_after_the_commit() -> None:
    call = Call()
    call.delivery.late.add(RECORDER)
    call.delivery.change(joining=[Peer(3)])
    said = [call.anna.says() for _ in range(20)]
    assert {fault_of(call.dave, 1, frame) for _, frame in said} == {DaveFault.NO_KEY}
    call.delivery.deliver_late()
    assert [call.dave.decrypt(1, frame) for _, frame in said] == [packet for packet, _ in said]


def test_old_keys_go_on_opening_what_comes_late() -> None:
    call = Call()
    said = [call.anna.says() for _ in range(5)]
    first = call.dave.decrypt(1, said[0][1])
    for user_id in (3, 4, 5):
        call.delivery.change(joining=[Peer(user_id)])
    rest = [call.dave.decrypt(1, frame) for _, frame in reversed(said[1:])]
    assert [first, *reversed(rest)] == [packet for packet, _ in said]


def test_davey_opens_nothing_that_was_sent_before_the_first_it_opened() -> None:
    # Why the receiver waits for overtaken frames at the start of an epoch, and tries strangers' first frames first.
    call = Call()
    said = [call.anna.says() for _ in range(2)]
    assert [nonce_of(frame) for _, frame in said] == [1, 2]
    assert call.dave.decrypt(1, said[1][1]) == said[1][0]
    assert fault_of(call.dave, 1, said[0][1]) == DaveFault.NO_KEY


def test_a_frame_opens_once_and_for_its_sender_only() -> None:
    call = Call()
    packet, frame = call.anna.says()
    assert fault_of(call.dave, 2, frame) == DaveFault.NO_KEY
    assert fault_of(call.dave, RECORDER, frame) == DaveFault.NOT_A_MEMBER
    assert fault_of(call.dave, 1, frame[:5] + bytes((frame[5] ^ 1,)) + frame[6:]) == DaveFault.NO_KEY
    assert call.dave.decrypt(1, frame) == packet
    assert fault_of(call.dave, 1, frame) == DaveFault.NO_KEY


@pytest.mark.parametrize("user_id", [0, -1, 1 << 63, 1 << 64])
def test_any_number_may_be_a_sender(user_id: int) -> None:
    call = Call()
    assert fault_of(call.dave, user_id, call.anna.says()[1]) == DaveFault.NOT_A_MEMBER


# transitions


def test_a_transition_is_acknowledged_unless_it_is_at_once() -> None:
    call = Call()
    call.delivery.change(joining=[Peer(3)])
    assert call.recorder.json(23) == []
    call.delivery.transition = 77
    call.delivery.change(joining=[Peer(4)])
    assert call.recorder.json(23) == [JsonMessage(op=23, data={"transition_id": 77})]
    call.dave.on_json(22, {"transition_id": 77})
    assert call.hears(call.anna)


def test_a_downgrade_takes_effect_when_it_is_executed() -> None:
    call = Call()
    states = [(call.dave.version, call.dave.expects_plain)]
    ready = call.dave.on_json(21, {"transition_id": 5, "protocol_version": 0})
    assert ready == [JsonMessage(op=23, data={"transition_id": 5})]
    states.append((call.dave.version, call.dave.expects_plain))
    assert call.dave.encrypt(OPUS) != OPUS
    epoch = call.dave.epoch
    assert call.dave.on_json(22, {"transition_id": 5}) == []
    states.append((call.dave.version, call.dave.expects_plain))
    assert states == [(1, False), (1, True), (0, True)]
    assert call.dave.epoch > epoch
    assert call.dave.encrypt(OPUS) == OPUS
    assert call.hears(call.anna)  # what was under way


def test_a_downgrade_may_be_at_once() -> None:
    call = Call()
    assert call.dave.on_json(21, {"transition_id": 0, "protocol_version": 0}) == []
    assert call.dave.version == 0


def test_a_session_that_began_without_encryption_can_upgrade() -> None:
    recorder, anna, delivery = Recorder(version=0), Peer(1), Delivery()
    assert not recorder.dave.expects_encrypted
    recorder.sent = recorder.dave.on_json(24, {"epoch": 1, "protocol_version": 1, "transition_id": 9})
    assert recorder.dave.version == 0
    delivery.transition = 9
    delivery.begin(recorder, anna)
    assert recorder.json(23) == [JsonMessage(op=23, data={"transition_id": 9})]
    assert recorder.dave.encrypt(OPUS) == OPUS
    recorder.dave.on_json(22, {"transition_id": 9})
    assert recorder.dave.version == 1
    assert not recorder.dave.expects_plain
    assert anna.session.decrypt(RECORDER, davey.MediaType.audio, recorder.dave.encrypt(OPUS)) == OPUS
    packet, frame = anna.says()
    assert recorder.dave.decrypt(1, frame) == packet


def test_an_upgrade_after_a_downgrade_is_a_new_group() -> None:
    call = Call()
    call.dave.on_json(21, {"transition_id": 0, "protocol_version": 0})
    said = call.anna.says()
    call.recorder.sent += call.dave.on_json(24, {"epoch": 1, "protocol_version": 1})
    again = Delivery()
    anna = Peer(1)
    again._key = call.delivery._key
    again.begin(anna, call.recorder)
    assert call.dave.version == 1
    packet, frame = anna.says()
    assert call.dave.decrypt(1, frame) == packet
    assert call.dave.decrypt(1, said[1]) == said[0]  # of the group before


def test_a_later_epoch_is_announced_by_its_commit_alone() -> None:
    call = Call()
    assert call.dave.on_json(24, {"epoch": 2, "protocol_version": 1}) == []
    assert call.hears(call.anna)


# what cannot be processed


def bad_commit(call: Call) -> tuple[int, bytes]:
    return 29, b"\0\x08" + b"no commit"


def bad_welcome(call: Call) -> tuple[int, bytes]:
    return 30, b"\0\x08" + b"no welcome"


def commit_of_a_later_epoch(call: Call) -> tuple[int, bytes]:
    call.delivery.late.add(RECORDER)
    call.delivery.committer = call.anna.user_id
    call.delivery.change(joining=[Peer(3)])
    call.delivery.change(joining=[Peer(4)])
    _, op, body = call.delivery.waiting.pop()
    call.delivery.late.clear()
    return op, b"\0\x08" + body[2:]


@pytest.mark.parametrize("message", [bad_commit, bad_welcome, commit_of_a_later_epoch])
def test_what_costs_our_place_leads_to_a_reset_and_back(message: Callable[[Call], tuple[int, bytes]]) -> None:
    call = Call()
    said = call.anna.says()
    op, body = message(call)
    invalid, package = call.dave.on_binary(op, body)
    assert invalid == JsonMessage(op=31, data={"transition_id": 8})
    assert isinstance(package, BinaryMessage)
    assert package.op == 26
    assert call.dave.resets == 1
    assert call.dave.decrypt(1, said[1]) == said[0]  # the others go on in the old epoch until they hear of it
    call.recorder.sent.append(package)
    call.delivery.change(leaving=[RECORDER], joining=[call.recorder])
    assert call.hears(call.anna)
    assert call.hears(call.bert)
    assert call.dave.resets == 1


@pytest.mark.parametrize("op", [29, 30])
def test_a_message_that_comes_again_changes_nothing(op: int) -> None:
    anna, recorder, delivery = Peer(1), Recorder(), Delivery()
    kept: list[tuple[int, bytes]] = []
    give = recorder.give

    def keeping(number: int, body: bytes) -> bytes | None:
        kept.append((number, body))
        return give(number, body)

    recorder.give = keeping  # type: ignore[method-assign, assignment]
    delivery.begin(anna, recorder)
    delivery.change(joining=[Peer(2)])
    again = next(body for number, body in kept if number == op)
    assert recorder.dave.on_binary(op, again) == []
    packet, frame = anna.says()
    assert recorder.dave.decrypt(1, frame) == packet
    assert recorder.dave.rejected == 1


def test_a_commit_while_we_wait_for_our_welcome_is_not_ours() -> None:
    call = Call()
    call.dave.on_binary(29, b"\0\0nonsense")
    call.delivery.members.pop(RECORDER)
    body = call.anna.give(27, call.delivery.appended([call.delivery.add(Peer(3))]))
    assert body is not None
    assert call.dave.on_binary(29, b"\0\0" + split_commit(body)[0]) == []
    assert call.dave.resets == 1


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (25, b""),
        (25, b"nonsense"),
        (27, b""),
        (27, b"\0"),
        (27, b"\2" + vector(b"")),
        (27, b"\0" + vector(b"nonsense")),
        (27, b"\1" + vector(b"nonsense")),
        (29, b"\0"),
        (30, b""),
        (28, b"ours"),
        (99, b"unknown"),
    ],
)
def test_other_nonsense_is_counted_and_ignored(op: int, body: bytes) -> None:
    call = Call()
    assert call.dave.on_binary(op, body) == []
    assert call.dave.rejected == 1
    assert call.hears(call.anna)
    call.delivery.change(joining=[Peer(3)])
    assert call.hears(call.anna)


def test_alone_in_the_group_nobody_else_could_commit() -> None:
    call = Call(committer=RECORDER)
    call.delivery.change(leaving=[1, 2])
    assert call.dave.members == []
    messages = call.dave.on_binary(27, b"\0nonsense")
    assert [message.op for message in messages] == [31, 26]


def test_another_external_sender_means_another_group() -> None:
    call = Call()
    messages = call.dave.on_binary(25, Delivery().external_sender())
    assert [message.op for message in messages] == [31, 26]


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        None,
        "text",
        {"transition_id": "1", "protocol_version": 1, "epoch": 1.0},
        {"transition_id": -1, "protocol_version": -1, "epoch": -1},
        {"transition_id": True, "protocol_version": True, "epoch": True},
        {"transition_id": 1 << 16, "protocol_version": 99, "epoch": 1},
    ],
)
@pytest.mark.parametrize("op", [21, 22, 24, 23, 0])
def test_json_nonsense_is_counted_and_ignored(op: int, data: object) -> None:
    call = Call()
    assert call.dave.on_json(op, data) == []  # type: ignore[arg-type]
    assert call.dave.rejected == 1
    assert call.hears(call.anna)


def test_an_execute_of_nothing_is_nothing() -> None:
    call = Call()
    assert call.dave.on_json(22, {"transition_id": 3}) == []
    assert call.dave.version == 1


def test_a_flood_of_transitions_is_forgotten() -> None:
    call = Call()
    for transition in range(1, 1000):
        call.dave.on_json(21, {"transition_id": transition, "protocol_version": 0})
    call.dave.on_json(22, {"transition_id": 1})
    assert call.dave.version == 1
    call.dave.on_json(22, {"transition_id": 999})
    assert call.dave.version == 0


# who is let in


def test_nobody_is_let_in_who_is_not_in_the_channel_until_they_are() -> None:
    call = Call()
    call.recorder.members = {1, 2}
    carl = Peer(3)
    carl.give(25, call.delivery.external_sender())
    assert call.recorder.give(27, call.delivery.appended([call.delivery.add(carl)])) is None
    assert call.dave.on_members({1, 2}) == []
    [commit] = call.dave.on_members({1, 2, 3})
    assert isinstance(commit, BinaryMessage)
    call.delivery.members = {RECORDER: call.recorder}
    call.delivery.announce(commit.body, [call.recorder], [carl])
    assert call.hears(carl)


@pytest.mark.parametrize("stranger_first", [False, True])
def test_one_who_is_not_announced_yet_may_come_with_one_who_is(stranger_first: bool) -> None:
    call = Call()
    call.recorder.members = {1, 2, 3}
    carl, dora = Peer(3), Peer(4)
    adds = []
    for peer in (carl, dora):
        peer.give(25, call.delivery.external_sender())
        adds.append(call.delivery.add(peer))
    body = call.delivery.appended(reversed(adds) if stranger_first else adds)
    assert call.recorder.give(27, body) is None
    [commit] = call.dave.on_members({1, 2, 3, 4})
    assert isinstance(commit, BinaryMessage)
    call.delivery.members = {RECORDER: call.recorder}
    call.delivery.announce(commit.body, [call.recorder], [carl, dora])
    assert call.hears(carl)
    assert call.hears(dora)


def test_a_stranger_does_not_keep_out_others_and_can_be_revoked() -> None:
    call = Call(committer=RECORDER)
    call.recorder.members = {1, 2, 3}
    carl, ghost = Peer(3), Peer(666)
    ghost.give(25, call.delivery.external_sender())
    assert call.recorder.give(27, call.delivery.appended([call.delivery.add(ghost)])) is None
    assert call.recorder.give(27, b"\1" + vector(vector(bytes(32)))) is None
    assert call.dave.on_members({1, 2, 3, 666}) == []
    assert call.recorder.give(27, call.delivery.appended([call.delivery.add(ghost)])) is None
    call.delivery.change(joining=[carl])
    assert call.hears(carl)


def test_others_may_let_in_whom_we_do_not_know() -> None:
    call = Call(committer=1)
    call.recorder.members = {1, 2}
    carl = Peer(3)
    call.delivery.change(joining=[carl])
    assert call.hears(carl)
    assert call.hears(call.anna)
    assert call.dave.resets == 0


# what we say


def test_silence_is_never_encrypted() -> None:
    call = Call()
    assert call.dave.encrypt(SILENCE) == SILENCE
    assert Recorder().dave.encrypt(SILENCE) == SILENCE


def test_sound_is_not_sent_in_the_clear_while_there_is_no_group() -> None:
    with pytest.raises(DaveError) as raised:
        Recorder().dave.encrypt(OPUS)
    assert raised.value.reason == DaveFault.NO_GROUP


def test_what_we_say_is_heard() -> None:
    call = Call()
    frame = call.dave.encrypt(OPUS)
    assert is_encrypted(frame)
    assert call.anna.session.decrypt(RECORDER, davey.MediaType.audio, frame) == OPUS


# looks


@pytest.mark.parametrize(
    "frame", [b"", b"\xfa", b"\xfa\xfa", b"\x0c\xfa\xfa", bytes(9) + b"\x0b\xfa\xfa", SILENCE, OPUS]
)
def test_plain_frames_do_not_look_encrypted(frame: bytes) -> None:
    assert not is_encrypted(frame)


def test_the_shortest_encrypted_frame_looks_so() -> None:
    assert is_encrypted(bytes(9) + b"\x0c\xfa\xfa")


@given(st.binary(max_size=300))
def test_anything_can_be_looked_at(frame: bytes) -> None:
    assert not is_encrypted(frame) or frame.endswith(b"\xfa\xfa")


@given(st.binary(max_size=80), st.binary(min_size=12, max_size=200))
def test_any_trailer_has_a_number(sound: bytes, trailer: bytes) -> None:
    frame = sound + trailer + bytes((len(trailer) + 3,)) + b"\xfa\xfa"
    assert is_encrypted(frame)
    assert nonce_of(frame) >= 0


@pytest.mark.parametrize(("coded", "nonce"), [("01", 1), ("7f", 127), ("8001", 128), ("ffffffff0f", 0xFFFFFFFF)])
def test_the_number_is_leb128(coded: str, nonce: int) -> None:
    trailer = bytes(8) + bytes.fromhex(coded)
    assert nonce_of(b"sound" + trailer + bytes((len(trailer) + 3,)) + b"\xfa\xfa") == nonce


# keys stay where they are


def test_nothing_secret_is_shown() -> None:
    recorder = Recorder()
    package = recorder.key_package()
    assert package.hex() not in repr(recorder.sent)
    assert repr(package)[2:40] not in repr(recorder.sent)
