"""Reading voice gateway payloads: whatever comes, a value of the right type or `VoiceGatewayError`."""

import ipaddress
import json
from collections.abc import Mapping
from typing import Any, Final

from discord_recorder.errors import VoiceGatewayError
from discord_recorder.voice.events import Described, Ready

MAX_MESSAGE_BYTES: Final = 1 << 20
"""Larger messages are refused; the largest true one is a welcome to a full stage channel, some 100 KB."""

MAX_USERS: Final = 20_000
"""Users that one message may name; a stage channel holds 12,500."""

_KEY_BYTES: Final = 32
_MAX_MODES: Final = 64
_SNOWFLAKE_DIGITS: Final = 20
_U16: Final = 0xFFFF
_U32: Final = 0xFFFF_FFFF
_U64: Final = (1 << 64) - 1
_BINARY_HEADER_BYTES: Final = 3
_LEAST_HEARTBEAT_MS: Final = 100
_MOST_HEARTBEAT_MS: Final = 600_000


def envelope(text: str) -> tuple[int, Any, int | None]:
    """Opcode, data and sequence number (if any) of a text message."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VoiceGatewayError("a text message that is not JSON") from error
    message = mapping(message)
    seq = message.get("seq")
    return integer(message, "op", _U16), message.get("d"), None if seq is None else integer(message, "seq", _U32)


def binary(data: bytes) -> tuple[int, int, bytes]:
    """Sequence number, opcode and body of a binary message."""
    if len(data) < _BINARY_HEADER_BYTES:
        raise VoiceGatewayError(f"a binary message of {len(data)} bytes")
    return int.from_bytes(data[:2]), data[2], data[_BINARY_HEADER_BYTES:]


def heartbeat_seconds(data: Mapping[str, Any]) -> float:
    """The interval that HELLO asks for."""
    value = data.get("heartbeat_interval")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("heartbeat_interval")
    if not _LEAST_HEARTBEAT_MS <= value <= _MOST_HEARTBEAT_MS:  # also false for NaN
        raise _wrong("heartbeat_interval")
    return value / 1000


def ready(data: Mapping[str, Any]) -> Ready:
    """READY: where to send audio, and as whom."""
    try:
        ip = str(ipaddress.ip_address(_text(data, "ip")))
    except ValueError as error:
        raise _wrong("ip") from error
    modes = data.get("modes")
    if not isinstance(modes, list) or len(modes) > _MAX_MODES or not all(isinstance(mode, str) for mode in modes):
        raise _wrong("modes")
    port = integer(data, "port", _U16)
    if not port:
        raise _wrong("port")
    return Ready(ssrc=integer(data, "ssrc", _U32), ip=ip, port=port, modes=tuple(modes))


def session_description(data: Mapping[str, Any]) -> Described:
    """SESSION_DESCRIPTION: the transport key, and whether the call is end-to-end encrypted."""
    key = data.get("secret_key")
    if not isinstance(key, list) or len(key) != _KEY_BYTES:
        raise _wrong("secret_key")
    try:
        secret = bytes(key)
    except (TypeError, ValueError):
        raise _wrong("secret_key") from None  # the cause would show parts of the key
    version = integer(data, "dave_protocol_version", _U16) if data.get("dave_protocol_version") is not None else 0
    return Described(mode=_text(data, "mode"), key=secret, dave_version=version)


def speaking(data: Mapping[str, Any]) -> tuple[int, int, int]:
    """SPEAKING: user, SSRC (0 if not told), flags."""
    ssrc = integer(data, "ssrc", _U32) if data.get("ssrc") is not None else 0
    flags = data.get("speaking", 0)
    if not isinstance(flags, int):  # a bool is one too, and old servers sent it
        raise _wrong("speaking")
    return user_id(data), ssrc, flags


def video(data: Mapping[str, Any]) -> tuple[int, int]:
    """VIDEO: user and audio SSRC (0 if not told)."""
    return user_id(data), integer(data, "audio_ssrc", _U32) if data.get("audio_ssrc") is not None else 0


def user_ids(data: Mapping[str, Any]) -> tuple[int, ...]:
    """CLIENTS_CONNECT: who is there."""
    ids = data.get("user_ids")
    if not isinstance(ids, list) or len(ids) > MAX_USERS:
        raise _wrong("user_ids")
    return tuple(_snowflake(value, "user_ids") for value in ids)


def user_id(data: Mapping[str, Any]) -> int:
    """The one user whom a message is about."""
    return _snowflake(data.get("user_id"), "user_id")


def mapping(value: object) -> Mapping[str, Any]:
    """`value`, when it is a JSON object; nothing at all counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise VoiceGatewayError("a message, or its data, is not an object")
    return value


def integer(data: Mapping[str, Any], name: str, highest: int) -> int:
    """A whole number from 0 to `highest`."""
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= highest:
        raise _wrong(name)
    return value


def _snowflake(value: object, name: str) -> int:
    number = 0
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and len(value) <= _SNOWFLAKE_DIGITS and value.isascii() and value.isdecimal():
        number = int(value)
    if not 0 < number <= _U64:
        raise _wrong(name)
    return number


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise _wrong(name)
    return value


def _wrong(name: str) -> VoiceGatewayError:
    return VoiceGatewayError(f"a message whose {name} is missing or wrong")
