"""Which packets of a stream were here before: a sliding window over sequence numbers, as in RFC 3711 section 3.3.2."""

from typing import Final

from discord_recorder.voice.rtp import SEQUENCE_MODULUS

WINDOW: Final = 1024
"""Packets that are remembered, 20 s of sound: what comes later than that is taken for a replay. `davey` opens frames
that are up to 1000 late."""

DUPLICATE: Final = -1
"""`place` says: it was here."""

FAR_BEHIND: Final = -2
"""`place` says: it is older than the window, or the sender has begun anew."""

_MASK: Final = (1 << WINDOW) - 1
_HALF: Final = SEQUENCE_MODULUS // 2


class SequenceWindow:
    """The packets of one SSRC; gives each an index that does not wrap."""

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest = 0
        self._seen = 0  # bit n: the packet n before the highest was here

    def place(self, sequence: int) -> int:
        """The index of a packet that was not here before, else `DUPLICATE` or `FAR_BEHIND`."""
        highest = self._highest
        if not self._seen:
            return self._begin(sequence)
        ahead = (sequence - highest) % SEQUENCE_MODULUS
        if 0 < ahead < _HALF:
            self._seen = (self._seen << ahead | 1) & _MASK if ahead < WINDOW else 1
            self._highest = highest + ahead
            return highest + ahead
        behind = -ahead % SEQUENCE_MODULUS
        if behind >= WINDOW:
            return FAR_BEHIND
        bit = 1 << behind
        if self._seen & bit:
            return DUPLICATE
        self._seen |= bit
        return highest - behind

    def restart(self) -> None:
        """Forget what was here: the next packet begins a new run, with a higher index than any before."""
        self._seen = 0

    def _begin(self, sequence: int) -> int:
        run = (self._highest // SEQUENCE_MODULUS + 2) * SEQUENCE_MODULUS  # room for those that were overtaken
        self._highest = run + sequence
        self._seen = 1
        return self._highest
