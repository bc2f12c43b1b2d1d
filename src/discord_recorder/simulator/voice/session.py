"""A client's session on the voice gateway: its numbers, its place in the handshake, and what can be sent again.

It outlives its websocket for a while, so that the client can resume.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from discord_recorder.simulator.voice.outgoing import Op
from discord_recorder.simulator.voice.rtp import TransportKey
from discord_recorder.simulator.voice_port import VoiceTicket

BUFFERED_MESSAGES: Final = 4096
"""Messages kept for a resume; one who missed more has to begin anew."""

NOT_NUMBERED: Final = frozenset((Op.HELLO, Op.HEARTBEAT_ACK, Op.RESUMED))

_SEQUENCES: Final = 1 << 16  # the binary header has 16 bits for it
_NOTHING_SEEN: Final = -1


class Wire(Protocol):
    """A websocket, as the gateway sees it; what is handed over is sent later, in its order."""

    session: "Session | None"

    def post(self, message: str | bytes) -> None:
        """Send a message."""

    def close(self, code: int) -> None:
        """Close the websocket after what was posted."""


def encode_json(op: Op, content: Mapping[str, Any], sequence: int | None = None) -> str:
    """A text message, with a sequence number if it has one."""
    message: dict[str, Any] = {"op": int(op), "d": content}
    if sequence is not None:
        message["seq"] = sequence
    return json.dumps(message)


@dataclass(slots=True, kw_only=True)
class Session:
    """One IDENTIFY and everything since. Changed in place by the server only."""

    ticket: VoiceTicket
    ssrc: int
    max_dave_version: int
    wire: Wire | None = None
    """Its websocket; None while there is none."""
    key: TransportKey | None = None
    """Set by SELECT_PROTOCOL."""
    address: tuple[str, int] | None = None
    """Where its datagrams come from and go to; set by IP discovery."""
    speaking: int | None = None
    """Flags of its last SPEAKING; None before the first: nothing is forwarded to or from such a client."""
    heard: bool = False
    """A packet of it could be opened."""
    mute: bool = False
    deaf: bool = False
    self_deaf: bool = False
    over: bool = False
    """It has ended, and cannot be resumed."""
    last_heartbeat: float = 0.0
    lost_at: float | None = None
    """When its websocket went without a goodbye."""
    _sequence: int = 0
    _sent: deque[tuple[int, str | bytes]] = field(default_factory=lambda: deque(maxlen=BUFFERED_MESSAGES))

    @property
    def user_id(self) -> int:
        """Whose session it is."""
        return self.ticket.user_id

    def send(self, op: Op, content: Mapping[str, Any] | bytes) -> None:
        """Send a message now, or after a resume."""
        message = self._encode(op, content)
        if self.wire is not None:
            self.wire.post(message)

    def _encode(self, op: Op, content: Mapping[str, Any] | bytes) -> str | bytes:
        if not isinstance(content, bytes) and op in NOT_NUMBERED:
            return encode_json(op, content)
        self._sequence = sequence = (self._sequence + 1) % _SEQUENCES
        if isinstance(content, bytes):
            encoded: str | bytes = sequence.to_bytes(2) + op.to_bytes(1) + content
        else:
            encoded = encode_json(op, content, sequence)
        self._sent.append((sequence, encoded))
        return encoded

    def acknowledge(self, seq_ack: int) -> None:
        """Forget what the client has seen."""
        while self._sent and self._is_seen(self._sent[0][0], seq_ack):
            self._sent.popleft()

    def missed(self, seq_ack: int) -> list[str | bytes] | None:
        """What a client that resumes has to get again; None when that is not known any more."""
        kept = [encoded for sequence, encoded in self._sent if not self._is_seen(sequence, seq_ack)]
        wanted = (self._sequence - max(seq_ack, 0)) % _SEQUENCES
        return kept if len(kept) == wanted else None

    @staticmethod
    def _is_seen(sequence: int, seq_ack: int) -> bool:
        return seq_ack != _NOTHING_SEEN and (seq_ack - sequence) % _SEQUENCES < _SEQUENCES // 2
