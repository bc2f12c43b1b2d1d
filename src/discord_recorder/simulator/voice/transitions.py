"""Transitions under way: each is executed when all its members are ready, or when it has taken too long.

Source: the DAVE whitepaper, "Protocol Version Changes" and "Commit Handling".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

TRANSITION_SECONDS: Final = 2.0
"""A transition is executed when all are ready, at the latest after this time."""

INITIAL: Final = 0
"""Id of the transition that everybody executes at once, without being told."""

_MAX_ID: Final = 0xFFFF


class Due(NamedTuple):
    """A transition that its members are to execute now."""

    id: int
    members: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class _Transition:
    members: dict[int, bool]  # user id -> ready
    deadline: float


class Transitions:
    """Those of one call; ids go from 1 to 65535 and then begin again."""

    def __init__(self) -> None:
        self._under_way: dict[int, _Transition] = {}
        self._last_id = 0

    def __bool__(self) -> bool:
        return bool(self._under_way)

    def begin(self, members: Iterable[int], now: float) -> int:
        """Begin one, and give its id."""
        self._last_id = self._last_id % _MAX_ID + 1
        self._under_way[self._last_id] = _Transition(
            members=dict.fromkeys(members, False), deadline=now + TRANSITION_SECONDS
        )
        return self._last_id

    def ready(self, user_id: int, transition_id: int) -> list[Due]:
        """A member is ready; gives the transition if it was the last one."""
        transition = self._under_way.get(transition_id)
        if transition is None or user_id not in transition.members:
            return []
        transition.members[user_id] = True
        return self._if_complete(transition_id)

    def leave(self, user_id: int) -> list[Due]:
        """A user is gone; one who comes back under the same id knows nothing of what was under way."""
        due = []
        for transition_id, transition in list(self._under_way.items()):
            if transition.members.pop(user_id, None) is not None:
                due += self._if_complete(transition_id)
        return due

    def late(self, now: float) -> list[Due]:
        """Those that will not be waited for any longer."""
        late = [number for number, transition in self._under_way.items() if transition.deadline <= now]
        return [self._end(number) for number in late]

    def _if_complete(self, transition_id: int) -> list[Due]:
        return [self._end(transition_id)] if all(self._under_way[transition_id].members.values()) else []

    def _end(self, transition_id: int) -> Due:
        return Due(transition_id, tuple(self._under_way.pop(transition_id).members))
