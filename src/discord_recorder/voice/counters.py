"""The ledger of packets: where every datagram that reached this process went, in total and for each speaker.

`received == stored + dropped + parked` holds at all times between two calls of the receiver; nothing is parked any
more once it is closed. A ledger outlives the connections of a session, so that reconnects lose no count.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from discord_recorder.errors import VoiceError

MAX_USERS: Final = 10_000
"""Speakers that get a tally of their own in a ledger; any more are counted with the datagrams of nobody."""


@unique
class Outcome(StrEnum):
    """What became of a datagram."""

    STORED = "stored"
    """Handed on: encrypted as it should be, or plain where that is what the protocol says (silence, version 0)."""

    STORED_PLAIN = "stored_plain"
    """Handed on although it was not encrypted in an encrypted call, as the setting allows."""

    KEEPALIVE = "keepalive"
    """The server's answer to a keepalive: no sound in it."""

    DISCOVERY = "discovery"
    """An answer to IP discovery: no sound in it."""

    RTCP = "rtcp"
    """A sender's or receiver's report: no sound in it."""

    OTHER_PAYLOAD = "other_payload"
    """RTP, but not Opus: a camera or a screen."""

    EMPTY = "empty"
    """Nothing was left after padding and encryption were taken off."""

    OWN = "own"
    """Our own stream, reflected."""

    MALFORMED = "malformed"
    """Not RTP, cut short, or with lengths that do not fit."""

    NO_TRANSPORT_KEY = "no_transport_key"
    """It came before the voice server told the connection's key, and too many did, or the key never came."""

    FORGED = "forged"
    """The transport's authentication tag is wrong: damaged, or not from our server."""

    DUPLICATE = "duplicate"
    """The packet had come before."""

    TOO_OLD = "too_old"
    """So far behind its stream that a replay cannot be told from it, and nothing followed that would explain it."""

    UNKNOWN_SSRC = "unknown_ssrc"
    """Nobody said within the time it was parked whose stream it is, and no member's key opened it."""

    NO_GROUP = "no_group"
    """Encrypted end to end while we were in no group: before our welcome, or during a reset."""

    NOT_A_MEMBER = "not_a_member"
    """Encrypted by somebody who is not, or no longer, in our group."""

    UNDECRYPTABLE = "undecryptable"
    """No key of its sender that we have or got in time opens it."""

    PLAIN_REFUSED = "plain_refused"
    """Not encrypted in an encrypted call, and the setting refuses such frames."""

    NOT_OPUS = "not_opus"
    """Not encrypted in an encrypted call, and no Opus packet either."""

    PARKING_FULL = "parking_full"
    """It would have been parked, or was parked longest, when the space for that was used up."""

    PAUSED = "paused"
    """It was opened while the recording was paused."""

    LATE = "late"
    """It was opened, but the chunk that its place is in was closed."""

    OVERLAPPING = "overlapping"
    """It was opened, but its place is taken: stored before, or another stream of the same speaker."""

    CLOCK_STEP = "clock_step"
    """It was opened and left out, in a quiet moment of somebody who never pauses and whose clock runs fast."""

    NOT_RECORDED = "not_recorded"
    """It was opened after the recording had ended, or the disk or the recorder itself failed to take it."""


NOT_AUDIO: Final = frozenset(
    {Outcome.KEEPALIVE, Outcome.DISCOVERY, Outcome.RTCP, Outcome.OTHER_PAYLOAD, Outcome.EMPTY, Outcome.OWN}
)
"""Reasons that cost no one's recording anything."""

UNOPENED: Final = (
    Outcome.FORGED,
    Outcome.UNKNOWN_SSRC,
    Outcome.NO_GROUP,
    Outcome.NOT_A_MEMBER,
    Outcome.UNDECRYPTABLE,
    Outcome.PARKING_FULL,
    Outcome.PLAIN_REFUSED,
    Outcome.NOT_OPUS,
)
"""Reasons for which somebody's sound came and could not be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketCounts:
    """Numbers of datagrams at one moment; those that are `plain` are among the `stored`."""

    received: int
    stored: int
    plain: int
    parked: int
    dropped: Mapping[Outcome, int]

    @property
    def dropped_total(self) -> int:
        """Datagrams dropped for any reason."""
        return sum(self.dropped.values())

    @property
    def lost(self) -> int:
        """Datagrams dropped that held somebody's sound, or may have."""
        return sum(count for outcome, count in self.dropped.items() if outcome not in NOT_AUDIO)

    @property
    def balanced(self) -> bool:
        """True when every datagram is accounted for."""
        return self.received == self.stored + self.dropped_total + self.parked


