"""DAVE's messages on the voice gateway: their numbers, their forms, and what is read from them (PROTOCOL "DAVE")."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from discord_recorder.errors import ParseError

OP_PREPARE_TRANSITION: Final = 21
OP_EXECUTE_TRANSITION: Final = 22
OP_TRANSITION_READY: Final = 23
OP_PREPARE_EPOCH: Final = 24
OP_EXTERNAL_SENDER: Final = 25
OP_KEY_PACKAGE: Final = 26
OP_PROPOSALS: Final = 27
OP_COMMIT_WELCOME: Final = 28
OP_ANNOUNCE_COMMIT: Final = 29
OP_WELCOME: Final = 30
OP_INVALID_COMMIT_WELCOME: Final = 31

BINARY_OPS: Final = frozenset({OP_EXTERNAL_SENDER, OP_PROPOSALS, OP_ANNOUNCE_COMMIT, OP_WELCOME})
"""Binary messages that the server sends."""

JSON_OPS: Final = frozenset({OP_PREPARE_TRANSITION, OP_EXECUTE_TRANSITION, OP_PREPARE_EPOCH})
"""JSON messages about DAVE that the server sends."""

_PUBLIC_MESSAGE: Final = bytes.fromhex("00010001")
_GROUP_ID_BYTES: Final = 8
_EPOCH_AT: Final = len(_PUBLIC_MESSAGE) + 1 + _GROUP_ID_BYTES
_EPOCH_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryMessage:
    """A binary message for the voice gateway: the body follows the op byte."""

    op: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonMessage:
    """A JSON message for the voice gateway."""

    op: int
    data: Mapping[str, Any]


Message = BinaryMessage | JsonMessage


def number(data: object, key: str, limit: int = 0xFFFF) -> int:
    """A number of a JSON message.

    Raises:
        ParseError: it is missing, no integer, or out of range.
    """
    value = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise ParseError(f"a DAVE message has no usable {key}")
    return value


def epoch_ended_by(commit: bytes) -> int | None:
    """The epoch that a commit ends (RFC 9420 section 6: version, wire format, group id, epoch), None if unreadable."""
    if commit[:4] != _PUBLIC_MESSAGE or len(commit) < _EPOCH_AT + _EPOCH_BYTES or commit[4] != _GROUP_ID_BYTES:
        return None
    return int.from_bytes(commit[_EPOCH_AT : _EPOCH_AT + _EPOCH_BYTES])
