"""From datagrams to frames when all keys and owners are known, and what is dropped for which reason."""

from typing import Final

import davey
import pytest

from discord_recorder.errors import DaveError
from discord_recorder.voice import receiver as receiver_module
from discord_recorder.voice.counters import Outcome, PacketLedger
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.receiver import Receiver
from discord_recorder.voice.replay import WINDOW
from discord_recorder.voice.sender import OpusSender
from discord_recorder.voice.transport import MODES, TransportCipher
from tests.voice.delivery import OPUS, RECORDER, Delivery, Peer, Recorder
from tests.voice.packets import KEY, SILENCE, datagram, rtp_head, sealed
from tests.voice.wire import Scene

MEDIA: Final = davey.MediaType.audio


def test_a_frame_comes_out_as_it_was_sent() -> None:
    scene = Scene()
    [wire] = scene.anna.speaks()
    assert scene.hear(wire) == [
        OpusFrame(user_id=1, ssrc=1001, sequence=100, timestamp=5000, opus=scene.anna.said[0], arrived=scene.now)
    ]
    assert scene.end() == {}


def test_speakers_do_not_mix_and_numbers_wrap() -> None:
    scene = Scene()
    for _ in range(20):
        scene.hear(*scene.anna.speaks(), *scene.bert.speaks())
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.got(scene.bert) == scene.bert.said
    mine = [frame for frame in scene.frames if frame.user_id == 2]
    assert [frame.sequence for frame in mine] == [(65_530 + n) % 65_536 for n in range(20)]
    assert [frame.timestamp for frame in mine] == [((1 << 32) - 3000 + 960 * n) % (1 << 32) for n in range(20)]
    assert scene.end() == {}


def test_silence_is_kept_although_it_is_plain() -> None:
    scene = Scene(accept_plain=False)
    scene.hear(*scene.anna.speaks(), *scene.anna.is_silent(5))
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.counts.plain == 0
    assert scene.end() == {}


def test_empty_packets_are_told_apart() -> None:
    scene = Scene()
    scene.hear(
        datagram(b"", ssrc=1001, sequence=100, padding=20), scene.anna.packet(scene.anna.peer.session.encrypt_opus(b""))
    )
    assert scene.end() == {Outcome.EMPTY: 1, Outcome.DUPLICATE: 1}
    scene = Scene()
    scene.hear(scene.anna.packet(scene.anna.peer.session.encrypt_opus(b"")))
    assert scene.end() == {Outcome.EMPTY: 1}


# what is not ours


def test_each_datagram_that_is_no_sound_has_its_counter() -> None:
    scene = Scene()
    scene.hear(
        b"",
        b"\x80",
        b"\x80\x78",
        bytes(8),
        b"\x80\x78keep!!",
        b"\0\2\0\x46" + bytes(70),
        bytes((0x81, 201)) + bytes(30),
        datagram(b"camera", payload_type=101),
        datagram(b"screen", payload_type=103, marker=True),
        datagram(b"our own", ssrc=1009),
        datagram(b"other key", key=bytes(32)),
        sealed("aead_aes256_gcm_rtpsize", KEY, rtp_head(extension_words=9), b"short", bytes(4)),
        b"\x40\x78" + bytes(60),
        bytes(60),
    )
    assert scene.end() == {
        Outcome.MALFORMED: 6,
        Outcome.KEEPALIVE: 2,
        Outcome.DISCOVERY: 1,
        Outcome.RTCP: 1,
        Outcome.OTHER_PAYLOAD: 2,
        Outcome.OWN: 1,
        Outcome.FORGED: 1,
    }
    assert scene.counts.lost == 7


def test_our_own_stream_is_known_by_its_announcement_too() -> None:
    scene = Scene()
    scene.hear(datagram(SILENCE, ssrc=55))
    scene.keep(scene.receiver.map_ssrc(55, RECORDER, scene.now))
    scene.hear(datagram(SILENCE, ssrc=55, sequence=2))
    assert scene.frames == []
    assert scene.end() == {Outcome.OWN: 2}


# duplicates and replays


def test_a_packet_counts_once() -> None:
    scene = Scene()
    wires = [*scene.anna.speaks(3), *scene.anna.is_silent(2), *scene.anna.speaks_plainly(2)]
    scene.hear(*wires)
    scene.hear(*wires, *reversed(wires))
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {Outcome.DUPLICATE: 14}


def test_packets_that_overtook_each_other_all_come_out() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks())
    wires = scene.anna.speaks(10)
    scene.hear(*[wires[n] for n in (1, 0, 4, 3, 2, 9, 8, 7, 6, 5)])
    assert sorted(scene.got(scene.anna)) == sorted(scene.anna.said)
    assert scene.end() == {}


