"""A call with simulated people and a bot that records it, and what of it is on the disk."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import discord
import numpy as np

from discord_recorder import DiscordSessionHandler, ServicesManager
from discord_recorder.audio.opus import is_missing
from discord_recorder.audio.opus_reader import PlacedPacket, read_ogg_opus
from discord_recorder.audio.pcm import SAMPLE_RATE
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.services.sql_recording import MeetingDict, RecordingDict
from discord_recorder.simulator.entities import User
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.opus_source import FRAME_SECONDS
from discord_recorder.simulator.voice.rtp import SILENCE
from discord_recorder.simulator.voice.server import VoiceServer
from discord_recorder.simulator.voice.speakers import SentFrame, Speaker, SpeakerOptions
from discord_recorder.voice.counters import Outcome, PacketCounts
from discord_recorder.voice.ports import ConnectionOptions
from tests.audio.opus_signals import encoded
from tests.audio.signals import to_pcm, tone
from tests.support.recorder import quick_settings
from tests.support.simulator import client_options, logged_in
from tests.support.waiting import until

RECONNECT_SECONDS = 0.5
"""What a reconnect may cost of everybody's speech, on a machine where joining takes no third of that."""

ADA_HERTZ, BEN_HERTZ = 441.7, 1013.3


@functools.cache
def voice(hertz: float, seconds: float = 70.0) -> tuple[bytes, ...]:
    """Frames of a tone in faint noise: no two are the same, so that each can be told apart in what is stored."""
    samples = round(seconds * SAMPLE_RATE)
    noise = np.random.default_rng(round(hertz)).normal(0, 0.002, (samples, 2))
    frames = encoded(to_pcm(tone(samples, hertz=hertz) + noise))
    assert len(set(frames)) == len(frames)
    return tuple(frames)


class Person:
    """Somebody in the call, with a voice of their own."""

    def __init__(self, call: "Call", name: str, hertz: float, options: SpeakerOptions | None = None) -> None:
        self.user: User = call.simulator.add_user(name)
        self.hertz = hertz
        self.speaker = Speaker(tls=call.simulator.client_context(), options=options)
        self._call = call
        self._said = 0
        self._talking: asyncio.Task[None] | None = None
        self._hush = False
        call.simulator.add_member(call.guild, self.user)

    @property
    def id(self) -> int:
        return self.user.id

    @property
    def spoken(self) -> list[SentFrame]:
        """What was sent, silence left out."""
        return [frame for frame in self.speaker.sent if frame.opus != SILENCE]

    async def join(self) -> None:
        await self.speaker.join(self._call.simulator.join(self.user, self._call.channel))

    async def leave(self) -> None:
        await self.speaker.leave()
        self._call.simulator.leave(self.user, self._call.guild)

    async def say(self, seconds: float) -> None:
        """Speak for a while, then send the silence that ends a talk spurt."""
        await self.speaker.speak(self._frames(round(seconds / FRAME_SECONDS)))

    def begin(self) -> None:
        """Speak until `end`."""
        self._hush = False
        self._talking = asyncio.create_task(self.speaker.speak(self._frames(None)))

    async def end(self) -> None:
        self._hush = True
        if self._talking is not None:
            await self._talking

    async def said(self, frames: int) -> None:
        """Return when so many more frames were sent."""
        goal = len(self.speaker.sent) + frames
        await until(lambda: len(self.speaker.sent) >= goal)

    def _frames(self, count: int | None) -> Iterable[bytes]:
        frames = voice(self.hertz)
        while count is None or count > 0:
            if self._hush and count is None:
                return
            self._said += 1
            yield frames[self._said % len(frames)]
            count = None if count is None else count - 1


