"""How a frame is opened: silence and plain frames by policy, encrypted ones by their sender's key."""

from collections.abc import Collection, Iterable
from typing import Final

from discord_recorder.errors import DaveError
from discord_recorder.voice import opus
from discord_recorder.voice.counters import Outcome
from discord_recorder.voice.dave import DaveFault, DaveSession
from discord_recorder.voice.dave_frames import is_encrypted
from discord_recorder.voice.parking import Held

_REASONS: Final[dict[str, Outcome]] = {
    DaveFault.NO_GROUP: Outcome.NO_GROUP,
    DaveFault.NOT_A_MEMBER: Outcome.NOT_A_MEMBER,
    DaveFault.NO_KEY: Outcome.UNDECRYPTABLE,
}

MAY_OPEN: Final = frozenset(_REASONS.values())
"""Reasons for which a frame did not open, but may with the keys of another epoch."""


class FrameOpener:
    """Opens the frames of one connection."""

    __slots__ = ("_accept_plain", "_dave")

    def __init__(self, dave: DaveSession, *, accept_plain: bool) -> None:
        self._dave = dave
        self._accept_plain = accept_plain

    def open(self, user_id: int, payload: bytes) -> tuple[bytes | None, Outcome]:
        """The Opus packet in a payload and how to count it, or None and why not.

        It is the payload itself, the same object, when no key was needed.
        """
        if payload == opus.SILENCE:
            return payload, Outcome.STORED
        if not payload:
            return None, Outcome.EMPTY
        if is_encrypted(payload) and self._dave.expects_encrypted:
            try:
                found = self._dave.decrypt(user_id, payload)
            except DaveError as error:
                return None, _REASONS[error.reason]
            return (found, Outcome.STORED) if found else (None, Outcome.EMPTY)
        if self._dave.expects_plain:
            return payload, Outcome.STORED
        if not self._accept_plain:
            return None, Outcome.PLAIN_REFUSED
        if not opus.is_packet(payload):
            return None, Outcome.NOT_OPUS
        return payload, Outcome.STORED_PLAIN

    def open_held(self, frame: Held, user_id: int) -> None:
        """Try to open a frame that waits, or is about to."""
        found, outcome = self.open(user_id, frame.payload)
        if found is None:
            frame.reason = outcome
            frame.hopeless = outcome not in MAY_OPEN
        else:
            frame.opus = found
            frame.plain = outcome is Outcome.STORED_PLAIN

    def owner_of(
        self, frames: Iterable[Held], *, but_not: int | None, rather_not: Collection[int | None]
    ) -> int | None:
        """Find out with the keys of all members who sent one of the encrypted frames, and open that one.

        Args:
            frames: what to try, in order; only its sender's key opens a frame.
            but_not: a member whose keys were tried.
            rather_not: members who are tried last.
        """
        if not self._dave.ready:
            return None
        members = [user_id for user_id in self._dave.members if user_id != but_not]
        members.sort(key=rather_not.__contains__)
        for frame in frames:
            for user_id in members:
                try:
                    frame.opus = self._dave.decrypt(user_id, frame.payload)
                except DaveError:
                    continue
                return user_id
        return None
