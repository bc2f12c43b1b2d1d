"""What happened to a live call apart from its audio, in the words of `get_session_status`."""

from collections import deque
from typing import Final, TypedDict

MAX_EVENTS: Final = 200
"""Older ones are forgotten."""


class VoiceEvent(TypedDict):
    """Something that happened; times are milliseconds of session time."""

    kind: str
    """`connected`: a connection to a voice server began; `gap`: nothing was heard of anybody; `ended`."""
    at_ms: int
    ends_ms: int | None
    """For a gap."""
    channel_id: str | None
    """For a connection."""
    reason: str | None
    """For a gap and the end."""


class EventLog:
    """The last events of a call."""

    def __init__(self) -> None:
        self._events: deque[VoiceEvent] = deque(maxlen=MAX_EVENTS)

    def connected(self, at_ms: int, channel_id: int) -> None:
        """A connection began."""
        self._add("connected", at_ms, channel_id=str(channel_id))

    def gap(self, at_ms: int, ends_ms: int, reason: str) -> None:
        """Nothing was heard in between."""
        self._add("gap", at_ms, ends_ms=ends_ms, reason=reason)

    def ended(self, at_ms: int, reason: str) -> None:
        """The call is over."""
        self._add("ended", at_ms, reason=reason)

    def events(self) -> list[VoiceEvent]:
        """All that are remembered, oldest first."""
        return list(self._events)

    def _add(
        self,
        kind: str,
        at_ms: int,
        *,
        ends_ms: int | None = None,
        channel_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        event = VoiceEvent(kind=kind, at_ms=at_ms, ends_ms=ends_ms, channel_id=channel_id, reason=reason)
        self._events.append(event)
