"""What a voice client tells whoever records: segments, frames, gaps, who is there, and the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from discord_recorder.voice.frames import OpusFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One connection to a voice server: its SSRCs, sequence numbers and timestamps have nothing to do with others'."""

    number: int
    """1 for the first of a session."""

    channel_id: int
    """The channel being heard; another one after a move."""

    started: float
    """When audio could flow, in monotonic seconds."""


class GapReason(StrEnum):
    """Why nothing was heard for a while."""

    CONNECTION_LOST = "the connection to the voice server was lost"
    SESSION_ENDED = "the voice session was ended by the server"
    SERVER_MOVED = "the voice server changed"
    DEAF = "audio stopped arriving, and the channel was joined again"
    DEAFENED = "the bot was deafened by a moderator"


class EndReason(StrEnum):
    """Why a voice client has ended for good."""

    LEFT = "left the channel"
    REMOVED = "removed from the channel"
    E2EE_REQUIRED = "the channel requires end-to-end encryption, and the server did not accept ours"
    RATE_LIMITED = "Discord asked not to reconnect (rate limit)"
    REFUSED = "the voice server refused the connection twice"
    GAVE_UP = "the voice connection could not be restored"
    NO_RECONNECT = "the connection was lost and reconnecting is switched off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of a voice client."""

    reason: EndReason
    close_code: int | None = None
    """The voice gateway's close code, where it was one that ended it."""

    def __str__(self) -> str:
        """The reason as a person reads it."""
        return self.reason if self.close_code is None else f"{self.reason} (close code {self.close_code})"


class VoiceSink(Protocol):
    """Takes what a voice client hears. All times are monotonic seconds; every call returns at once.

    The order of calls is that of the events; `on_ended` is the last one.
    """

    def on_segment(self, segment: Segment) -> None:
        """A new connection is heard from now on."""

    def on_frames(self, frames: Sequence[OpusFrame]) -> None:
        """Frames of any users, all of the current segment.

        If it raises it has taken none of them: the voice client counts them as not recorded, and goes on.
        """

    def on_gap(self, start: float, end: float, reason: GapReason) -> None:
        """Nothing was heard from `start` to `end`, of nobody."""

    def on_speaker(self, user_id: int, *, joined: bool) -> None:
        """Somebody is in the channel, or no longer."""

    def on_ended(self, ended: Ended) -> None:
        """Nothing will be heard any more."""
