"""Where one voice connection's datagrams go: early ones wait for the key, then the receiver takes them.

It also answers what the deafness watch asks: how many came that did not open. No I/O, time is an argument.
"""

from typing import Final

from discord_recorder.voice.counters import UNOPENED, Outcome, PacketLedger
from discord_recorder.voice.dave import DaveSession
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.receiver import KEEPALIVE_BYTES, Receiver
from discord_recorder.voice.transport import TransportCipher
from discord_recorder.voice.udp import Batch

MAX_EARLY: Final = 1024
"""Datagrams that wait for the key; UDP may be ahead of the websocket by some, more are dropped."""


class Inbound:
    """The datagrams of one connection, from the socket to frames."""

    def __init__(self, ledger: PacketLedger, dave: DaveSession, *, accept_plain: bool) -> None:
        self._ledger = ledger
        self._dave = dave
        self._accept_plain = accept_plain
        self._receiver: Receiver | None = None
        self._early: Batch = []
        self._mapped: dict[int, int] = {}
        self._unopened = self._count_unopened()
        self._answered = ledger.nobody.dropped[Outcome.KEEPALIVE]

    def key(self, cipher: TransportCipher, own_ssrc: int, now: float) -> list[OpusFrame]:
        """The connection's key is known, or a new one; gives what came early, and what waited in the old receiver."""
        frames: list[OpusFrame] = []
        mapped = self._mapped
        if self._receiver is not None:
            mapped = mapped | self._receiver.ssrcs
            frames = self._receiver.close()
        self._receiver = receiver = Receiver(
            cipher, self._dave, ledger=self._ledger, own_ssrc=own_ssrc, accept_plain=self._accept_plain
        )
        for ssrc, user_id in mapped.items():
            frames += receiver.map_ssrc(ssrc, user_id, now)
        early, self._early, self._mapped = self._early, [], {}
        return frames + receiver.datagrams(early)

    def datagrams(self, batch: Batch) -> list[OpusFrame]:
        """Datagrams have come; gives the frames that are ready."""
        if self._receiver is not None:
            return self._receiver.datagrams(batch)
        for datagram, arrived in batch:
            if len(datagram) == KEEPALIVE_BYTES:
                self._drop(Outcome.KEEPALIVE)
            elif len(self._early) < MAX_EARLY:
                self._early.append((datagram, arrived))
            else:
                self._drop(Outcome.NO_TRANSPORT_KEY)
        return []

    def discovery_answer(self) -> None:
        """Count a datagram that was an answer to IP discovery, and is not handed to `datagrams`."""
        self._drop(Outcome.DISCOVERY)

    def map_ssrc(self, ssrc: int, user_id: int, now: float) -> list[OpusFrame]:
        """An SSRC is announced; gives the frames that waited for that."""
        if self._receiver is not None:
            return self._receiver.map_ssrc(ssrc, user_id, now)
        if len(self._mapped) < MAX_EARLY:
            self._mapped[ssrc] = user_id
        return []

    def forget_user(self, user_id: int) -> None:
        """A user has left."""
        if self._receiver is not None:
            self._receiver.forget_user(user_id)

    def epoch_changed(self, now: float) -> list[OpusFrame]:
        """There may be new keys; gives the frames that they open."""
        return [] if self._receiver is None else self._receiver.epoch_changed(now)

    def expire(self, now: float) -> list[OpusFrame]:
        """Let parked frames grow old; gives those that waited behind them."""
        return [] if self._receiver is None else self._receiver.expire(now)

    def close(self) -> list[OpusFrame]:
        """End; nothing is parked afterwards."""
        for _ in self._early:
            self._drop(Outcome.NO_TRANSPORT_KEY)
        self._early.clear()
        return [] if self._receiver is None else self._receiver.close()

    def newly_answered(self) -> bool:
        """Whether the server has answered a keepalive since the last call."""
        before, self._answered = self._answered, self._ledger.nobody.dropped[Outcome.KEEPALIVE]
        return self._answered > before

    def newly_unopened(self) -> int:
        """Audio datagrams since the last call that did not open, those that still wait included."""
        before, self._unopened = self._unopened, self._count_unopened()
        return max(0, self._unopened - before)

    def _count_unopened(self) -> int:
        counts = self._ledger.counts()
        return counts.parked + sum(counts.dropped.get(outcome, 0) for outcome in UNOPENED)

    def _drop(self, outcome: Outcome) -> None:
        self._ledger.received += 1
        self._ledger.nobody.drop(outcome)
