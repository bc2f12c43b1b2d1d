"""What can go wrong with datagrams on the way, by command: drawn by lot from a seed, and written down.

A link is one user's way in one direction. It decides only; the server that asks it sends and waits.
"""

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from discord_recorder.simulator.voice import rtp

MAX_INCIDENTS: Final = 100_000
"""Incidents that are remembered one by one; the oldest go first. Counters count all."""


class Direction(StrEnum):
    """Seen from the user."""

    UP = "up"
    """From the user to the server: what the user says."""
    DOWN = "down"
    """From the server to the user: what the user hears."""


class Kind(StrEnum):
    """What happened to a datagram."""

    LOST = "lost"
    BLACKHOLED = "blackholed"
    CORRUPTED = "corrupted"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFaults:
    """Chances from 0 to 1 for each datagram, and delays in milliseconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Such a datagram comes `reorder_ms` later than it would."""
    reorder_ms: float = 50.0
    corrupt: float = 0.0
    """One bit is turned over, somewhere."""
    jitter_ms: float = 0.0
    """Each datagram is delayed by something between 0 and this."""
    blackhole: bool = False
    """Nothing comes through."""
    audio_only: bool = False
    """IP discovery and keepalives are spared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What happened to one datagram; `ssrc` and `sequence` are None when it was no RTP packet."""

    kind: Kind
    ssrc: int | None
    sequence: int | None


class Link:
    """Applies faults to one user's datagrams in one direction."""

    def __init__(self, faults: LinkFaults, lot: random.Random) -> None:
        self.faults = faults
        self._lot = lot
        self.counts: Counter[Kind] = Counter()
        self.incidents: deque[Incident] = deque(maxlen=MAX_INCIDENTS)

    def fate_of(self, datagram: bytes) -> Sequence[tuple[float, bytes]]:
        """What arrives instead of the datagram, each with its delay in seconds: nothing, itself, or more."""
        faults, chance = self.faults, self._lot.random
        if faults.audio_only and not _is_audio(datagram):
            return ((0.0, datagram),)
        if faults.blackhole:
            return self._gone(Kind.BLACKHOLED, datagram)
        if chance() < faults.loss:
            return self._gone(Kind.LOST, datagram)
        delay = chance() * faults.jitter_ms / 1000
        if chance() < faults.reorder:
            self._note(Kind.REORDERED, datagram)
            delay += faults.reorder_ms / 1000
        arriving = datagram
        if chance() < faults.corrupt and datagram:
            self._note(Kind.CORRUPTED, datagram)
            arriving = self._corrupted(datagram)
        if chance() < faults.duplicate:
            self._note(Kind.DUPLICATED, datagram)
            return ((delay, arriving), (delay, arriving))
        return ((delay, arriving),)

    def _corrupted(self, datagram: bytes) -> bytes:
        changed = bytearray(datagram)
        changed[self._lot.randrange(len(changed))] ^= 1 << self._lot.randrange(8)
        return bytes(changed)

    def _gone(self, kind: Kind, datagram: bytes) -> Sequence[tuple[float, bytes]]:
        self._note(kind, datagram)
        return ()

    def _note(self, kind: Kind, datagram: bytes) -> None:
        self.counts[kind] += 1
        audio = _is_audio(datagram)
        self.incidents.append(
            Incident(
                kind=kind,
                ssrc=int.from_bytes(datagram[8:12]) if audio else None,
                sequence=rtp.sequence_of(datagram) if audio else None,
            )
        )


class Faults:
    """The links of a server that have faults; each draws its own lots, so that one does not change another."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._links: dict[tuple[int, Direction], Link] = {}
        self.any_down = False
        """Some user's way down has faults."""

    def set(self, user_id: int, direction: Direction, faults: LinkFaults) -> Link:
        """Let faults happen from now on; what happened is in the link that is returned."""
        lot = random.Random(f"{self._seed} {user_id} {direction}")  # noqa: S311 - repeatable, on purpose
        link = self._links[user_id, direction] = Link(faults, lot)
        self._look()
        return link

    def clear(self, user_id: int, direction: Direction | None = None) -> None:
        """Let everything through again, in one direction or both."""
        for one in Direction if direction is None else (direction,):
            self._links.pop((user_id, one), None)
        self._look()

    def link(self, user_id: int, direction: Direction) -> Link | None:
        """The link, None when it has no faults."""
        return self._links.get((user_id, direction)) if self._links else None

    def _look(self) -> None:
        self.any_down = any(direction is Direction.DOWN for _, direction in self._links)


def _is_audio(datagram: bytes) -> bool:
    return len(datagram) > rtp.HEADER_BYTES and datagram[0] >> 6 == 2 and datagram[1] & 0x7F == rtp.OPUS  # noqa: PLR2004 - RTP's version