class Call:
    """A guild with a voice channel, Ada and Ben in it, and a bot that records."""

    def __init__(self, simulator: Simulator, services: ServicesManager) -> None:
        self.simulator = simulator
        self.services = services
        self.recorder = services.discord_recorder_service
        self.guild = simulator.add_guild("Team", simulator.add_user("Owner"))
        self.channel = simulator.add_voice_channel(self.guild, "Talk")
        self.side = simulator.add_voice_channel(self.guild, "Side")
        self.bot: User = simulator.add_bot("Recorder", self.guild, permissions=int(Permission.ADMINISTRATOR))
        self.ada = Person(self, "Ada", ADA_HERTZ)
        self.ben = Person(self, "Ben", BEN_HERTZ)
        self.client: discord.Client
        self.live: LiveCapture
        self.session: DiscordSessionHandler
        self.joined_in = 0.0
        """Seconds that joining took here and now."""

    @property
    def server(self) -> VoiceServer:
        """The voice server of now."""
        return self.simulator.voice_server(self.guild)

    async def start(self, **given: Any) -> None:
        """Ada and Ben join, then the bot, and all get into the encrypted group."""
        await self.ada.join()
        await self.ben.join()
        await self.record(**given)
        await self.together(self.ada.id, self.ben.id)

    async def record(self, **given: Any) -> None:
        """The bot joins and records."""
        began = time.monotonic()
        assert await self.recorder.start_session(self.channel.id, **given)
        self.joined_in = time.monotonic() - began
        self.session = self.recorder.sessions[self.channel.id]
        assert self.session.live is not None
        self.live = self.session.live

    async def together(self, *user_ids: int, channel_id: int | None = None) -> None:
        """Return when the bot and these are in one encrypted group, and the recorder has every key."""
        wanted = {self.bot.id, *user_ids}

        def settled() -> bool:
            dave = self.server.dave(channel_id or self.channel.id)
            return dave is not None and set(dave.members) == wanted and dave.settled

        await until(settled)

    # what is stored

    def counts(self, user_id: int | None = None) -> PacketCounts:
        """The ledger of a speaker, or of all; it adds up at every moment."""
        self.live.ledger.check()
        return self.live.ledger.counts() if user_id is None else self.live.ledger.user_counts(user_id)

    def dropped(self, *reasons: Outcome) -> int:
        """Datagrams dropped for these reasons, of anybody."""
        return sum(self.counts().dropped.get(reason, 0) for reason in reasons)

    async def received(self, person: Person, frames: int) -> None:
        """Return when so many frames of somebody have been received and nothing waits for a key."""
        await until(lambda: self.counts(person.id).received >= frames and not self.counts().parked)

    async def arrived(self, condition: Callable[[], bool]) -> None:
        """Return when the ledger says so."""
        await until(condition)

    async def tail(self) -> None:
        """Return when what was sent last has been received, and nothing waits for a key."""
        await until(lambda: all(self._has_last_of(person) for person in (self.ada, self.ben)))
        await until(lambda: not self.counts().parked)

    def _has_last_of(self, person: Person) -> bool:
        return not person.spoken or person.spoken[-1].opus in self.stored(person)[-10:]

    async def at_version(self, version: int) -> None:
        """Return when the people speak with that version of the encryption."""
        people = (self.ada, self.ben)
        await until(lambda: all(person.speaker.connection.dave.version == version for person in people))

    @property
    def epoch(self) -> int:
        """How often the group has changed its keys."""
        dave = self.server.dave(self.channel.id)
        assert dave is not None
        return dave.epoch

    def packets(self, person: Person) -> list[PlacedPacket]:
        """What is in a speaker's files now, silence and what stands for lost frames left out, in order of time."""
        self.live.flush()
        folder = self.services.settings.temp_dir / self.session.meeting_id / str(person.id)
        found = []
        for path in sorted(folder.glob("*.ogg")):
            start = int(path.stem.split("-")[0])
            stream = read_ogg_opus(path.read_bytes())
            assert not stream.dropped_bytes
            own = (packet for packet in stream.packets if packet.at_sample >= start)
            found += [packet for packet in own if packet.opus != SILENCE and not is_missing(packet.opus)]
        return sorted(found, key=lambda packet: packet.at_sample)

    def stored(self, person: Person) -> list[bytes]:
        """The Opus in a speaker's files, in order of time."""
        return [packet.opus for packet in self.packets(person)]

    def missing(self, person: Person) -> list[SentFrame]:
        """What was sent and is not stored; what is stored is in order, and nothing is there twice."""
        sent, stored = person.spoken, self.stored(person)
        places = {frame.opus: number for number, frame in enumerate(sent)}
        numbers = [places[opus] for opus in stored]
        assert numbers == sorted(set(numbers)), numbers
        kept = set(numbers)
        return [frame for number, frame in enumerate(sent) if number not in kept]

    def lost_too_much(self, person: Person, *, since: int = 0) -> str | None:
        """What is missing of somebody's speech from that frame on, if it is more than a reconnect may cost here.

        Frames that were sent in one go, after this process had stood still, are one moment.
        """
        sent, moments = person.spoken, 0
        missing = {number for number in map(sent.index, self.missing(person)) if number >= since}
        for number in missing:
            moments += number == 0 or sent[number].sent_at - sent[number - 1].sent_at > FRAME_SECONDS / 4
        limit = max(RECONNECT_SECONDS, 3 * self.joined_in)
        return f"{moments} moments, {len(missing)} frames" if moments * FRAME_SECONDS > limit else None

    async def gaps(self) -> list[str]:
        """The reasons of the gaps that the status tells."""
        status = await self.recorder.get_session_status(self.channel.id)
        assert status is not None
        return [event["reason"] or "" for event in status["events"] if event["kind"] == "gap"]

    # the end

    async def stop(self) -> RecordingDict:
        """Stop; every datagram is accounted for."""
        assert await self.recorder.stop_session(self.channel.id)
        return await self.finished()

    async def finished(self) -> RecordingDict:
        """The recording, when the session has ended, by itself or by a stop."""
        await until(lambda: self.channel.id not in self.recorder.sessions)
        counts = self.counts()
        assert counts.balanced
        assert counts.parked == 0
        assert self.live.ledger.kernel_dropped == 0
        (recording,) = await self.services.sql_recording_service.get_recordings_for_meeting(self.session.meeting_id)
        assert recording["status"] == "complete"
        return recording

    async def meeting(self) -> MeetingDict:
        """The meeting's row."""
        meeting = await self.services.sql_recording_service.get_meeting(self.session.meeting_id)
        assert meeting is not None
        return meeting

    def in_channel(self) -> bool:
        """Whether Discord has the bot in voice."""
        return self.bot.id in self.guild.voice_states


@asynccontextmanager
async def recorded_call(
    simulator: Simulator, data_dir: Path, change: Callable[[Call], None] = lambda call: None, **settings: Any
) -> AsyncIterator[Call]:
    """A call whose bot is logged in and attached; chunks are long, so that Opus stays where a test can read it."""
    given = {"flush_interval_seconds": 120.0, **settings}
    for hertz in (ADA_HERTZ, BEN_HERTZ):
        voice(hertz)  # takes a second, in which nobody could speak
    async with ServicesManager(quick_settings(data_dir, **given)) as services:
        call = Call(simulator, services)
        change(call)
        call.client = discord.Client(**client_options(simulator))
        services.attach(call.client, options=ConnectionOptions(ssl_context=simulator.client_context()))
        try:
            async with logged_in(call.client, call.bot):
                yield call
                await services.detach()
        finally:
            for person in (call.ada, call.ben):
                await person.end()
                await person.leave()


def sequences(frames: Sequence[SentFrame]) -> set[tuple[int, int]]:
    """SSRCs and sequence numbers."""
    return {(frame.ssrc, frame.sequence) for frame in frames}
