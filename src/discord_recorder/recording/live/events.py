"""What happened to a live call apart from its audio, in the words of `get_session_status`."""

from typing import Final, TypedDict

from discord_recorder.audio.pcm import samples_to_ms
from discord_recorder.storage.records import Mark, MarkKind

MAX_EVENTS: Final = 200
"""Older ones are in the database only."""

_NAMES: Final = {MarkKind.CONNECTED: "connected", MarkKind.DISCONNECTED: "gap", MarkKind.ENDED: "ended"}


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


def voice_event(mark: Mark) -> VoiceEvent:
    """A mark of the voice connection as an event."""
    return VoiceEvent(
        kind=_NAMES[mark.kind],
        at_ms=samples_to_ms(mark.at_sample),
        ends_ms=samples_to_ms(mark.end_sample) if mark.kind is MarkKind.DISCONNECTED else None,
        channel_id=mark.text,
        reason=mark.reason,
    )
