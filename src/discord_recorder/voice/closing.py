"""What a voice gateway's close code asks of the client: one table.

Source: PROTOCOL "When the connection breaks", after Discord's list of voice close event codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Reaction(Enum):
    """What to do once the websocket of a voice connection is closed."""

    RESUME = "resume"
    """The session lives: open the websocket again and resume; connect afresh when that is refused."""

    FRESH_ONCE = "fresh once"
    """Something in this session is wrong: identify anew one time, then give up with the code."""

    REJOIN = "rejoin"
    """The session is dead: ask the main gateway for a new voice state."""

    ASK_MAIN_GATEWAY = "ask the main gateway"
    """We may have been removed, moved, or cut off together with the main gateway: only that one knows."""

    OTHER_MODE = "other mode"
    """The server does not know the transport encryption that it offered: choose another one, once."""

    GIVE_UP = "give up"
    """Another attempt cannot succeed, or would make it worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRule:
    """The reaction to a close code, and what the code says in words for people."""

    reaction: Reaction
    meaning: str


ABNORMAL_CLOSURE: Final = 1006
"""What a connection is said to have closed with that ended without a close frame (RFC 6455 section 7.1.5)."""

_UNKNOWN: Final = CloseRule(reaction=Reaction.RESUME, meaning="closed for a reason that is not documented")

CLOSE_RULES: Final[Mapping[int, CloseRule]] = MappingProxyType(
    {
        ABNORMAL_CLOSURE: CloseRule(reaction=Reaction.RESUME, meaning="the connection was cut"),
        4001: CloseRule(reaction=Reaction.FRESH_ONCE, meaning="unknown opcode"),
        4002: CloseRule(reaction=Reaction.FRESH_ONCE, meaning="a payload could not be decoded"),
        4003: CloseRule(reaction=Reaction.FRESH_ONCE, meaning="not authenticated"),
        4004: CloseRule(reaction=Reaction.FRESH_ONCE, meaning="authentication failed"),
        4005: CloseRule(reaction=Reaction.FRESH_ONCE, meaning="already authenticated"),
        4006: CloseRule(reaction=Reaction.REJOIN, meaning="the session is no longer valid"),
        4009: CloseRule(reaction=Reaction.REJOIN, meaning="the session timed out"),
        4011: CloseRule(reaction=Reaction.FRESH_ONCE, meaning="the server was not found"),
        4012: CloseRule(reaction=Reaction.FRESH_ONCE, meaning="unknown protocol"),
        4014: CloseRule(reaction=Reaction.ASK_MAIN_GATEWAY, meaning="disconnected from the channel"),
        4015: CloseRule(reaction=Reaction.RESUME, meaning="the voice server crashed"),
        4016: CloseRule(reaction=Reaction.OTHER_MODE, meaning="unknown encryption mode"),
        4017: CloseRule(
            reaction=Reaction.GIVE_UP,
            meaning="the channel requires end-to-end encryption, and the server did not accept ours",
        ),
        4020: CloseRule(reaction=Reaction.FRESH_ONCE, meaning="bad request"),
        4021: CloseRule(reaction=Reaction.GIVE_UP, meaning="rate limited, reconnecting is not allowed"),
        4022: CloseRule(reaction=Reaction.ASK_MAIN_GATEWAY, meaning="the call was terminated"),
    }
)
"""The documented codes. All others are treated as a lost connection."""


def rule_for(code: int | None) -> CloseRule:
    """The rule for a close code; `None` stands for a connection that ended without one."""
    return CLOSE_RULES.get(ABNORMAL_CLOSURE if code is None else code, _UNKNOWN)
