"""Identifiers: meeting ids of our own, snowflakes of Discord's."""

import re
import secrets
from typing import Final, NewType

from discord_recorder.errors import InvalidIdError

MeetingId = NewType("MeetingId", str)
"""16 characters of `[0-9a-z]`; also a folder name, so nothing else may pass."""

Snowflake = NewType("Snowflake", str)
"""A Discord id in decimal; text, because JSON readers lose digits of 64 bit numbers."""

_MEETING_ID: Final = re.compile(r"[0-9a-z]{16}", re.ASCII)
_DECIMAL: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_SNOWFLAKE_LIMIT: Final = 1 << 64
_SHOWN_CHARACTERS: Final = 60


def generate_16_char_uuid() -> str:
    """A new random meeting id: 16 hexadecimal characters (64 bit) from the system's secure source."""
    return secrets.token_hex(8)


def parse_meeting_id(value: object) -> MeetingId:
    """`value` as a meeting id; raises `InvalidIdError`."""
    if isinstance(value, str) and _MEETING_ID.fullmatch(value):
        return MeetingId(value)
    raise InvalidIdError(
        f"{_shown(value)} is not a meeting id: it takes exactly 16 characters of 0-9 and a-z. "
        "Leave it out, or use generate_16_char_uuid()."
    )


def parse_snowflake(value: object, what: str) -> Snowflake:
    """`value` (int or decimal text) as a Discord id; `what` names it in the `InvalidIdError`."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        number = int(value)
    else:
        number = 0
    if 0 < number < _SNOWFLAKE_LIMIT:
        return Snowflake(str(number))
    raise InvalidIdError(
        f"{_shown(value)} is not a {what}: Discord ids are whole numbers from 1 to {_SNOWFLAKE_LIMIT - 1}."
    )


def _shown(value: object) -> str:
    """A value as a message shows it, whatever a caller hands over."""
    try:
        text = repr(value)
    except ValueError:  # Python makes no text of a number with thousands of digits
        return f"A {type(value).__name__} of too many digits"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
