"""Frames as the network brings them, in virtual time: in the final files each is heard in its place, without a seam."""

import random
from itertools import repeat

import pytest

from discord_recorder import ServicesManager
from tests.listening.capture import delayed, live_capture, said, spoken, verdicts
from tests.recording.live_frames import Sender, hear, hear_all
from tests.support.recorder import ALICE, BOB, OpenServices
from tests.support.verdict import misalignment_ms

ADA, BEN = ALICE, BOB
MOST_MS = 20.0
LEAST_DELAY_MS = 1.0
"""Of some dozen frames with these delays; it may be added to the above."""


def stall(seconds: float, count: int) -> list[float]:
    """Delays of frames that all come together at first."""
    return [max(0.0, seconds - each * 0.02) for each in range(count)]


def jitter(seed: int, count: int) -> list[float]:
    """Delays of up to 60 ms, and hardly any."""
    chance = random.Random(seed)
    return [min(0.06, chance.expovariate(1 / 0.01)) for _ in range(count)]


@pytest.mark.parametrize("place", [41, 42, 43])
@pytest.mark.parametrize("by", [1, 3])
async def test_overtaken_just_before_a_border_of_chunks(services: ServicesManager, place: int, by: int) -> None:
    """The chunk that follows is made with what is before it, so it has to know that frame too."""
    live = await live_capture(services)
    frames = Sender(ADA).says(spoken(ADA, 0, 120), 0.5)
    late = frames.pop(place)
    frames.insert(place + by, late._replace(arrived=late.arrived + by * 0.02))
    for frame in frames:
        hear(live, [frame])
    verdict = (await verdicts(services, {ADA: said(0, 120, 0.5)}))[ADA]
    assert verdict.missing == []
    assert verdict.is_clean, verdict


@pytest.mark.parametrize("runs_on", [True, False])
@pytest.mark.parametrize("first_ms", [30, 80])
async def test_a_spurt_whose_first_frames_come_late(open_services: OpenServices, runs_on: bool, first_ms: int) -> None:
    """Only the frames that follow show it; it stands where they say."""
    async with open_services(flush_interval_seconds=10.0) as services:
        live = await live_capture(services)
        ada, ben = Sender(ADA, 1, runs_on=runs_on), Sender(BEN, 2, runs_on=runs_on)
        streams, truth = [], {ADA: said(0, 0, 0), BEN: said(0, 0, 0)}
        for spurt, at in enumerate((0.5, 2.5, 4.2)):
            first = spurt * 60
            late = ada.says(spoken(ADA, first, 60), at)
            streams += [delayed(late, stall(first_ms / 1000, len(late))), ben.says(spoken(BEN, first, 60), at)]
            for user in truth:
                truth[user] += said(first, 60, at, spurt)
        hear_all(live, *streams)
        heard = list((await verdicts(services, truth)).values())
    assert all(verdict.missing == [] and verdict.is_clean for verdict in heard), heard
    assert misalignment_ms(heard) <= MOST_MS + LEAST_DELAY_MS


@pytest.mark.parametrize("runs_on", [True, False])
async def test_jitter_and_clocks_that_drift(open_services: OpenServices, runs_on: bool) -> None:
    """Clocks 100 ppm fast and slow, and delays that overtake each other, in two spurts that lie far apart."""
    async with open_services(flush_interval_seconds=3.0) as services:
        live = await live_capture(services)
        streams, truth = [], {ADA: said(0, 0, 0), BEN: said(0, 0, 0)}
        for user, ppm in ((ADA, 100.0), (BEN, -100.0)):
            sender, pace = Sender(user, user % 1000, runs_on=runs_on), 1 / (1 + ppm * 1e-6)
            for spurt, at in enumerate((0.5, 6.0, 12.0)):
                sent = sender.says(spoken(user, spurt * 100, 100), at / pace)
                in_time = [frame._replace(arrived=frame.arrived * pace) for frame in sent]
                streams.append(delayed(in_time, jitter(user + spurt, len(in_time))))
                truth[user] += [one._replace(at=one.at * pace) for one in said(spurt * 100, 100, at / pace, spurt)]
        hear_all(live, *streams)
        heard = list((await verdicts(services, truth)).values())
    assert all(verdict.missing == [] and verdict.is_clean for verdict in heard), heard
    assert misalignment_ms(heard) <= MOST_MS + LEAST_DELAY_MS


@pytest.mark.parametrize("lost", [{30}, {30, 32}, {30, 31, 32}, set(range(30, 45)), {43}, {44, 45}])
async def test_losses_cost_what_was_lost(services: ServicesManager, lost: set[int]) -> None:
    """Each is a gap of its length, concealed or silent, also at a border of chunks."""
    live = await live_capture(services)
    sent = Sender(ADA).says(spoken(ADA, 0, 100), 0.5)
    hear_all(live, [frame for number, frame in enumerate(sent) if number not in lost])
    verdict = (await verdicts(services, {ADA: said(0, 100, 0.5)}))[ADA]
    assert set(verdict.missing) == lost
    assert verdict.is_clean, verdict
    assert verdict.worst_offset_ms <= 3


async def test_everything_twice_and_late(services: ServicesManager) -> None:
    live = await live_capture(services)
    sent = Sender(ADA).says(spoken(ADA, 0, 100), 0.5)
    again = delayed(sent, repeat(0.1, len(sent)))
    hear_all(live, sent, again)
    verdict = (await verdicts(services, {ADA: said(0, 100, 0.5)}))[ADA]
    assert verdict.missing == []
    assert verdict.is_clean, verdict
    assert live.ledger.counts().stored == len(sent)
