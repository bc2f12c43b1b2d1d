"""What the simulator's Discord needs of a voice server: admit people, put them out, mute them.

`simulator.voice` implements it. All calls are synchronous: they note what is to happen and return; closing sockets is
the voice server's own task.
"""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceTicket:
    """Leave to connect to a voice server: what its IDENTIFY has to show."""

    user_id: int
    guild_id: int
    channel_id: int
    session_id: str
    """Of the voice state; the main gateway's session for a bot."""
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceAccess:
    """A ticket and where it is valid."""

    endpoint: str
    """Host and port without a scheme, as VOICE_SERVER_UPDATE has it."""
    ticket: VoiceTicket


class VoicePort(Protocol):
    """A running voice server."""

    @property
    def endpoint(self) -> str:
        """Host and port without a scheme, for instance `localhost:50001`."""

    def admit(self, ticket: VoiceTicket) -> None:
        """Let this user identify with this ticket; an older one of the same user and guild is void."""

    def remove(self, user_id: int, guild_id: int, close_code: int = 4014) -> None:
        """Close the user's connection, if there is one, and forget the ticket; not reported as having left."""

    def set_muted(self, user_id: int, guild_id: int, *, mute: bool, deaf: bool) -> None:
        """Forward nothing of a server-muted user, nothing to a server-deafened one."""

    def set_self_deaf(self, user_id: int, guild_id: int, *, deaf: bool) -> None:
        """Forward nothing to a user that has deafened itself."""

    def change_version(self, channel_id: int, version: int) -> None:
        """Take a channel's call to another DAVE version; stage channels have none."""
