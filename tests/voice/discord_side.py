"""The main gateway's side: a real, unconnected discord.py client, and a websocket of ours behind it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import discord

from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.sink import Ended, GapReason, Segment

GUILD, CHANNEL, OTHER_CHANNEL, ME = 10, 20, 21, 30


@dataclass
class Heard:
    """A sink that writes down."""

    segments: list[Segment] = field(default_factory=list)
    frames: list[OpusFrame] = field(default_factory=list)
    gaps: list[tuple[float, float, GapReason]] = field(default_factory=list)
    speakers: list[tuple[int, bool]] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    def on_segment(self, segment: Segment) -> None:
        assert not self.ended
        self.segments.append(segment)

    def on_frames(self, frames: Sequence[OpusFrame]) -> None:
        assert not self.ended
        assert frames
        self.frames += frames

    def on_gap(self, start: float, end: float, reason: GapReason) -> None:
        assert start < end
        assert not self.ended
        self.gaps.append((start, end, reason))

    def on_speaker(self, user_id: int, *, joined: bool) -> None:
        self.speakers.append((user_id, joined))

    def on_ended(self, ended: Ended) -> None:
        self.ended.append(ended)


class MainGateway:
    """Answers op 4 with a voice state and a voice server, through discord.py's own parsers.

    `answer` is the endpoint to hand out, None for no server at all. What the client asked for is in `asked`.
    """

    def __init__(self) -> None:
        self.client = discord.Client(intents=discord.Intents(guilds=True, voice_states=True))
        self.answer: str | None = None
        self.answers_states = True
        self.server_first = False
        self.asked: list[int | None] = []
        self.tokens = 0
        self.state: Any = cast("Any", self.client._connection)
        self.state._get_websocket = lambda *_: self
        self.ready()

    def ready(self, *, with_guild: bool = True) -> None:
        """A new session of the main gateway: the library forgets everything, and may learn of the guild later."""
        state = self.state
        state.clear()
        me: Any = {"id": str(ME), "username": "recorder", "discriminator": "0", "avatar": None}
        state.user = discord.ClientUser(state=state, data=me)
        if with_guild:
            self.guild_comes()

    def guild_comes(self) -> None:
        """GUILD_CREATE."""
        state = self.state
        channels = [
            {"id": str(number), "type": 2, "name": "voice", "position": 0, "bitrate": 64000, "user_limit": 0}
            for number in (CHANNEL, OTHER_CHANNEL)
        ]
        guild: Any = {"id": str(GUILD), "name": "guild", "channels": channels, "roles": [], "members": [], "emojis": []}
        state._add_guild(discord.Guild(data=guild, state=state))

    @property
    def channel(self) -> discord.VoiceChannel:
        channel = self.client.get_channel(CHANNEL)
        assert isinstance(channel, discord.VoiceChannel)
        return channel

    @property
    def guild(self) -> discord.Guild:
        guild = self.client.get_guild(GUILD)
        assert guild is not None
        return guild

    async def voice_state(self, guild_id: int, channel_id: int | None, self_mute: bool, self_deaf: bool) -> None:
        """What discord.py's websocket does for op 4."""
        assert (guild_id, self_deaf) == (GUILD, False)
        self.asked.append(channel_id)
        if not self.answers_states:
            return
        if channel_id is None:
            self.say_state(ME, None)
            return
        if self.server_first:
            self.say_server(self.answer)
            self.say_state(ME, channel_id)
        else:
            self.say_state(ME, channel_id)
            self.say_server(self.answer)

    def say_state(self, user_id: int, channel_id: int | None, **more: Any) -> None:
        """VOICE_STATE_UPDATE."""
        self.state.parse_voice_state_update(
            {
                "guild_id": str(GUILD),
                "channel_id": None if channel_id is None else str(channel_id),
                "user_id": str(user_id),
                "session_id": f"session of {user_id}",
                **dict.fromkeys(("deaf", "mute", "self_deaf", "self_mute", "self_video", "suppress"), False),
                **more,
            }
        )

    def say_server(self, endpoint: str | None, *, token: str | None = None) -> None:
        """VOICE_SERVER_UPDATE, with a new token unless one is given."""
        self.tokens += 1
        self.state.parse_voice_server_update(
            {"guild_id": str(GUILD), "endpoint": endpoint, "token": token or f"token {self.tokens}"}
        )


async def turns(count: int = 5) -> None:
    """Let what is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)
