"""A call in which everybody speaks a tone code, and what is heard of them in the files of its recording."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest import mock

import discord

from discord_recorder import ServicesManager
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.services.sql_recording import RecordingDict
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.faults import Kind, Link
from discord_recorder.simulator.voice.opus_source import FRAME_SECONDS
from discord_recorder.simulator.voice.speakers import SentFrame, SpeakerOptions
from discord_recorder.voice.counters import Outcome
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.ports import ConnectionOptions
from tests.audio.signals import played
from tests.e2e.call import Call, Person
from tests.support.ear import Ear, Hearing
from tests.support.recorder import quick_settings
from tests.support.simulator import client_options, logged_in
from tests.support.tone_code import RATE, packets
from tests.support.verdict import Said, Verdict, judge, misalignment_ms
from tests.support.waiting import until

MAX_MISALIGNMENT_MS: Final = 20.0
"""What any two speakers may be apart from where they were (the issue's figure)."""

MIX: Final = "mix"

_BLURRED_FRAMES: Final = 3
_OUTAGE_FRAMES: Final = 3
_SURE_SECONDS: Final = 0.1


class Talker(Person):
    """Somebody who speaks the tone code of that number."""

    def __init__(self, call: "Talk", name: str, number: int, options: SpeakerOptions | None = None) -> None:
        super().__init__(call, name, 0.0, options)
        self.number = number
        self._spoken: dict[bytes, tuple[int, int]] = {}  # frame and spurt of each packet
        self._begins: list[int] = []  # the first frame of each spurt

    @property
    def frames(self) -> list[tuple[SentFrame, int, int]]:
        """What was sent, with its frame and spurt."""
        return [(sent, *self._spoken[sent.opus]) for sent in self.spoken]

    def truth(self, session_began: float) -> list[Said]:
        """The frames that were sent, and where they belong.

        That is told by the one of their spurt that was sent with the least delay; the machine may be busy.
        """
        interval = FRAME_SECONDS / (1 + self.speaker.options.drift_ppm * 1e-6)
        ideal = [
            (frame, spurt, (frame - self._begins[spurt]) * interval, sent.sent_at) for sent, frame, spurt in self.frames
        ]
        anchors: dict[int, float] = {}
        for _, spurt, due, sent_at in ideal:
            anchors[spurt] = min(anchors.get(spurt, float("inf")), sent_at - due)
        return [Said(frame, (anchors[spurt] + due - session_began) * RATE, spurt) for frame, spurt, due, _ in ideal]

    def lost_frames(self, link: Link) -> set[int]:
        """The frames that a link lost; silence is none."""
        lost = _lost(link)
        return {frame for sent, frame, _ in self.frames if (sent.ssrc, sent.sequence) in lost}

    def lost_packets(self, link: Link) -> int:
        """How many packets a link lost, silence among them."""
        lost = _lost(link)
        return sum((sent.ssrc, sent.sequence) in lost for sent in self.speaker.sent)

    def _frames(self, count: int | None) -> Iterable[bytes]:
        spurt, first = len(self._begins), self._said
        self._begins.append(first)
        for opus in packets(self.number, first):
            if (self._hush and count is None) or (count is not None and self._said >= first + count):
                return
            self._spoken[opus] = (self._said, spurt)
            self._said += 1
            yield opus


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause of the recording, in monotonic seconds: between which its beginning was, and its end."""

    began: tuple[float, float]
    ended: tuple[float, float]

    @property
    def seconds(self) -> float:
        """How long it was, to half of `unsure_ms`."""
        return (sum(self.ended) - sum(self.began)) / 2

    @property
    def unsure_ms(self) -> float:
        """How well that is known."""
        return (self.began[1] - self.began[0] + self.ended[1] - self.ended[0]) * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A recording, heard."""

    tracks: Mapping[str, Verdict]
    """By name."""
    mix: Mapping[str, Verdict]
    """Of the frames around which none is missing."""
    masters: Mapping[str, Verdict]
    """Of the tracks that have a lossless or Opus master."""

    def files_of(self, talker: Talker) -> list[Verdict]:
        """Of a speaker's track, and its master if there is one."""
        return [files[talker.user.name] for files in (self.tracks, self.masters) if talker.user.name in files]

    misalignment_ms: float
    """How far any two frames of any two speakers are from where they belong to each other, between pauses."""


class Talk(Call):
    """Ada (timestamps run on), Ben (timestamps stop with the sound), and who else is added; and a bot that records."""

    def __init__(self, simulator: Simulator, services: ServicesManager) -> None:
        super().__init__(simulator, services)
        self.talkers: list[Talker] = []
        self.arrivals: dict[tuple[int, int], float] = {}
        """When frames were received, in monotonic seconds, by SSRC and sequence number."""
        self.session_began = 0.0
        self.pauses: list[Pause] = []
        self._paused = (0.0, 0.0)
        self._written_off: dict[Talker, int] = {}

    def add(self, name: str, options: SpeakerOptions | None = None) -> Talker:
        """One more person, who has not joined yet."""
        talker = Talker(self, name, len(self.talkers) + 1, options)
        next(packets(talker.number))  # the first one takes long, as the voice is made; nobody could speak meanwhile
        self.talkers.append(talker)
        return talker

    async def record(self, **given: Any) -> None:
        """The bot joins and records; arrivals are noted, and when session time began."""
        hear = LiveCapture.on_frames

        def note(live: LiveCapture, frames: Sequence[OpusFrame]) -> None:
            for frame in frames:
                self.arrivals.setdefault((frame.ssrc, frame.sequence), frame.arrived)
            hear(live, frames)

        with mock.patch.object(LiveCapture, "on_frames", note):
            await super().record(**given)
        self.session_began = self.live.started

    async def gather(self, *talkers: Talker) -> None:
        """All these join, then the bot, which records; returns when everybody is in the encrypted group."""
        for talker in talkers:
            await talker.join()
        await self.record()
        await self.together(*(talker.id for talker in talkers))

    async def hush(self, *talkers: Talker) -> None:
        """All of these, or all, come to the end of their sentence."""
        await asyncio.gather(*(talker.end() for talker in talkers or self.talkers))

    async def pause(self) -> None:
        """Pause the recording."""
        began = time.monotonic()
        assert await self.recorder.pause_session(self.channel.id)
        self._paused = began, time.monotonic()

    async def resume(self) -> None:
        """Go on."""
        ends = time.monotonic()
        assert await self.recorder.resume_session(self.channel.id)
        self.pauses.append(Pause(began=self._paused, ended=(ends, time.monotonic())))

    async def depart(self, talker: Talker) -> None:
        """Somebody comes to the end of their sentence, which is received, and leaves."""
        await talker.end()
        await until(lambda: self._has_all_of(talker))
        await talker.leave()

    def write_off(self, packets: Mapping[Talker, int] | None = None) -> None:
        """So many packets of each will never come; without them, all that have not come by now."""
        for talker in self.talkers:
            given = self._outstanding(talker) if packets is None else packets[talker]
            self._written_off[talker] = self._written_off.get(talker, 0) + given

    async def finish(self) -> RecordingDict:
        """Stop when all that was sent has come."""
        await self.received_all()
        return await self.stop()

    async def received_all(self) -> None:
        """Return when all that was sent has come, but for what is written off."""
        await until(lambda: all(self._has_all_of(talker) for talker in self.talkers))

    def _has_all_of(self, talker: Talker) -> bool:
        return self._outstanding(talker) <= 0 and not self.counts().parked

    def _outstanding(self, talker: Talker) -> int:
        counts = self.counts(talker.id)
        came = counts.received - counts.dropped.get(Outcome.DUPLICATE, 0)
        return len(talker.speaker.sent) - came - self._written_off.get(talker, 0)

    @property
    def late_ms(self) -> float:
        """By how much the first frame of any talk spurt was later at the recorder than it was due.

        The network and the machine may do that. The recorder puts it right when the spurt goes on, but not always.
        """
        late = 0.0
        for talker in self.talkers:
            firsts: dict[tuple[int, int], tuple[float, float]] = {}
            unheard = outages = 0
            said = talker.truth(self.session_began)
            for (sent, _, spurt), one in zip(talker.frames, said, strict=True):
                arrived = self.arrivals.get((sent.ssrc, sent.sequence))
                if arrived is None:
                    unheard += 1
                    continue
                outages += unheard > _OUTAGE_FRAMES  # after that, and a pause, it is another spurt for the recorder
                unheard = 0
                part = outages + sum(pause.ended[1] < arrived for pause in self.pauses)
                first = arrived, (arrived - self.session_began - one.at / RATE) * 1000
                firsts[spurt, part] = min(firsts.get((spurt, part), first), first)
            late = max([late, *(delay_ms for _, delay_ms in firsts.values())])
        return late

    def parts(self, talker: Talker, pause: Pause) -> list[list[Said]]:
        """The frames that came before, during and after a pause for certain, with their places in session time."""
        parts: list[list[Said]] = [[], [], []]
        for (sent, _, _), one in zip(talker.frames, talker.truth(self.session_began), strict=True):
            arrived = self.arrivals.get((sent.ssrc, sent.sequence), sent.sent_at)
            if arrived < pause.began[0] - _SURE_SECONDS:
                parts[0].append(one)
            elif pause.began[1] + _SURE_SECONDS < arrived < pause.ended[0] - _SURE_SECONDS:
                parts[1].append(one)
            elif arrived > pause.ended[1] + _SURE_SECONDS:
                parts[2].append(one._replace(at=one.at - pause.seconds * RATE))
        return parts

    def truth(self, talker: Talker) -> list[Said]:
        """What is to be heard of somebody, and where; of what came when a pause began or ended nothing is certain."""
        return [one for part in self._recorded(talker) for one in part]

    def _recorded(self, talker: Talker) -> list[list[Said]]:
        """The same, what comes before the pause and what comes after it."""
        if not self.pauses:
            return [talker.truth(self.session_began)]
        (pause,) = self.pauses
        before, _, after = self.parts(talker, pause)
        return [before, after]

    def hearings(self, recording: RecordingDict) -> dict[str, Hearing]:
        """What is heard on each track, by the speaker's name, and in the mix, by `MIX`."""
        ear = _ear(len(self.talkers))
        sounds = {track["user_id"]: played(Path(track["path"])) for track in recording["tracks"]}
        heard = {talker.user.name: ear.listen(sounds[str(talker.id)]) for talker in self.talkers}
        breaks = [edge for hearing in heard.values() for edge in hearing.edges]
        return {**heard, MIX: ear.listen(sounds[None], several=True, breaks=breaks)}

    def judged(self, recording: RecordingDict) -> Judged:
        """Compare what is heard with what was said."""
        heard = self.hearings(recording)
        tracks: dict[str, Verdict] = {}
        mix: dict[str, Verdict] = {}
        for talker in self.talkers:
            said, name = self.truth(talker), talker.user.name
            tracks[name] = judge(heard[name], talker.number, said)
            mix[name] = judge(heard[MIX].only(talker.number), talker.number, _inner(said, tracks[name].missing))
        between_pauses = zip(
            *(
                [judge(heard[talker.user.name], talker.number, part) for part in self._recorded(talker)]
                for talker in self.talkers
            ),
            strict=True,
        )
        apart_ms = max(misalignment_ms(verdicts) for verdicts in between_pauses)
        return Judged(tracks=tracks, mix=mix, masters=self._masters(recording), misalignment_ms=apart_ms)

    def _masters(self, recording: RecordingDict) -> dict[str, Verdict]:
        paths = {track["user_id"]: Path(track["master_path"]) for track in recording["tracks"] if track["master_path"]}
        return {
            talker.user.name: judge(_ear(len(self.talkers)).listen(played(path)), talker.number, self.truth(talker))
            for talker in self.talkers
            if (path := paths.get(str(talker.id))) is not None
        }


def _inner(said: Sequence[Said], missing: Iterable[int]) -> list[Said]:
    """The frames around which all are there; in a mix the ear does not know exactly where somebody begins and ends."""
    gone = set(missing)
    there = {(one.frame, one.spurt) for one in said if one.frame not in gone}
    near = range(-_BLURRED_FRAMES, _BLURRED_FRAMES + 1)
    return [one for one in said if all((one.frame + each, one.spurt) in there for each in near)]


def _lost(link: Link) -> set[tuple[int | None, int | None]]:
    return {(incident.ssrc, incident.sequence) for incident in link.incidents if incident.kind is Kind.LOST}


@cache
def _ear(talkers: int) -> Ear:
    return Ear(range(1, talkers + 1))


@asynccontextmanager
async def recorded_talk(simulator: Simulator, data_dir: Path, **settings: Any) -> AsyncIterator[Talk]:
    """A call whose bot is logged in and attached; nobody has joined."""
    async with ServicesManager(quick_settings(data_dir, **settings)) as services:
        talk = Talk(simulator, services)
        talk.client = discord.Client(**client_options(simulator))
        services.attach(talk.client, options=ConnectionOptions(ssl_context=simulator.client_context()))
        try:
            async with logged_in(talk.client, talk.bot):
                yield talk
                await services.detach()
        finally:
            for talker in talk.talkers:
                await talker.end()
                await talker.leave()
