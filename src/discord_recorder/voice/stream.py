"""One SSRC: whose it is, what was here of it, and its frames that wait.

The frames wait in sequence order, and the first of them is always one that has not opened: nothing waits longer than
it. A frame that opens with a key proves that all before it, which were sent earlier, had their chance: senders go
from one epoch to the next and never back.
"""

from bisect import insort
from operator import attrgetter
from typing import Final

from discord_recorder.voice.counters import Tally
from discord_recorder.voice.dave_frames import is_encrypted, nonce_of
from discord_recorder.voice.parking import MAX_STREAM_BYTES, MAX_STREAM_FRAMES, Budget, Held
from discord_recorder.voice.replay import SequenceWindow

_NONE: Final = -1
_MAX_CANDIDATES: Final = 4
"""Epochs that frames in two seconds are looked for in."""

_index = attrgetter("index")


class Stream:
    """One SSRC: whose it is, what was here, and what waits."""

    __slots__ = (
        "budget",
        "gone_at",
        "held",
        "held_bytes",
        "last_index",
        "last_sealed",
        "next_trial",
        "patient_until",
        "ssrc",
        "suspect",
        "tally",
        "user_id",
        "window",
    )

    def __init__(self, ssrc: int, user_id: int | None, tally: Tally, budget: Budget) -> None:
        self.ssrc = ssrc
        self.user_id = user_id
        self.tally = tally
        self.budget = budget
        self.window = SequenceWindow()
        self.held: list[Held] = []
        self.held_bytes = 0
        self.suspect: Held | None = None
        self.next_trial = 0.0
        self.gone_at: float | None = None
        self.last_index = _NONE
        """Index of the frame furthest on that was handed on."""

        self.last_sealed: bytes | None = None
        """The last frame that a key opened, still sealed."""

        self.patient_until: float | None = None
        """Until when what waits is not opened, because the first frames of an epoch may have been overtaken."""

    @property
    def waits(self) -> bool:
        """True while anything of it is parked."""
        return bool(self.held) or self.suspect is not None

    @property
    def overflows(self) -> bool:
        """True when more waits of it than may."""
        return bool(self.held) and (len(self.held) > MAX_STREAM_FRAMES or self.held_bytes > MAX_STREAM_BYTES)

    @property
    def can_release(self) -> bool:
        """True when `release` would find something."""
        if not self.held:
            return False
        return self.held[0].opus is not None or self.held[0].hopeless or self.overflows

    @property
    def is_complete(self) -> bool:
        """True when nothing can be missing before or among the frames that wait."""
        first, last = self.held[0], self.held[-1]
        begins = first.index == self.last_index + 1 if self.last_index != _NONE else _is_first(first.payload)
        return begins and last.index - first.index + 1 == len(self.held)

    def may_have_overtaken(self, index: int, payload: bytes) -> bool:
        """True when an encrypted frame after a hole may be the first of an epoch that came, but not that was sent."""
        nonce = nonce_of(payload)
        if nonce == 1 or self.last_sealed is None:
            return nonce > 1
        hole = index - self.last_index - 1
        return hole > 0 and (nonce <= hole + 1 or nonce < nonce_of(self.last_sealed))

    def candidates(self) -> list[Held]:
        """The encrypted frames to try a stranger's key on: of each epoch the first, for none before it opens after."""
        found: list[Held] = []
        last = 0
        for frame in self.held:
            if frame.opus is None and is_encrypted(frame.payload):
                nonce = nonce_of(frame.payload)
                if not found or nonce < last:
                    found.append(frame)
                last = nonce
        return found[-_MAX_CANDIDATES:]

    def is_due(self, now: float) -> bool:
        """True when what waits unopened has waited long enough."""
        return self.patient_until is not None and self.patient_until <= now

    def assign(self, user_id: int, tally: Tally, budget: Budget) -> None:
        """Give the stream, and what waits of it, to a user."""
        frames = len(self.held) + (self.suspect is not None)
        self.budget.add(-frames, -self.held_bytes)
        budget.add(frames, self.held_bytes)
        self.tally.parked -= frames
        tally.parked += frames
        self.user_id, self.tally, self.budget = user_id, tally, budget
        self.patient_until = self.last_sealed = None

    def hold(self, frame: Held) -> None:
        """Let a frame wait in its place."""
        self._account(frame, 1)
        if self.held and frame.index < self.held[-1].index:
            insort(self.held, frame, key=_index)
        else:
            self.held.append(frame)

    def suspend(self, frame: Held) -> None:
        """Let a frame that is far behind wait for a successor."""
        self._account(frame, 1)
        self.suspect = frame

    def clear_suspect(self) -> Held | None:
        """Give back what waits for a successor."""
        frame, self.suspect = self.suspect, None
        if frame is not None:
            self._account(frame, -1)
        return frame

    def release(self, *, proved: int = -1) -> tuple[list[Held], list[Held]]:
        """Take out what need not wait any longer: frames to hand on, in order, and frames that will not open.

        Args:
            proved: index of a frame that a key opened; what is before it and has not opened never will.
        """
        ready: list[Held] = []
        hopeless: list[Held] = []
        kept: list[Held] = []
        for frame in self.held:
            if frame.opus is None and (frame.hopeless or frame.index < proved):
                hopeless.append(frame)
            elif frame.opus is None or kept:
                kept.append(frame)
            else:
                ready.append(frame)
        for frame in (*ready, *hopeless):
            self._account(frame, -1)
        self.held = kept
        return ready, hopeless

    def _account(self, frame: Held, sign: int) -> None:
        size = sign * len(frame.payload)
        self.held_bytes += size
        self.budget.add(sign, size)
        self.tally.parked += sign


def _is_first(payload: bytes) -> bool:
    """True for the first frame of an epoch."""
    return is_encrypted(payload) and nonce_of(payload) == 1
