"""What the recording domain needs of live voice: find a channel, join it, know who is who.

The implementation over discord.py is in the services; nothing here knows that library.
"""

from dataclasses import dataclass
from typing import Protocol

from discord_recorder.ids import Snowflake
from discord_recorder.voice.counters import PacketLedger
from discord_recorder.voice.sink import Ended, VoiceSink


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicePlace:
    """A voice channel that can be joined."""

    channel_id: Snowflake
    channel_name: str
    guild_id: Snowflake


class VoiceCall(Protocol):
    """A channel that was joined."""

    @property
    def ended(self) -> Ended | None:
        """Why nothing is heard any more; None while it goes on."""

    async def leave(self) -> None:
        """Leave the channel, in bounded time; what was received by then has been handed to the sink afterwards."""


class VoicePort(Protocol):
    """The way into voice channels that an attached bot is."""

    def find(self, channel_id: Snowflake) -> VoicePlace:
        """The channel; raises `VoiceChannelError` that says why it cannot be joined, and what to do."""

    def name_of(self, guild_id: Snowflake, user_id: int) -> str | None:
        """A member's display name, None when it is not known."""

    async def join(self, place: VoicePlace, sink: VoiceSink, ledger: PacketLedger) -> VoiceCall:
        """Join, and return when audio can flow; raises `VoiceConnectionError`, and leaves nothing behind then.

        What was found may have changed: then it raises `VoiceChannelError`, as `find` does.
        """
