"""What a voice connection needs from whoever owns it, and how it is made."""

import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.health import Alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How connections are made."""

    accept_plain: bool = True
    """Whether unencrypted Opus of known speakers is taken in an encrypted call."""

    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    """Trust for wss; None is the system's, with what `SSL_CERT_FILE` names."""

    scheme: str = "wss"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    """What the main gateway knows of the channel."""

    present: Collection[int] = frozenset()
    """User ids, our own left out."""

    muted: Collection[int] = frozenset()
    """Those who cannot be heard: muted by themselves, by a moderator, or in a stage's audience."""

    deafened: bool = False
    """Whether a moderator has deafened us."""

    complete: bool = False
    """Whether all who are there are in `present`."""


class ConnectionListener(Protocol):
    """Takes what a connection has to tell; called on the event loop, must not raise."""

    def on_established(self, *, resumed: bool) -> None:
        """Audio can flow; for a new session this comes before its first frame."""

    def on_frames(self, frames: Sequence[OpusFrame]) -> None:
        """Frames are ready."""

    def on_speaker(self, user_id: int, *, joined: bool) -> None:
        """Somebody is there, or has left."""

    def may_heal(self, alarm: Alarm) -> bool:
        """The connection is deaf: whether it shall end with that loss now, to be made anew."""

    def channel_view(self) -> ChannelView:
        """What the main gateway knows now."""


class MainGateway(Protocol):
    """The supervisor's way to the main gateway."""

    @property
    def is_registered(self) -> bool:
        """Whether we are told of our voice state and server."""

    async def register(self) -> None:
        """Be told again, however long it takes until that is possible; raises whatever the library does."""

    async def change_voice_state(self, channel_id: int | None) -> None:
        """Op 4: be in a channel, or in none; raises whatever the library does."""

    def channel_view(self) -> ChannelView:
        """What is known of the channel."""
