"""What to do when a voice connection is lost: sans-I/O, by the table of close codes, with back-off.

The ladder: resume the session, identify anew with the same credentials, ask the main gateway for a new voice state.
Source: PROTOCOL "When the connection breaks".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from discord_recorder.voice.closing import Reaction, rule_for
from discord_recorder.voice.sink import Ended, EndReason

BACKOFF_SECONDS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Pauses before the attempts in a row. The first attempt is at once, because people are talking; the last pause is
short enough that a network that comes back is used within 15 s."""

HEAL_SECONDS: Final = (10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""Least distance between two re-joins because of deafness, the more the less they help."""

STABLE_SECONDS: Final = 5.0
"""A connection that lived so long starts the back-off anew."""

FORGIVEN_SECONDS: Final = 60.0
"""A connection that lived so long makes up for refusals before it."""

GIVE_UP_SECONDS: Final = 900.0
"""How long attempts go on in vain before a session ends."""

_RESUME_TRIES: Final = 2
_ENDS: Final = {4017: EndReason.E2EE_REQUIRED, 4021: EndReason.RATE_LIMITED}


class LossKind(Enum):
    """How a connection, or the attempt to make one, failed."""

    CLOSED = "the websocket was closed"
    UNRESPONSIVE = "the voice gateway did not answer"
    UNREACHABLE = "the voice server could not be reached"
    PROTOCOL = "the voice gateway broke the protocol"
    NO_DISCOVERY = "IP discovery was not answered"
    NO_VOICE_STATE = "the main gateway gave no voice state"
    NO_ENDPOINT = "the voice server is gone, and there is no other yet"
    DEAF = "deaf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A failure, and the close code if there was one."""

    kind: LossKind
    code: int | None = None
    since: float | None = None
    """From when on nothing may have been heard, in monotonic seconds; None when nothing was before either."""


class Step(Enum):
    """What to do next."""

    RESUME = "resume"
    IDENTIFY = "identify"
    REJOIN = "rejoin"
    AWAIT = "await"
    """Wait for what the main gateway says: a null channel, or a new state and server."""

    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The next step and the pause before it."""

    step: Step
    delay_seconds: float = 0.0
    other_mode: bool = False
    """Choose another transport encryption than the last time."""

    ended: Ended | None = None
    """With `Step.END`: what to tell."""


class ReconnectPolicy:
    """Decides after each loss; is told of each success. Times are monotonic seconds."""

    def __init__(
        self,
        *,
        reconnect: bool = True,
        backoff_seconds: Sequence[float] = BACKOFF_SECONDS,
        heal_seconds: Sequence[float] = HEAL_SECONDS,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        self._reconnect = reconnect
        self._backoff = backoff_seconds
        self._heal = heal_seconds
        self._give_up = give_up_seconds
        self._attempts = 0
        self._resumes = 0
        self._identified = False
        self._refused = False
        self._mode_changed = False
        self._step = Step.REJOIN
        self._established_at: float | None = None
        self._down_since: float | None = None
        self._next_heal = float("-inf")
        self._heals_in_vain = 0

    def established(self, now: float) -> None:
        """Audio can flow."""
        self._established_at = now
        self._down_since = None
        self._resumes, self._identified = 0, False

    def lost(self, loss: Loss, now: float, *, can_resume: bool) -> Plan:
        """What to do after a loss; `can_resume` tells whether the lost session has ever been established."""
        self._note_life(now)
        if self._down_since is None:
            self._down_since = now
        if not self._reconnect:
            return self._end(EndReason.NO_RECONNECT, loss.code)
        if now - self._down_since >= self._give_up:
            return self._end(EndReason.GAVE_UP, loss.code)
        plan = self._plan(loss, can_resume=can_resume)
        self._step = plan.step
        return plan

    def deaf(self, now: float, *, heard: bool) -> bool:
        """Whether to join again because of deafness now; `heard` tells if anything was since the last time."""
        if now < self._next_heal:
            return False
        self._heals_in_vain = 0 if heard else self._heals_in_vain + 1
        self._next_heal = now + self._heal[min(self._heals_in_vain, len(self._heal) - 1)]
        return True

    def _plan(self, loss: Loss, *, can_resume: bool) -> Plan:
        match loss.kind:
            case LossKind.CLOSED:
                return self._closed(loss.code, can_resume=can_resume)
            case LossKind.UNRESPONSIVE | LossKind.UNREACHABLE:
                return self._next_rung(can_resume=can_resume)
            case LossKind.NO_ENDPOINT:
                return Plan(step=Step.AWAIT)
            case LossKind.PROTOCOL | LossKind.NO_DISCOVERY | LossKind.NO_VOICE_STATE | LossKind.DEAF:
                return self._rejoin()

    def _closed(self, code: int | None, *, can_resume: bool) -> Plan:
        match rule_for(code).reaction:
            case Reaction.RESUME:
                return self._next_rung(can_resume=can_resume)
            case Reaction.REJOIN:
                return self._rejoin()
            case Reaction.ASK_MAIN_GATEWAY:
                return Plan(step=Step.AWAIT)
            case Reaction.FRESH_ONCE if self._step is Step.RESUME:
                return self._rejoin()  # the resume was refused, which says nothing about a fresh session
            case Reaction.FRESH_ONCE if not self._refused:
                self._refused = True
                return self._rejoin()  # credentials included, since they may be what was refused
            case Reaction.OTHER_MODE if not self._mode_changed:
                self._mode_changed = True
                return Plan(step=Step.IDENTIFY, delay_seconds=self._pause(), other_mode=True)
            case _:
                return self._end(_ENDS.get(code or 0, EndReason.REFUSED), code)

    def _next_rung(self, *, can_resume: bool) -> Plan:
        if can_resume and not self._identified and self._resumes < _RESUME_TRIES:
            self._resumes += 1
            return Plan(step=Step.RESUME, delay_seconds=self._pause())
        if not self._identified:
            self._identified = True
            return Plan(step=Step.IDENTIFY, delay_seconds=self._pause())
        return self._rejoin()

    def _rejoin(self) -> Plan:
        return Plan(step=Step.REJOIN, delay_seconds=self._pause())

    def _end(self, reason: EndReason, code: int | None) -> Plan:
        return Plan(step=Step.END, ended=Ended(reason=reason, close_code=code))

    def _pause(self) -> float:
        pause = self._backoff[min(self._attempts, len(self._backoff) - 1)]
        self._attempts += 1
        return pause

    def _note_life(self, now: float) -> None:
        """Forget failures that a connection which lived for long enough makes up for."""
        if self._established_at is None:
            return
        lived = now - self._established_at
        self._established_at = None
        if lived >= STABLE_SECONDS:
            self._attempts = 0
        if lived >= FORGIVEN_SECONDS:
            self._refused = self._mode_changed = False
