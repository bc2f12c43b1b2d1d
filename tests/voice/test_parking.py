"""Frames that wait: for an owner, for a key, behind others; how they come out, and what happens when they do not."""

from collections.abc import Callable

import pytest

from discord_recorder.voice import parking, stream
from discord_recorder.voice import receiver as receiver_module
from discord_recorder.voice.counters import Outcome
from discord_recorder.voice.parking import PARK_SECONDS, REORDER_SECONDS
from discord_recorder.voice.receiver import TRIAL_SECONDS
from tests.voice.delivery import RECORDER, Peer
from tests.voice.packets import SILENCE, datagram
from tests.voice.wire import Scene, Voice

UNOPENABLE = bytes(20) + b"\x05\x0c\xfa\xfa"
"""Looks encrypted, number 5 of its epoch."""


def someone_joins(scene: Scene, user_id: int = 3) -> None:
    scene.delivery.change(joining=[Peer(user_id)])


def commit_is_late(scene: Scene) -> None:
    """Everybody else is in the next epoch."""
    scene.delivery.late.add(RECORDER)
    someone_joins(scene)


def commit_comes(scene: Scene) -> None:
    scene.delivery.deliver_late()
    scene.keep(scene.receiver.epoch_changed(scene.now))


# for an owner


def test_frames_wait_for_the_announcement_of_their_ssrc() -> None:
    scene = Scene(mapped=False)
    scene.hear(*scene.anna.speaks(3), *scene.anna.is_silent(), *scene.anna.speaks_plainly(), *scene.bert.speaks(2))
    assert scene.frames == []
    assert scene.receiver.parked == 7
    scene.now += 0.05
    scene.map(scene.anna)
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.receiver.parked == 2
    scene.map(scene.bert)
    assert scene.got(scene.bert) == scene.bert.said
    assert {frame.arrived for frame in scene.frames} == {1000.0}
    assert scene.end() == {}


def test_they_come_out_in_order_when_they_came_in_disorder() -> None:
    scene = Scene(mapped=False)
    wires = scene.bert.speaks(12)
    scene.hear(*[wires[n] for n in (3, 1, 0, 2, 11, 5, 4, 10, 8, 6, 7, 9)], wires[3])
    scene.map(scene.bert)
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.end() == {Outcome.DUPLICATE: 1}


def test_nobody_announced_drops_them_after_two_seconds() -> None:
    scene = Scene(mapped=False)
    scene.hear(datagram(SILENCE, ssrc=5))
    scene.later(PARK_SECONDS - 0.01)
    assert scene.receiver.parked == 1
    scene.later(0.01)
    assert scene.receiver.parked == 0
    assert scene.counts.dropped == {Outcome.UNKNOWN_SSRC: 1}
    assert scene.end() == {Outcome.UNKNOWN_SSRC: 1}


@pytest.mark.parametrize("silent_first", [False, True])
def test_the_members_keys_find_the_owner(silent_first: bool) -> None:
    scene = Scene(mapped=False)
    scene.hear(*(scene.bert.is_silent(2) if silent_first else []), *scene.bert.speaks(5))
    scene.later(TRIAL_SECONDS - 0.01)
    assert scene.frames == []
    scene.later(0.02)
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.receiver.ssrcs == {1002: 2}
    scene.hear(*scene.bert.speaks(2))
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.end() == {}


def test_the_members_keys_find_the_owner_of_frames_of_two_epochs() -> None:
    scene = Scene(mapped=False)
    before = scene.bert.speaks(3)
    someone_joins(scene)
    after = scene.bert.speaks(3)
    scene.hear(*before[1:], after[2], after[0], before[0], after[1])
    scene.later(TRIAL_SECONDS)
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.end() == {}


def test_a_frame_that_nobodys_key_opens_does_not_hide_the_owner() -> None:
    scene = Scene(mapped=False)
    scene.hear(scene.bert.packet(UNOPENABLE), *scene.bert.speaks(2))
    scene.later(TRIAL_SECONDS)
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.end() == {Outcome.UNDECRYPTABLE: 1}


