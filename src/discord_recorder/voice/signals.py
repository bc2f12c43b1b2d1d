"""What the main gateway says about our own place in voice, sans-I/O: which channel, which server, in any order.

VOICE_STATE_UPDATE and VOICE_SERVER_UPDATE come in either order, twice after a resume of the main gateway, with a null
endpoint while a server is replaced, with a null channel when we are removed, and also when we leave to join again.
Source: PROTOCOL "Connecting" 1 and "When the connection breaks".
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from discord_recorder.voice.events import Ticket

LONE_SERVER_SECONDS: Final = 0.3
"""After a server update the state is waited for so long; a server may be replaced with no new state."""

_MAX_TEXT: Final = 4096


class Signal(Enum):
    """What the last messages amount to, for a connection that is under way."""

    NOTHING = "nothing"
    REMOVED = "removed"
    """Our channel is null, and not because we asked for it."""

    NO_ENDPOINT = "no endpoint"
    """The server is gone; another one will be announced."""

    OTHER_SERVER = "other server"
    """There are new credentials."""

    OTHER_CHANNEL = "other channel"
    """We were moved, and no new credentials have come for it."""


class Signals:
    """Our own voice state and voice server, as last announced."""

    def __init__(self, *, guild_id: int, user_id: int, channel_id: int) -> None:
        self.guild_id = guild_id
        self.user_id = user_id
        self.channel_id = channel_id
        """The channel that we are in or want to be in."""

        self.deafened = False
        """Whether a moderator has deafened us."""

        self._session_id: str | None = None
        self._token: str | None = None
        self._endpoint: str | None = None
        self._server_at: float | None = None
        self._state_is_new = False
        self._server_is_new = False
        self._endpoint_is_gone = False
        self._removed = False
        self._leaving = False
        self._own_leaves = 0
        self._in_channel = False

    @property
    def in_channel(self) -> bool:
        """Whether the main gateway has us in a channel."""
        return self._in_channel

    @property
    def removed(self) -> bool:
        """Whether we were taken out of the channel, and not because we asked for it."""
        return self._removed

    @property
    def endpoint_is_gone(self) -> bool:
        """Whether the server was taken away, or none was there yet; another one will be announced."""
        return self._endpoint_is_gone

    def was_announced(self, since: float) -> bool:
        """Whether a server was announced after `since`, be it the one we had."""
        return self._server_is_new and self._server_at is not None and self._server_at > since

    def requested(self, *, leaving: bool) -> None:
        """We ask for a new state and server now; `leaving` when we leave the channel first, which is no removal.

        A slow main gateway may answer several requests one after the other, so each has one leave of its own.
        """
        self._state_is_new = self._server_is_new = False
        self._removed = self._endpoint_is_gone = False
        self._leaving = leaving
        self._own_leaves += leaving

    def settled(self) -> None:
        """There is a connection: answers to what we asked for before have come, or never will."""
        self._own_leaves = 0

    def state(self, data: Mapping[str, Any]) -> None:
        """A VOICE_STATE_UPDATE of our own; one that cannot be read is ignored."""
        channel_id, session_id = data.get("channel_id"), data.get("session_id")
        if channel_id is None:
            self._in_channel = False
            self._state_is_new = False
            if self._own_leaves:
                self._own_leaves -= 1
            else:
                self._removed = True
            return
        try:
            channel_id = int(channel_id)
        except (TypeError, ValueError):
            return
        if not _is_text(session_id):
            return
        self.channel_id = channel_id
        self._session_id = session_id
        self.deafened = bool(data.get("deaf"))
        self._in_channel = self._state_is_new = True
        self._removed = self._leaving = False

    def server(self, data: Mapping[str, Any], now: float) -> None:
        """A VOICE_SERVER_UPDATE of our guild; one that cannot be read is ignored."""
        token, endpoint = data.get("token"), data.get("endpoint")
        if endpoint is None:
            self._endpoint_is_gone = True
            self._server_is_new = False
            self._endpoint = None
            return
        if not _is_text(token) or not _is_text(endpoint):
            return
        endpoint = endpoint.removeprefix("wss://").rstrip("/")
        self._endpoint_is_gone = False
        self._server_is_new = True
        self._server_at = now
        self._token, self._endpoint = token, endpoint

    def ticket(self) -> Ticket | None:
        """The credentials as they are known, complete or not at all."""
        if self._session_id is None or self._token is None or self._endpoint is None:
            return None
        return Ticket(
            guild_id=self.guild_id,
            channel_id=self.channel_id,
            user_id=self.user_id,
            session_id=self._session_id,
            token=self._token,
            endpoint=self._endpoint,
        )

    def new_ticket(self, now: float) -> Ticket | None:
        """The credentials, once what was asked for has come."""
        if not self._server_is_new or self._server_at is None:
            return None
        if not self._state_is_new and (self._leaving or now - self._server_at < LONE_SERVER_SECONDS):
            return None
        return self.ticket()

    def signal(self, ticket: Ticket) -> Signal:
        """What has changed for a connection that was made with `ticket`."""
        if self._removed:
            return Signal.REMOVED
        if self._endpoint_is_gone:
            return Signal.NO_ENDPOINT
        current = self.ticket()
        if current is None:
            return Signal.NOTHING
        if (current.token, current.endpoint) != (ticket.token, ticket.endpoint):
            return Signal.OTHER_SERVER
        if current.channel_id != ticket.channel_id:
            return Signal.OTHER_CHANNEL
        return Signal.NOTHING


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT
