"""People in voice channels: a speaker that follows its user wherever moves and changes of voice server take it."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from ssl import SSLContext
from types import TracebackType
from typing import Self

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.discord import SimulatedDiscord
from discord_recorder.simulator.entities import Channel, Guild, User
from discord_recorder.simulator.voice.speakers import Speaker, SpeakerOptions
from discord_recorder.simulator.voice_port import VoiceAccess

_log = logging.getLogger(__name__)


class Participant:
    """A person that can talk; connected while it is in a channel, whoever put it there.

    Use it as `async with`, or open and close it; at the end it leaves. A person has one at a time.
    """

    def __init__(
        self, discord: SimulatedDiscord, user: User, *, tls: SSLContext, options: SpeakerOptions | None = None
    ) -> None:
        self.user = user
        self.speaker = Speaker(tls=tls, options=options)
        """Its logs tell what was sent and heard, through all connections."""
        self._discord = discord
        self._guild: Guild | None = None
        self._served: VoiceAccess | None = None
        self._follower: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to follow the person."""
        self._follower = asyncio.create_task(self._follow(), name="simulated participant")

    async def close(self) -> None:
        """Leave, and follow no more."""
        try:
            await self.leave()
        finally:
            if self._follower is not None:
                self._follower.cancel()
                await asyncio.gather(self._follower, return_exceptions=True)
            await self.speaker.leave()

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def join(self, channel: Channel, *, self_mute: bool = False, self_deaf: bool = False) -> None:
        """Enter a channel, and return when audio can be sent there.

        Raises:
            SimulatorError: the channel is full, or may not be entered.
        """
        self._guild = self._discord.world.guild_of(channel)
        self._discord.join(self.user, channel, self_mute=self_mute, self_deaf=self_deaf)
        await self.connected()

    async def connected(self) -> None:
        """Return when the connection is the one that the latest ticket is for; raises `SimulatorError` if it cannot be.

        After a move or a change of voice server this is when the new connection stands.
        """
        await self._discord.until(lambda: self._served == self._access())
        if self._served is not None and not self._is_open():
            raise SimulatorError(f"{self.user.name} was not let in by the voice server")

    async def leave(self) -> None:
        """Leave voice; nothing happens to who is not in a channel."""
        if self._guild is not None:
            self._discord.leave(self.user, self._guild)
            await self._discord.until(lambda: self._served is None)

    async def say(self, frames: Iterable[bytes]) -> None:
        """Say Opus frames of 20 ms in real time; goes on after a reconnect, ends early when the person is out of voice.

        Waits at first until what is said can be encrypted for the others; who is alone in an end-to-end encrypted call
        waits for somebody.
        """
        speech = _Speech(frames)
        while not speech.is_over and self._access() is not None:
            await self.connected()
            if self._served is None:
                return
            await self.speaker.ready()
            if self._is_open():
                await self.speaker.speak(speech)

    async def _follow(self) -> None:
        """Keep the connection to what the world says, one after the other."""
        while True:
            await self._discord.changes.until(lambda: self._served != self._access(), timeout_seconds=None)
            access = self._access()
            await self.speaker.leave()
            if access is not None:
                try:
                    await self.speaker.join(access)
                except SimulatorError:
                    _log.warning("a simulated participant was not let in", extra={"user_id": self.user.id})
            self._served = access
            self._discord.changes.announce()

    def _access(self) -> VoiceAccess | None:
        return None if self._guild is None else self._discord.voice_access(self.user, self._guild)

    def _is_open(self) -> bool:
        try:
            return self.speaker.connection.is_open
        except SimulatorError:
            return False


class _Speech(Iterator[bytes]):
    """Frames that several talk spurts say together."""

    def __init__(self, frames: Iterable[bytes]) -> None:
        self.is_over = False
        self._frames = iter(frames)

    def __next__(self) -> bytes:
        try:
            return next(self._frames)
        except StopIteration:
            self.is_over = True
            raise