def test_a_wrong_announcement_is_mended_by_the_keys() -> None:
    scene = Scene(mapped=False)
    scene.keep(scene.receiver.map_ssrc(scene.bert.ssrc, scene.anna.user_id, scene.now))
    for _ in range(4):
        scene.hear(*scene.bert.speaks(5))
        scene.later(0.3)
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.got(scene.anna) == []
    assert scene.end() == {}


def test_a_wrong_announcement_is_mended_by_a_right_one() -> None:
    scene = Scene(mapped=False)
    scene.keep(scene.receiver.map_ssrc(scene.bert.ssrc, scene.anna.user_id, scene.now))
    scene.hear(*scene.bert.speaks(5))
    scene.map(scene.bert)
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.receiver.ledger.user_counts(1).received == 0
    assert scene.end() == {}


def test_at_the_end_the_keys_are_tried_at_once() -> None:
    scene = Scene(mapped=False)
    scene.hear(*scene.bert.speaks(5), datagram(SILENCE, ssrc=5))
    assert scene.end() == {Outcome.UNKNOWN_SSRC: 1}
    assert scene.got(scene.bert) == scene.bert.said


# for a key


def test_frames_of_an_epoch_to_come_are_all_recovered() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks(2))
    commit_is_late(scene)
    for _ in range(20):
        scene.hear(*scene.anna.speaks(), *scene.bert.speaks())
        scene.later(0.02)
    assert scene.receiver.parked == 40
    commit_comes(scene)
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.got(scene.bert) == scene.bert.said
    scene.hear(*scene.anna.speaks())
    assert scene.end() == {}


def test_new_keys_are_noticed_without_being_told() -> None:
    scene = Scene()
    commit_is_late(scene)
    scene.hear(*scene.anna.speaks(3))
    scene.delivery.deliver_late()
    scene.hear(*scene.anna.speaks(1))
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {}


def test_several_epochs_may_be_late() -> None:
    scene = Scene()
    scene.delivery.late.add(RECORDER)
    for user_id in (3, 4, 5, 6):
        scene.hear(*scene.anna.speaks(5))
        someone_joins(scene, user_id)
    scene.hear(*scene.anna.speaks(5))
    commit_comes(scene)
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {}


def test_what_waits_behind_a_parked_frame_comes_out_after_it() -> None:
    scene = Scene()
    old = scene.anna.speaks(1)
    commit_is_late(scene)
    parked = scene.anna.speaks(2)
    behind = [*scene.anna.is_silent(5), *scene.anna.speaks_plainly(1)]
    scene.hear(*parked, *behind)
    assert scene.frames == []
    scene.hear(*old)  # was sent before them, and does not wait
    assert scene.got(scene.anna) == scene.anna.said[:1]
    commit_comes(scene)
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.counts.plain == 1
    assert scene.end() == {}


def test_what_waits_behind_a_frame_that_never_opens_comes_out_when_that_is_given_up() -> None:
    scene = Scene()
    damaged = scene.anna.packet(UNOPENABLE)
    scene.hear(damaged, *scene.anna.is_silent(2))
    scene.later(1.0)
    scene.hear(*scene.anna.is_silent(2))
    assert scene.frames == []
    scene.later(PARK_SECONDS - 1.0)
    assert scene.got(scene.anna) == [SILENCE] * 4
    assert scene.end() == {Outcome.UNDECRYPTABLE: 1}


def test_a_frame_that_opens_shows_that_those_before_it_never_will() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks(1))
    scene.hear(scene.anna.packet(UNOPENABLE), *scene.anna.is_silent(), *scene.anna.speaks(2))
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.receiver.parked == 0
    assert scene.counts.dropped == {Outcome.UNDECRYPTABLE: 1}


@pytest.mark.parametrize("seconds", [0.5, 1.9])
def test_a_newcomer_is_heard_from_the_first_frame(seconds: float) -> None:
    scene = Scene()
    carl = Voice(3)
    scene.delivery.late.add(RECORDER)
    scene.delivery.change(joining=[carl.peer])
    scene.map(carl)
    scene.hear(*carl.speaks(5))
    scene.later(seconds)
    commit_comes(scene)
    assert scene.got(carl) == carl.said
    assert scene.end() == {}


