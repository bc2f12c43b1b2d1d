"""Where the packets of a recorded call went, as lines of a terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from discord_recorder.cli.terminal import Terminal
from discord_recorder.voice.counters import Outcome, PacketCounts, PacketLedger

REASONS: Final[Mapping[Outcome, str]] = {
    Outcome.KEEPALIVE: "keepalive answers: no sound",
    Outcome.DISCOVERY: "IP discovery answers: no sound",
    Outcome.RTCP: "sender reports: no sound",
    Outcome.OTHER_PAYLOAD: "video: no sound",
    Outcome.EMPTY: "empty",
    Outcome.OWN: "our own",
    Outcome.NO_GROUP: "sent before the recorder was let into the encrypted group",
    Outcome.DUPLICATE: "came twice",
}
"""What explains a drop that cost nobody any sound, or that the protocol makes unavoidable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketReport:
    """The ledger of a call beside what its speakers sent.

    `sent` and `names` are by user id; speakers that are not in `sent` are not compared.
    """

    ledger: PacketLedger
    sent: Mapping[int, int]
    names: Mapping[int, str]

    @property
    def problems(self) -> list[str]:
        """Whatever is not as it has to be when nothing is lost on the way; nothing if all is well."""
        counts, found = self.ledger.counts(), list[str]()
        if not counts.balanced or counts.parked:
            found.append(f"The ledger does not balance: {counts.received} packets were received.")
        if self.ledger.kernel_dropped:
            found.append(f"The kernel dropped {self.ledger.kernel_dropped} packets: the socket's buffer was full.")
        for reason, number in sorted(counts.dropped.items()):
            if number and reason not in REASONS:
                found.append(f"{number} packets were dropped, and nothing explains it: {reason}.")
        for user_id, sent in self.sent.items():
            received = self.ledger.user_counts(user_id).received
            if received != sent:
                found.append(f"{self.names.get(user_id, user_id)} sent {sent} packets, {received} were received.")
        return found

    def print(self, terminal: Terminal) -> None:
        """A line for each speaker, one for what belongs to nobody, and the sum."""
        rows = [
            self._row(self.names.get(user_id, str(user_id)), self.ledger.user_counts(user_id), self.sent.get(user_id))
            for user_id in self.ledger.users
        ]
        nobody = self.ledger.nobody
        others = PacketCounts(
            received=nobody.total,
            stored=nobody.stored,
            plain=nobody.plain,
            parked=nobody.parked,
            dropped=dict(nobody.dropped),
        )
        rows.append(self._row("(nobody's)", others, None))
        rows.append(self._row("all", self.ledger.counts(), sum(self.sent.values())))
        terminal.table(["Packets of", "Sent", "Received", "Stored", "Dropped", "Why"], rows)

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        counts = self.ledger.counts()
        return {
            "received": counts.received,
            "stored": counts.stored,
            "plain": counts.plain,
            "parked": counts.parked,
            "dropped": {str(reason): number for reason, number in counts.dropped.items() if number},
            "kernel_dropped": self.ledger.kernel_dropped,
            "sent": {str(user_id): number for user_id, number in self.sent.items()},
            "problems": self.problems,
        }

    @staticmethod
    def _row(name: str, counts: PacketCounts, sent: int | None) -> list[str]:
        reasons = "; ".join(
            f"{number} {REASONS.get(reason, f'UNEXPLAINED ({reason})')}"
            for reason, number in sorted(counts.dropped.items())
            if number
        )
        return [
            name,
            "" if sent is None else str(sent),
            str(counts.received),
            str(counts.stored),
            str(counts.dropped_total),
            reasons,
        ]
