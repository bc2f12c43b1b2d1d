"""What the voice gateway's state machine tells its shell, and the credentials that it starts from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What the main gateway hands out for one voice session; token and session id stay out of every text."""

    guild_id: int
    channel_id: int
    user_id: int
    """Our own."""

    session_id: str = field(repr=False)
    token: str = field(repr=False)
    endpoint: str
    """Host, perhaps with a port, without a scheme."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Identified (op 2): the UDP socket can be opened and our address discovered."""

    ssrc: int
    ip: str
    port: int
    modes: tuple[str, ...]
    """Transport encryption modes that the server offers, in its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The session's transport key is here (op 4): audio can flow. May come again, and then replaces the key."""

    mode: str
    key: bytes = field(repr=False)
    dave_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The session goes on over a new websocket (op 9); nothing else has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SsrcMapped:
    """An SSRC belongs to a user (op 5 or 12), in this connection."""

    user_id: int
    ssrc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakingAnnounced:
    """A user says that audio will come, or ended (op 5)."""

    user_id: int
    speaking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientsConnected:
    """Users are there (op 11)."""

    user_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientDisconnected:
    """A user has left (op 13)."""

    user_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DaveJsonReceived:
    """A JSON message of the end-to-end encryption (op 21, 22, 24)."""

    op: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaveBinaryReceived:
    """A binary message of the end-to-end encryption (op 25, 27, 29, 30), without sequence number and opcode."""

    op: int
    body: bytes


GatewayEvent = (
    Ready
    | Described
    | Resumed
    | SsrcMapped
    | SpeakingAnnounced
    | ClientsConnected
    | ClientDisconnected
    | DaveJsonReceived
    | DaveBinaryReceived
)