def test_one_who_is_not_in_the_group_is_told_apart() -> None:
    scene = Scene()
    carl = Voice(3)
    stranger = Scene()
    stranger.delivery.change(joining=[carl.peer])
    scene.map(carl)
    scene.hear(*carl.speaks(2))
    scene.later(PARK_SECONDS)
    assert scene.end() == {Outcome.NOT_A_MEMBER: 2}


def test_frames_from_before_our_welcome_are_told_apart() -> None:
    scene = Scene(version=0)
    scene.recorder.sent += scene.recorder.dave.on_json(24, {"epoch": 1, "protocol_version": 1})
    scene.delivery.begin(scene.anna.peer, scene.bert.peer)
    scene.hear(*scene.anna.speaks(3))
    scene.delivery.change(joining=[scene.recorder])
    scene.hear(*scene.anna.speaks(3))
    assert scene.got(scene.anna) == scene.anna.said[3:]
    assert scene.end() == {Outcome.UNDECRYPTABLE: 3}


def test_without_a_welcome_they_are_dropped_for_the_lack_of_a_group() -> None:
    scene = Scene(version=0)
    scene.recorder.sent += scene.recorder.dave.on_json(24, {"epoch": 1, "protocol_version": 1})
    scene.delivery.begin(scene.anna.peer, scene.bert.peer)
    scene.hear(*scene.anna.speaks(3))
    scene.later(PARK_SECONDS)
    assert scene.end() == {Outcome.NO_GROUP: 3}


def test_a_reset_costs_only_what_is_sent_without_us_in_the_group() -> None:
    scene = Scene()
    wires = scene.anna.speaks(10)
    scene.hear(*wires[:3])
    scene.recorder.give(29, b"\0\1broken")
    assert scene.recorder.dave.resets == 1
    scene.hear(*wires[3:])
    scene.delivery.change(leaving=[RECORDER], joining=[scene.recorder])
    scene.hear(*scene.anna.speaks(5))
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {}


# the first frame of an epoch


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_overtaken_first_frames_of_an_epoch_are_not_lost(order: tuple[int, ...]) -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks(3))
    someone_joins(scene)
    wires = scene.anna.speaks(3)
    for n in order:
        scene.hear(wires[n])
    assert scene.got(scene.anna) == scene.anna.said
    scene.hear(*scene.anna.speaks(3))
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {}


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_overtaken_first_frames_of_a_stream_are_not_lost(order: tuple[int, ...]) -> None:
    scene = Scene()
    wires = scene.bert.speaks(3)
    for n in order:
        scene.hear(wires[n])
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.end() == {}


def test_a_lost_first_frame_of_an_epoch_is_not_waited_for_long() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks(3))
    someone_joins(scene)
    wires = scene.anna.speaks(5)
    del scene.anna.said[3]
    scene.hear(*wires[1:3])
    scene.later(REORDER_SECONDS - 0.01)
    assert len(scene.frames) == 3
    scene.now += 0.01
    scene.hear(wires[3])
    assert len(scene.frames) == 6
    scene.hear(wires[4])
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {}


def test_it_is_not_waited_for_longer_when_nothing_follows() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks(3)[1:])
    assert scene.frames == []
    scene.later(REORDER_SECONDS)
    assert scene.got(scene.anna) == scene.anna.said[1:]
    assert scene.end() == {}


def test_a_lost_frame_within_an_epoch_is_not_waited_for() -> None:
    scene = Scene()
    wires = scene.anna.speaks(30)
    scene.hear(*wires[:10], *wires[12:20], *wires[25:])
    assert len(scene.frames) == 23
    scene.hear(*wires[10:12], *wires[20:25])
    assert sorted(scene.got(scene.anna)) == scene.anna.said
    assert scene.end() == {}


def test_at_the_end_nothing_is_waited_for() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks(3)[1:])
    assert scene.end() == {}
    assert scene.got(scene.anna) == scene.anna.said[1:]


def test_a_change_of_epoch_does_not_end_the_wait() -> None:
    scene = Scene()
    scene.hear(*scene.anna.speaks(3))
    someone_joins(scene)
    wires = scene.anna.speaks(3)
    scene.hear(*wires[1:])
    someone_joins(scene, 4)
    scene.keep(scene.receiver.epoch_changed(scene.now))
    scene.hear(wires[0])
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {}


# limits


