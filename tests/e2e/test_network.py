"""What the network does to packets, and what of it is stored: exactly what came, once, at its place."""

import asyncio

import pytest

from discord_recorder.simulator.voice.faults import Direction, Kind, Link, LinkFaults
from discord_recorder.voice.counters import Outcome
from tests.e2e.call import Call, Person, sequences

DAMAGED = (
    Outcome.FORGED,
    Outcome.MALFORMED,
    Outcome.OTHER_PAYLOAD,
    Outcome.RTCP,
    Outcome.UNKNOWN_SSRC,
    Outcome.DISCOVERY,
    Outcome.KEEPALIVE,
)
"""What one wrong bit can make of a packet."""

SECONDS = 1.6


def incidents(link: Link, kind: Kind, person: Person) -> set[tuple[int, int]]:
    """The packets of somebody that something happened to; packets of silence among them are left out."""
    happened = {
        (incident.ssrc, incident.sequence)
        for incident in link.incidents
        if incident.kind is kind and incident.ssrc is not None and incident.sequence is not None
    }
    return happened & sequences(person.spoken)


async def test_lost_on_the_way_up_or_down(call: Call) -> None:
    """What is lost is missing, and nothing else."""
    ada, ben = call.ada, call.ben
    up = call.server.disturb(ada.id, Direction.UP, LinkFaults(loss=0.15, audio_only=True))
    await asyncio.gather(ada.say(SECONDS), ben.say(SECONDS))
    await call.received(ben, len(ben.speaker.sent))
    lost = incidents(up, Kind.LOST, ada)
    assert lost
    assert sequences(call.missing(ada)) == lost
    assert call.missing(ben) == []

    call.server.heal(ada.id)
    down = call.server.disturb(call.bot.id, Direction.DOWN, LinkFaults(loss=0.15, audio_only=True))
    await asyncio.gather(ada.say(SECONDS), ben.say(SECONDS))
    call.server.heal(call.bot.id)
    sent = len(ada.speaker.sent) + len(ben.speaker.sent)
    await call.arrived(lambda: call.counts().stored == sent - up.counts[Kind.LOST] - down.counts[Kind.LOST])
    assert incidents(down, Kind.LOST, ben)
    assert sequences(call.missing(ada)) == lost | incidents(down, Kind.LOST, ada)
    assert sequences(call.missing(ben)) == incidents(down, Kind.LOST, ben)
    assert call.counts().lost == 0
    await call.stop()


@pytest.mark.parametrize(
    "faults",
    [
        LinkFaults(duplicate=0.3, audio_only=True),
        LinkFaults(reorder=0.1, reorder_ms=50, jitter_ms=15, audio_only=True),
        LinkFaults(duplicate=0.1, reorder=0.1, reorder_ms=70, jitter_ms=35, audio_only=True),
    ],
    ids=["duplicate", "reorder", "all at once"],
)
async def test_repeated_and_overtaken_packets_cost_nothing(call: Call, faults: LinkFaults) -> None:
    link = call.server.disturb(call.bot.id, Direction.DOWN, faults)
    await asyncio.gather(call.ada.say(SECONDS), call.ben.say(SECONDS))
    for person in (call.ada, call.ben):
        await call.received(person, len(person.speaker.sent))
        assert call.missing(person) == []
    duplicates = link.counts[Kind.DUPLICATED]
    assert bool(duplicates) == bool(faults.duplicate)
    await call.arrived(lambda: call.dropped(Outcome.DUPLICATE) == duplicates)
    assert call.counts().lost == duplicates
    assert await call.gaps() == []
    await call.stop()


async def test_damaged_packets_are_counted(call: Call) -> None:
    link = call.server.disturb(call.bot.id, Direction.DOWN, LinkFaults(corrupt=0.1, audio_only=True))
    await asyncio.gather(call.ada.say(SECONDS), call.ben.say(SECONDS))
    call.server.heal(call.bot.id)
    sent = len(call.ada.speaker.sent) + len(call.ben.speaker.sent)
    damaged = link.counts[Kind.CORRUPTED]
    assert damaged
    await call.arrived(lambda: call.counts().stored == sent - damaged and not call.counts().parked)
    missing = [*call.missing(call.ada), *call.missing(call.ben)]
    assert len(missing) <= damaged  # packets of silence may be among them
    await call.stop()
    assert call.dropped(*DAMAGED) >= damaged


async def test_garbage_harms_nobody(call: Call) -> None:
    call.ada.begin()
    for _ in range(10):
        await call.ada.said(8)
        call.server.send_garbage(call.bot.id, call.guild.id, count=24)
    await call.ada.end()
    await call.received(call.ada, len(call.ada.speaker.sent))
    assert call.missing(call.ada) == []
    await call.stop()
    assert call.dropped(*Outcome) >= 240