def test_a_replay_from_long_ago_does_not_come_out() -> None:
    scene = Scene()
    old = scene.anna.is_silent()
    scene.hear(*old, *scene.anna.speaks(WINDOW + 1))
    scene.hear(*old)
    scene.later(3.0)
    scene.hear(*scene.anna.speaks())
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {Outcome.TOO_OLD: 1}


def test_a_sender_may_begin_its_numbers_anew() -> None:
    scene = Scene()
    scene.anna.sequence = 40_000
    scene.hear(*scene.anna.speaks(3))
    scene.anna.sequence = 20_000
    scene.hear(*scene.anna.speaks(1))
    assert scene.receiver.parked == 1
    scene.hear(*scene.anna.speaks(3))
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {}


def test_a_lone_packet_from_far_behind_is_dropped_for_the_next_one() -> None:
    scene = Scene()
    scene.anna.sequence = 40_000
    scene.hear(*scene.anna.is_silent())
    for sequence in (30_000, 30_000, 20_000):
        scene.hear(datagram(SILENCE, ssrc=1001, sequence=sequence))
    assert len(scene.frames) == 1
    assert scene.end() == {Outcome.DUPLICATE: 1, Outcome.TOO_OLD: 2}


# plain frames


def test_plain_opus_of_a_known_speaker_is_taken_and_counted_apart() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks_plainly(3))
    assert scene.got(scene.anna) == scene.anna.said
    assert (scene.counts.stored, scene.counts.plain) == (3, 3)
    assert scene.receiver.ledger.user_counts(1).plain == 3
    assert scene.receiver.ledger.user_counts(2).plain == 0
    assert scene.end() == {}


def test_plain_bytes_that_are_no_opus_are_dropped() -> None:
    scene = Scene()
    scene.hear(scene.anna.packet(b"\xff"), scene.anna.packet(b"\xfa\x01"))
    assert scene.end() == {Outcome.NOT_OPUS: 2}


def test_plain_frames_can_be_refused() -> None:
    scene = Scene(accept_plain=False)
    scene.hear(*scene.anna.speaks_plainly(3), *scene.anna.speaks(1))
    assert scene.got(scene.anna) == scene.anna.said[3:]
    assert scene.end() == {Outcome.PLAIN_REFUSED: 3}


# versions


def test_without_encryption_everything_passes_whatever_it_looks_like() -> None:
    scene = Scene(version=0, accept_plain=False)
    looks_encrypted = bytes(20) + b"\x0c\xfa\xfa"
    scene.hear(*scene.anna.speaks_plainly(3), scene.anna.packet(looks_encrypted))
    assert scene.got(scene.anna) == [*scene.anna.said, looks_encrypted]
    assert scene.counts.plain == 0
    assert scene.end() == {}


def test_a_downgrade_and_the_next_upgrade_lose_nothing() -> None:
    scene = Scene(accept_plain=False)
    dave, anna = scene.recorder.dave, scene.anna
    scene.hear(*anna.speaks(2))
    late = anna.speaks(2)
    dave.on_json(21, {"transition_id": 4, "protocol_version": 0})
    scene.hear(*anna.speaks_plainly(2))
    scene.hear(*late)
    dave.on_json(22, {"transition_id": 4})
    scene.hear(*anna.speaks_plainly(2))
    scene.recorder.sent += dave.on_json(24, {"epoch": 1, "protocol_version": 1})
    anna.peer.renew()
    again = Delivery()
    again.transition = 5
    again.begin(anna.peer, scene.recorder)
    late = anna.speaks_plainly(2)
    scene.hear(*anna.speaks(2))
    scene.hear(*late)
    dave.on_json(22, {"transition_id": 5})
    scene.hear(*anna.speaks(2))
    assert sorted(scene.got(anna)) == sorted(anna.said)
    assert scene.end() == {}


def test_plain_frames_are_refused_after_an_upgrade() -> None:
    scene = Scene(version=0, accept_plain=False)
    scene.hear(*scene.anna.speaks_plainly())
    scene.recorder.sent += scene.recorder.dave.on_json(24, {"epoch": 1, "protocol_version": 1})
    scene.delivery.begin(scene.recorder, scene.anna.peer, scene.bert.peer)
    scene.hear(*scene.anna.speaks_plainly(), *scene.anna.speaks())
    assert scene.got(scene.anna) == [scene.anna.said[0], scene.anna.said[2]]
    assert scene.end() == {Outcome.PLAIN_REFUSED: 1}


# the map


@pytest.mark.parametrize(("ssrc", "user_id"), [(-1, 1), (1 << 32, 1), (5, 0), (5, -1), (5, 1 << 64)])
def test_impossible_announcements_are_ignored(ssrc: int, user_id: int) -> None:
    scene = Scene()
    scene.keep(scene.receiver.map_ssrc(ssrc, user_id, scene.now))
    assert scene.receiver.ssrcs == {1001: 1, 1002: 2}


