"""The people of the demo: they meet in a simulated Discord, take turns, talk over each other, come and go."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from discord_recorder.cli.following import until
from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.entities import Channel, Guild, User
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.opus_source import TalkSpurt, talk_spurts
from discord_recorder.simulator.voice.speakers import Habit, Speaker, SpeakerOptions

MEETING_SECONDS: Final = 44.0
"""Whatever begins to be said later is left out."""

_GROUP_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Who somebody is in the meeting; times in seconds from its beginning."""

    name: str
    joins_at: float = 0.0
    away: tuple[float, float] | None = None
    habit: Habit = Habit.RUNNING


CAST: Final = (
    Part(name="Ada"),
    Part(name="Ben", away=(21.6, 23.6), habit=Habit.STOPPING),
    Part(name="Chris", joins_at=4.4),
)


def speech_of(parts: Sequence[Part], until_seconds: float) -> list[list[TalkSpurt]]:
    """What each says, from the files that come with the program; takes a second or two."""
    folder = resources.files("discord_recorder") / "assets" / "speech"
    spoken = []
    for part in parts:
        with resources.as_file(folder / f"{part.name}.ogg") as path:
            spoken.append(talk_spurts(path, until_seconds=until_seconds))
    return spoken


class Meeting:
    """A channel with its people; `tell` hears what happens, with the meeting's time in seconds."""

    def __init__(self, simulator: Simulator, tell: Callable[[float, str], None]) -> None:
        self._simulator = simulator
        self._tell = tell
        self._began: float | None = None
        self._people: list[tuple[Part, User, Speaker]] = []
        for part in CAST:
            speaker = Speaker(tls=simulator.client_context(), options=SpeakerOptions(habit=part.habit))
            self._people.append((part, simulator.add_user(part.name), speaker))
        self.guild: Guild = simulator.add_guild("Demo", *(user for _, user, _ in self._people))
        self.channel: Channel = simulator.add_voice_channel(self.guild, "Summer day out")

    @property
    def sent(self) -> dict[int, int]:
        """Packets that left each person, by user id."""
        return {user.id: len(speaker.sent) for _, user, speaker in self._people}

    async def gather(self) -> None:
        """Let in whoever is there from the beginning."""
        for part, user, speaker in self._people:
            if not part.joins_at:
                await speaker.join(self._simulator.join(user, self.channel))

    async def encrypted_with(self, bot: User) -> None:
        """Return when the bot is in the encrypted group, and everybody has its key."""

        def settled() -> bool:
            dave = self._simulator.voice_server(self.guild).dave(self.channel.id)
            return dave is not None and bot.id in dave.members and dave.settled

        if not await until(settled, _GROUP_SECONDS):
            raise SimulatorError("the bot did not get into the encrypted group of the call")

    async def hold(self, spoken: Sequence[Sequence[TalkSpurt]]) -> None:
        """The whole meeting."""
        self._began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for person, spurts in zip(self._people, spoken, strict=True):
                tasks.create_task(self._take_part(*person, spurts))

    async def disperse(self) -> None:
        """Let everybody leave."""
        for _, user, speaker in self._people:
            await self._leave(user, speaker)

    async def _take_part(self, part: Part, user: User, speaker: Speaker, spurts: Sequence[TalkSpurt]) -> None:
        if part.joins_at:
            await self._until(part.joins_at)
            await self._come(part.name, user, speaker)
        away = part.away
        for spurt in spurts:
            if away is not None and spurt.begin_seconds >= away[0]:
                await self._until(away[0])
                await self._leave(user, speaker)
                self._tell(self._now, f"{part.name} leaves")
                await self._until(away[1])
                await self._come(part.name, user, speaker)
                away = None
            await self._until(spurt.begin_seconds)
            self._tell(self._now, f"{part.name} speaks for {spurt.end_seconds - spurt.begin_seconds:.0f} s")
            await speaker.speak(spurt.frames)

    async def _come(self, name: str, user: User, speaker: Speaker) -> None:
        self._tell(self._now, f"{name} joins")
        await speaker.join(self._simulator.join(user, self.channel))
        await speaker.ready()

    async def _leave(self, user: User, speaker: Speaker) -> None:
        await speaker.leave()
        self._simulator.leave(user, self.guild)

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time() - (self._began or 0.0)

    async def _until(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds - self._now))