class Tally:
    """What became of the datagrams of one user, or of nobody; the receiver adds to `stored`, `plain` and `parked`."""

    __slots__ = ("dropped", "parked", "plain", "stored")

    def __init__(self) -> None:
        self.stored = 0
        self.plain = 0
        self.parked = 0
        self.dropped: Counter[Outcome] = Counter()

    def drop(self, outcome: Outcome) -> None:
        """Count a datagram that goes no further."""
        self.dropped[outcome] += 1

    def withdraw(self, outcome: Outcome, count: int = 1) -> None:
        """Count datagrams as dropped that were handed on and then not stored after all."""
        self.stored -= count
        self.plain = min(self.plain, self.stored)
        self.dropped[outcome] += count

    @property
    def total(self) -> int:
        """All datagrams counted here."""
        return self.stored + self.parked + self.dropped.total()


class PacketLedger:
    """Counts every datagram of a session once."""

    __slots__ = ("_users", "kernel_dropped", "nobody", "received")

    def __init__(self) -> None:
        self.received = 0
        """Datagrams that were handed to the receiver."""

        self.kernel_dropped = 0
        """Datagrams that the kernel threw away because the socket's buffer was full: these are not in `received`."""

        self.nobody = Tally()
        """Datagrams of which it is not known whose they were."""

        self._users: dict[int, Tally] = {}

    def tally(self, user_id: int) -> Tally:
        """The tally to add a user's datagrams to; the one of nobody when there are too many users."""
        tally = self._users.get(user_id)
        if tally is None:
            if len(self._users) >= MAX_USERS:
                return self.nobody
            tally = self._users[user_id] = Tally()
        return tally

    def add_kernel_dropped(self, count: int) -> None:
        """Add what the socket says it lost since it was last asked."""
        self.kernel_dropped += count

    @property
    def users(self) -> list[int]:
        """The ids of all users who have a tally."""
        return list(self._users)

    @property
    def parked(self) -> int:
        """Datagrams that wait for a mapping or a key."""
        return self.nobody.parked + sum(tally.parked for tally in self._users.values())

    def count(self, outcome: Outcome) -> int:
        """Datagrams with this outcome, of everybody and nobody."""
        tallies = (self.nobody, *self._users.values())
        if outcome is Outcome.STORED:
            return sum(tally.stored - tally.plain for tally in tallies)
        if outcome is Outcome.STORED_PLAIN:
            return sum(tally.plain for tally in tallies)
        return sum(tally.dropped[outcome] for tally in tallies)

    def counts(self) -> PacketCounts:
        """The numbers of the whole session."""
        tallies = (self.nobody, *self._users.values())
        dropped: Counter[Outcome] = Counter()
        for tally in tallies:
            dropped.update(tally.dropped)
        return PacketCounts(
            received=self.received,
            stored=sum(tally.stored for tally in tallies),
            plain=sum(tally.plain for tally in tallies),
            parked=sum(tally.parked for tally in tallies),
            dropped=dict(dropped),
        )

    def user_counts(self, user_id: int) -> PacketCounts:
        """The numbers of one user: all zeros for one who is not known."""
        tally = self._users.get(user_id) or Tally()
        return PacketCounts(
            received=tally.total,
            stored=tally.stored,
            plain=tally.plain,
            parked=tally.parked,
            dropped=dict(tally.dropped),
        )

    def check(self) -> None:
        """Make sure that every datagram is in exactly one counter.

        Raises:
            VoiceError: one is missing, or was counted twice.
        """
        counts = self.counts()
        if not counts.balanced:
            raise VoiceError(
                f"the packet ledger does not add up: {counts.received} received, {counts.stored} stored, "
                f"{counts.dropped_total} dropped, {counts.parked} parked"
            )
