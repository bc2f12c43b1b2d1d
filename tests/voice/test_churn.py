"""Joins and leaves twice a second, commits that come late, a network that reorders and repeats: nothing is lost."""

import random
from collections.abc import Iterator

import pytest

from discord_recorder.voice.counters import Outcome
from tests.voice.delivery import RECORDER, Peer
from tests.voice.wire import Scene, Voice

TICK_SECONDS = 0.02


class Network:
    """Delays each datagram, so that some overtake others, and delivers some twice."""

    def __init__(self, dice: random.Random, *, jitter_seconds: float, repeats: float) -> None:
        self.dice = dice
        self.jitter_seconds = jitter_seconds
        self.repeats = repeats
        self.repeated = 0
        self.under_way: list[tuple[float, bytes]] = []

    def take(self, wires: list[bytes], now: float) -> None:
        for wire in wires:
            self.under_way.append((now + self.dice.uniform(0, self.jitter_seconds), wire))
            if self.dice.random() < self.repeats:
                self.repeated += 1
                self.under_way.append((now + self.dice.uniform(0, self.jitter_seconds), wire))

    def deliver(self, now: float) -> list[bytes]:
        self.under_way.sort(key=lambda it: it[0])
        due = [wire for at, wire in self.under_way if at <= now]
        self.under_way = self.under_way[len(due) :]
        return due


def comings_and_goings(scene: Scene) -> Iterator[None]:
    """One after the other joins, and leaves."""
    for user_id in range(100, 10_000):
        scene.delivery.change(joining=[Peer(user_id)])
        yield
        scene.delivery.change(leaving=[user_id])
        yield


def talk(scene: Scene, network: Network, dice: random.Random, *, seconds: float, late_seconds: float) -> None:
    changes = comings_and_goings(scene)
    deliver_at: float | None = None
    for tick in range(int(seconds / TICK_SECONDS)):
        if tick % 25 == 10 and deliver_at is None:
            scene.delivery.late.add(RECORDER)
            next(changes)
            deliver_at = scene.now + dice.uniform(0, late_seconds)
        if deliver_at is not None and deliver_at <= scene.now:
            scene.delivery.deliver_late()
            scene.keep(scene.receiver.epoch_changed(scene.now))
            deliver_at = None
        for voice in (scene.anna, scene.bert):
            talks = voice is scene.anna or tick % 100 < 60
            network.take(voice.speaks() if talks else voice.is_silent(tick % 100 < 65), scene.now)
        scene.hear(*network.deliver(scene.now))
        scene.later(TICK_SECONDS)
    scene.delivery.deliver_late()
    scene.hear(*network.deliver(scene.now + network.jitter_seconds))
    scene.later(1.0)


def all_of(voice: Voice) -> list[bytes]:
    return sorted(voice.said)


@pytest.mark.parametrize("seed", range(2))
def test_churn_with_late_commits_loses_nothing_and_keeps_the_order(seed: int) -> None:
    dice = random.Random(seed)
    scene, network = Scene(), Network(dice, jitter_seconds=0, repeats=0)
    talk(scene, network, dice, seconds=8, late_seconds=0.45)
    for voice in (scene.anna, scene.bert):
        assert scene.got(voice) == voice.said
    assert scene.end() == {}
    assert scene.recorder.dave.resets == 0


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("late_seconds", [0.0, 0.45])
def test_churn_on_a_network_that_reorders_and_repeats_loses_nothing(seed: int, late_seconds: float) -> None:
    dice = random.Random(seed)
    scene, network = Scene(), Network(dice, jitter_seconds=0.1, repeats=0.05)
    talk(scene, network, dice, seconds=8, late_seconds=late_seconds)
    for voice in (scene.anna, scene.bert):
        assert sorted(scene.got(voice)) == all_of(voice)
    assert scene.end() == {Outcome.DUPLICATE: network.repeated}


@pytest.mark.parametrize("seed", range(2))
def test_churn_with_loss_loses_what_the_network_lost(seed: int) -> None:
    dice = random.Random(seed)
    scene, network = Scene(), Network(dice, jitter_seconds=0, repeats=0)
    talk_of = scene.anna.speaks
    lost: list[bytes] = []

    def speaks(count: int = 1) -> list[bytes]:
        wires = talk_of(count)
        if dice.random() < 0.1:
            lost.append(scene.anna.said[-1])
            return []
        return wires

    scene.anna.speaks = speaks  # type: ignore[method-assign]
    talk(scene, network, dice, seconds=8, late_seconds=0.45)
    assert scene.got(scene.anna) == [packet for packet in scene.anna.said if packet not in lost]
    assert scene.got(scene.bert) == scene.bert.said
    assert scene.end() == {}
