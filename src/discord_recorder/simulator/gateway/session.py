"""A gateway session: its sequence numbers, and what a resume repeats."""

import json
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from discord_recorder.simulator.entities import Json, User
from discord_recorder.simulator.gateway.intents import Intent

MAX_KEPT: Final = 4_096
"""Events that a resume can repeat; a client that missed more has to identify again."""


class Outlet(Protocol):
    """The connection of a session."""

    def send(self, text: str) -> None:
        """Send a message; never blocks."""

    def close(self, code: int) -> None:
        """Close the websocket with a code, after what was sent before."""

    def cut(self) -> None:
        """End the connection as a network does: without a word."""


def envelope(op: int, data: object = None, *, sequence: int | None = None, event: str | None = None) -> str:
    """A gateway message."""
    return json.dumps({"op": op, "d": data, "s": sequence, "t": event}, separators=(",", ":"))


@dataclass(slots=True, kw_only=True)
class Shard:
    """Which guilds a session is about."""

    number: int
    count: int

    def has(self, guild_id: int | None) -> bool:
        """Whether a guild's events belong here; what is of no guild belongs to shard 0."""
        return self.number == (0 if guild_id is None else (guild_id >> 22) % self.count)


class Session:
    """What IDENTIFY began; it outlives its connection for a while."""

    def __init__(self, session_id: str, user: User, intents: Intent, shard: Shard) -> None:
        self.id = session_id
        self.user = user
        self.intents = intents
        self.shard = shard
        self.outlet: Outlet | None = None
        self.sequence = 0
        self._kept: deque[tuple[int, str]] = deque(maxlen=MAX_KEPT)

    def dispatch(self, event: str, data: Json) -> None:
        """Tell an event, now or at the resume."""
        self.sequence += 1
        text = envelope(0, data, sequence=self.sequence, event=event)
        self._kept.append((self.sequence, text))
        if self.outlet is not None:
            self.outlet.send(text)

    def missed(self, after: int) -> list[str] | None:
        """The events after a sequence number; None when they cannot be told any more, or it never was."""
        first = self._kept[0][0] if self._kept else self.sequence + 1
        if not first - 1 <= after <= self.sequence:
            return None
        return [text for sequence, text in self._kept if sequence > after]