def test_a_flood_of_announcements_takes_no_more_memory_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "MAX_STREAMS", 50)
    scene = Scene()
    for ssrc in range(5000, 5500):
        scene.keep(scene.receiver.map_ssrc(ssrc, 77, scene.now))
    assert len(scene.receiver.ssrcs) == 50
    scene.map(scene.anna)
    scene.hear(*scene.anna.speaks())
    assert scene.got(scene.anna) == scene.anna.said


def test_the_last_frames_of_one_who_left_are_taken() -> None:
    scene = Scene()
    wires = scene.anna.speaks(4)
    scene.hear(*wires[:2])
    scene.receiver.forget_user(1)
    scene.later(0.1)
    scene.hear(*wires[2:])
    assert scene.got(scene.anna) == scene.anna.said
    scene.later(1.0)
    assert 1001 in scene.receiver.ssrcs
    scene.later(2.0)
    assert scene.receiver.ssrcs == {1002: 2}
    assert scene.end() == {}


def test_one_who_left_and_is_announced_again_stays() -> None:
    scene = Scene()
    scene.receiver.forget_user(1)
    scene.later(0.1)
    scene.map(scene.anna)
    scene.later(5.0)
    assert scene.receiver.ssrcs == {1001: 1, 1002: 2}


def test_a_rejoin_brings_a_new_ssrc_to_the_same_user() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks(2))
    scene.receiver.forget_user(1)
    scene.anna.ssrc, scene.anna.sequence = 9999, 7
    scene.map(scene.anna)
    scene.delivery.change(joining=[Peer(3)])
    scene.hear(*scene.anna.speaks(2))
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {}


# the ledger


def test_counts_are_kept_for_each_speaker() -> None:
    scene = Scene()
    wires = [*scene.anna.speaks(3), *scene.bert.speaks(2)]
    scene.hear(*wires, wires[0], b"garbage")
    counts = {user: scene.receiver.ledger.user_counts(user) for user in (1, 2)}
    assert [(counts[user].received, counts[user].stored) for user in (1, 2)] == [(4, 3), (2, 2)]
    assert counts[1].dropped == {Outcome.DUPLICATE: 1}
    assert scene.counts.received == 7


def test_a_ledger_outlives_its_connections() -> None:
    ledger = PacketLedger()
    for _ in range(3):
        scene = Scene()
        receiver = Receiver(TransportCipher(MODES[0], KEY), scene.recorder.dave, ledger=ledger)
        receiver.map_ssrc(scene.anna.ssrc, 1, scene.now)
        receiver.datagrams([(wire, scene.now) for wire in scene.anna.speaks(5)])
        receiver.datagrams([(datagram(SILENCE, ssrc=77), scene.now)])
        receiver.close()
        ledger.check()
    assert ledger.user_counts(1).stored == 15
    assert ledger.counts().dropped == {Outcome.UNKNOWN_SSRC: 3}


# our own voice


@pytest.mark.parametrize("mode", MODES)
def test_what_we_send_is_received(mode: str) -> None:
    scene = Scene()
    dave = scene.recorder.dave
    sender = OpusSender(77, TransportCipher(mode, KEY), dave, sequence=0xFFFF, timestamp=(1 << 32) - 960)
    packets = [SILENCE, OPUS, OPUS + b"more"]
    opened = [TransportCipher(mode, KEY).open(sender.datagram(packet)) for packet in packets]
    assert [(it.sequence, it.timestamp, it.ssrc, it.payload_type) for it in opened] == [
        (0xFFFF, (1 << 32) - 960, 77, 120),
        (0, 0, 77, 120),
        (1, 960, 77, 120),
    ]
    assert opened[0].payload == SILENCE
    hears = scene.anna.peer.session
    assert [hears.decrypt(RECORDER, MEDIA, it.payload) for it in opened] == packets


def test_a_packet_that_cannot_be_encrypted_yet_uses_up_nothing() -> None:
    sender = OpusSender(77, TransportCipher(MODES[0], KEY), Recorder().dave, sequence=5, timestamp=6)
    with pytest.raises(DaveError):
        sender.datagram(OPUS)
    packet = TransportCipher(MODES[0], KEY).open(sender.datagram(SILENCE))
    assert (packet.sequence, packet.timestamp) == (5, 6)


def test_a_stream_begins_at_random_numbers() -> None:
    opener = TransportCipher(MODES[0], KEY)
    begun = {
        opener.open(OpusSender(77, TransportCipher(MODES[0], KEY), Recorder().dave).datagram(SILENCE))[1:3]
        for _ in range(5)
    }
    assert len(begun) > 1