def test_a_flood_of_unknown_ssrcs_takes_no_more_space_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "MAX_UNKNOWN_STREAMS", 20)
    scene = Scene()
    scene.hear(*[datagram(SILENCE, ssrc=5000 + n) for n in range(100)])
    assert scene.receiver.parked == 20
    scene.hear(*scene.anna.speaks())
    assert scene.got(scene.anna) == scene.anna.said
    scene.later(PARK_SECONDS)
    scene.hear(datagram(SILENCE, ssrc=9000))
    assert scene.receiver.parked == 1
    assert scene.end() == {Outcome.PARKING_FULL: 80, Outcome.UNKNOWN_SSRC: 21}


@pytest.mark.parametrize(("name", "limit"), [("MAX_UNKNOWN_FRAMES", 10), ("MAX_UNKNOWN_BYTES", 10 * 100)])
def test_unknown_frames_take_no_space_from_known_ones(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    monkeypatch.setattr(receiver_module, name, limit)
    scene = Scene()
    commit_is_late(scene)
    scene.hear(*[datagram(bytes(100), ssrc=5000 + n % 7, sequence=n) for n in range(50)])
    assert scene.receiver.parked == 10
    scene.hear(*scene.anna.speaks(20))
    commit_comes(scene)
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.end() == {Outcome.PARKING_FULL: 40, Outcome.UNKNOWN_SSRC: 10}


def test_when_the_space_is_used_up_what_opens_still_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "MAX_KNOWN_FRAMES", 3)
    scene = Scene()
    scene.hear(*[scene.anna.packet(UNOPENABLE) for _ in range(5)])
    assert scene.receiver.parked == 3
    scene.hear(*scene.anna.is_silent(), *scene.bert.speaks())
    assert scene.got(scene.anna) == scene.anna.said
    assert scene.got(scene.bert) == scene.bert.said
    scene.hear(*scene.anna.speaks())
    assert scene.end() == {Outcome.PARKING_FULL: 2, Outcome.UNDECRYPTABLE: 3}


def test_when_the_space_is_used_up_an_epochs_first_frames_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "MAX_KNOWN_FRAMES", 3)
    scene = Scene()
    scene.hear(*scene.anna.speaks(6)[1:])
    assert scene.got(scene.anna) == scene.anna.said[1:]
    assert scene.end() == {}


@pytest.mark.parametrize(("name", "limit"), [("MAX_STREAM_FRAMES", 5), ("MAX_STREAM_BYTES", 5 * 30)])
def test_of_one_stream_the_oldest_goes(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    monkeypatch.setattr(stream, name, limit)
    assert hasattr(parking, name)
    scene = Scene()
    commit_is_late(scene)
    wires = scene.anna.speaks(8)
    scene.hear(*wires, *scene.bert.speaks(5))
    commit_comes(scene)
    assert scene.got(scene.anna) == scene.anna.said[3:]
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.end() == {Outcome.PARKING_FULL: 3}


def fails_at_all(scene: Scene) -> None:
    scene.hear(*[scene.anna.packet(bytes(20) + bytes((n,)) + b"\x0c\xfa\xfa") for n in range(50)])


def is_silent_only(scene: Scene) -> None:
    scene.hear(*[datagram(SILENCE, ssrc=7, sequence=n) for n in range(50)])


@pytest.mark.parametrize("does", [fails_at_all, is_silent_only])
def test_one_bad_stream_costs_the_others_nothing(does: Callable[[Scene], None]) -> None:
    scene = Scene()
    for _ in range(10):
        does(scene)
        scene.hear(*scene.bert.speaks(2))
        scene.later(0.3)
    assert scene.got(scene.bert) == scene.bert.said
    scene.later(PARK_SECONDS)
    assert scene.receiver.parked == 0


@pytest.mark.parametrize("limit", [0, 1])
def test_a_stranger_without_space_is_counted_once(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(receiver_module, "MAX_UNKNOWN_FRAMES", limit)
    scene = Scene(mapped=False)
    for _ in range(3):
        scene.hear(*[datagram(SILENCE, ssrc=5, sequence=n) for n in (40_000, 20_000, 20_001, 20_002, 40_001)])
        scene.later(1.0)
    scene.end()
    assert scene.counts.received == 15
    assert scene.receiver.ssrcs == {}
