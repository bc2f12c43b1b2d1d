"""What happens to calls: each scene is a call in which everybody speaks a tone code while something goes on.

A scene tells which frames the wire lost, and which may be lost beside these; everything else is to be heard.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from discord_recorder.simulator.voice.faults import Direction, LinkFaults
from discord_recorder.simulator.voice.speakers import Habit, SpeakerOptions
from tests.listening.talk import Talk, Talker
from tests.support.waiting import until

RUNNING: Final = SpeakerOptions(habit=Habit.RUNNING, first_timestamp=2**32 - 40_000, first_sequence=65_500)
"""Timestamps run on through silence; they and the sequence numbers soon wrap."""
STOPPING: Final = SpeakerOptions(habit=Habit.STOPPING)
"""Timestamps stop with the sound."""
DRIFTING: Final = SpeakerOptions(habit=Habit.RUNNING, drift_ppm=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """What a scene costs."""

    lost: Mapping[Talker, set[int]] = field(default_factory=dict)
    """Frames that never came; all others are to be heard."""
    outage: tuple[float, float] | None = None
    """Monotonic seconds between which frames may be lost besides."""

    def may_miss(self, talker: Talker) -> set[int]:
        """The frames of somebody that the outage may have cost."""
        if self.outage is None:
            return set()
        began, ended = self.outage
        return {frame for sent, frame, _ in talker.frames if began <= sent.sent_at <= ended}


Scene = Callable[[Talk], Awaitable[Toll]]


async def plain(talk: Talk) -> Toll:
    """Three who talk across each other; both habits, one clock that is fast."""
    ada, ben, chris = talk.add("Ada", RUNNING), talk.add("Ben", STOPPING), talk.add("Chris", DRIFTING)
    await talk.gather(ada, ben, chris)
    await asyncio.gather(_spurts(ada, (0.0, 0.6, 0.9)), _spurts(ben, (0.25, 0.5, 0.6)), _spurts(chris, (0.1, 1.5)))
    return Toll()


async def bad_network(talk: Talk, faults: LinkFaults | None = None) -> Toll:
    """Packets to the recorder are lost, repeated, delayed and overtaken."""
    given = faults or LinkFaults(loss=0.05, duplicate=0.1, reorder=0.05, reorder_ms=50, jitter_ms=15, audio_only=True)
    ada, ben = talk.add("Ada", RUNNING), talk.add("Ben", STOPPING)
    await talk.gather(ada, ben)
    link = talk.server.disturb(talk.bot.id, Direction.DOWN, given)
    await asyncio.gather(_spurts(ada, (0.0, 1.4, 1.4)), _spurts(ben, (0.25, 1.2, 1.2)))
    talk.write_off({talker: talker.lost_packets(link) for talker in talk.talkers})
    return Toll(lost={talker: talker.lost_frames(link) for talker in talk.talkers})


async def comings_and_goings(talk: Talk) -> Toll:
    """While Ada and Ben talk, Chris and Dora join, talk, leave and join again: new keys, and new SSRCs, each time."""
    ada, ben = talk.add("Ada", RUNNING), talk.add("Ben", STOPPING)
    chris, dora = talk.add("Chris", RUNNING), talk.add("Dora", STOPPING)
    await talk.gather(ada, ben)
    ada.begin()
    ben.begin()
    for _ in range(2):
        await chris.join()
        await talk.together(ada.id, ben.id, chris.id)
        chris.begin()
        await dora.join()
        await talk.together(ada.id, ben.id, chris.id, dora.id)
        await dora.say(0.3)
        await talk.depart(dora)
        await talk.together(ada.id, ben.id, chris.id)
        await talk.depart(chris)
        await talk.together(ada.id, ben.id)
    await talk.hush()
    return Toll()


async def rejoining(talk: Talk, times: int = 50) -> Toll:
    """Ben leaves and joins again all the time, and says something each time."""
    ada, ben = talk.add("Ada", RUNNING), talk.add("Ben", STOPPING)
    await talk.gather(ada, ben)
    ada.begin()
    for _ in range(times):
        await ben.say(0.1)
        await talk.depart(ben)
        await ben.join()
        await talk.together(ada.id, ben.id)
    await ben.say(0.2)
    await talk.hush()
    return Toll()


async def resumed(talk: Talk) -> Toll:
    """The websocket is closed with 4015, then cut; it is resumed, and the audio goes on all the time."""
    ada, ben = talk.add("Ada", RUNNING), talk.add("Ben", STOPPING)
    await talk.gather(ada, ben)
    ada.begin()
    ben.begin()
    await ada.said(40)
    talk.server.close_websocket(talk.bot.id, talk.guild.id, 4015)
    await ada.said(60)
    talk.server.cut(talk.bot.id, talk.guild.id)
    await ada.said(60)
    await talk.hush()
    return Toll()


async def session_lost(talk: Talk) -> Toll:
    """The voice session is ended by the server; the bot joins anew, with other keys and SSRCs."""
    ada, ben = talk.add("Ada", RUNNING), talk.add("Ben", STOPPING)
    await talk.gather(ada, ben)
    ada.begin()
    ben.begin()
    await ada.said(40)
    session, began = talk.server.session(talk.bot.id, talk.guild.id), time.monotonic()
    talk.server.close_websocket(talk.bot.id, talk.guild.id, 4006, void_ticket=True)
    await until(lambda: talk.server.session(talk.bot.id, talk.guild.id) not in (None, session))
    await talk.together(ada.id, ben.id)
    ended = time.monotonic()
    await ada.said(5)
    talk.write_off()
    await ada.said(60)
    await talk.hush()
    return Toll(outage=(began - 0.1, ended + 0.1))


async def moved(talk: Talk) -> Toll:
    """The guild's voice moves to another server, the people too."""
    ada, ben = talk.add("Ada", RUNNING), talk.add("Ben", STOPPING)
    await talk.gather(ada, ben)
    await asyncio.gather(ada.say(0.8), ben.say(0.6))
    await talk.received_all()
    talk.simulator.rotate_voice_server(talk.guild)
    for talker in (ada, ben):
        await talker.speaker.leave()
        access = talk.simulator.voice_access(talker.user, talk.guild)
        assert access is not None
        await talker.speaker.join(access)
    await talk.together(ada.id, ben.id)
    await asyncio.gather(ada.say(0.8), ben.say(0.6))
    return Toll()


async def paused(talk: Talk) -> Toll:
    """The recording pauses for a second, in which everybody goes on talking."""
    ada, ben = talk.add("Ada", RUNNING), talk.add("Ben", STOPPING)
    await talk.gather(ada, ben)
    ada.begin()
    ben.begin()
    await ada.said(50)
    await talk.pause()
    await ada.said(50)
    await talk.resume()
    await ada.said(50)
    await talk.hush()
    return Toll()


async def _spurts(talker: Talker, seconds: tuple[float, ...]) -> None:
    """Wait, then speak for so long each, with a pause of 0.3 s between."""
    await asyncio.sleep(seconds[0])
    for number, each in enumerate(seconds[1:]):
        if number:
            await asyncio.sleep(0.3)
        await talker.say(each)
