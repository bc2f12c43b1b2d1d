"""One session with the voice gateway (v8), sans-I/O: messages in, messages and events out, time is an argument.

The session outlives its websocket: `open` is called for each one, and with `resume=True` the next websocket goes on
where the last one ended. Source: PROTOCOL "Connecting", Discord's voice gateway documentation.
"""

import json
from collections import deque
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Any, Final

from discord_recorder.errors import VoiceGatewayError, VoiceGatewayTimeoutError
from discord_recorder.voice import dave, payloads
from discord_recorder.voice.events import (
    ClientDisconnected,
    ClientsConnected,
    DaveBinaryReceived,
    DaveJsonReceived,
    GatewayEvent,
    Resumed,
    SpeakingAnnounced,
    SsrcMapped,
    Ticket,
)
from discord_recorder.voice.opcodes import Op

HANDSHAKE_SECONDS: Final = 8.0
"""How long a new websocket may take until audio can flow; shorter than deafness may go unnoticed."""

HEARTBEAT_SECONDS: Final = 4.5
"""We beat at least so often, whatever interval the server asks for: its 13.75 s or more would hide a dead connection
for longer than deafness may last unnoticed."""

ACK_SECONDS: Final = 4.5
"""A heartbeat unanswered for so long means that nobody is there; with the interval before it, 9 s after the last."""

_KEPT_SEQS: Final = 256
"""Sequence numbers remembered to know what a resume repeats; more than a server's buffer was seen to hold."""


class GatewayState(Enum):
    """Where the session is."""

    CLOSED = "closed"
    GREETING = "greeting"
    IDENTIFYING = "identifying"
    DISCOVERING = "discovering"
    SELECTING = "selecting"
    RESUMING = "resuming"
    ESTABLISHED = "established"


_S = GatewayState
_MOVES: Final[Mapping[GatewayState, Collection[GatewayState]]] = {
    _S.CLOSED: {_S.GREETING},
    _S.GREETING: {_S.IDENTIFYING, _S.RESUMING, _S.CLOSED},
    _S.IDENTIFYING: {_S.DISCOVERING, _S.CLOSED},
    _S.DISCOVERING: {_S.SELECTING, _S.CLOSED},
    _S.SELECTING: {_S.ESTABLISHED, _S.CLOSED},
    _S.RESUMING: {_S.ESTABLISHED, _S.CLOSED},
    _S.ESTABLISHED: {_S.CLOSED},
}


class VoiceGateway:
    """The client's side of a voice session.

    Hand everything that the websocket delivers to `receive_text` and `receive_binary`, call `tick` a few times a
    second, send what `messages` gives and act on what `events` gives. A message that breaks the protocol raises
    `VoiceGatewayError`; a mere notice (who is there, who speaks) that makes no sense is counted in
    `rejected_notices` and has no other effect, because it is no reason to stop listening to everybody else.
    """

    def __init__(self, ticket: Ticket, *, max_dave_version: int) -> None:
        self._ticket = ticket
        self._max_dave_version = max_dave_version
        self._state = GatewayState.CLOSED
        self._resume = False
        self._was_established = False
        self._ssrc = 0
        self._seq_ack = -1
        self._seqs: deque[int] = deque(maxlen=_KEPT_SEQS)
        self._repeated: frozenset[int] = frozenset()
        self._opened_at = 0.0
        self._heartbeat_interval = 0.0
        self._next_heartbeat: float | None = None
        self._unanswered_since: float | None = None
        self._messages: list[str | bytes] = []
        self._events: list[GatewayEvent] = []
        self.rejected_notices = 0
        self._critical: Mapping[int, Callable[[Mapping[str, Any], float], None]] = {
            Op.HELLO: self._hello,
            Op.READY: self._ready,
            Op.SESSION_DESCRIPTION: self._described,
            Op.RESUMED: self._resumed,
        }
        self._notices: Mapping[int, Callable[[Mapping[str, Any]], None]] = {
            Op.SPEAKING: self._speaking,
            Op.CLIENTS_CONNECT: self._clients_connect,
            Op.VIDEO: self._video,
            Op.CLIENT_DISCONNECT: self._client_disconnect,
        }

    @property
    def state(self) -> GatewayState:
        """Where the session is."""
        return self._state

    @property
    def seq_ack(self) -> int:
        """The last sequence number that the server gave, -1 if none."""
        return self._seq_ack

    @property
    def can_resume(self) -> bool:
        """Whether there is a session to go on with."""
        return self._was_established

    # the websocket's life

    def open(self, now: float, *, resume: bool = False) -> None:
        """A websocket is open. With `resume` the session goes on; without, this object must be new."""
        self._move(GatewayState.GREETING)
        self._resume = resume and self._was_established
        self._opened_at = now
        self._next_heartbeat = self._unanswered_since = None
        self._messages.clear()

    def closed(self) -> None:
        """The websocket is gone; what was to be sent is not sent."""
        if self._state is not GatewayState.CLOSED:
            self._move(GatewayState.CLOSED)
        self._next_heartbeat = self._unanswered_since = None
        self._messages.clear()

    def messages(self) -> list[str | bytes]:
        """Take what is to be sent: texts and binaries, in order."""
        taken, self._messages = self._messages, []
        return taken

    def events(self) -> list[GatewayEvent]:
        """Take what has happened, in order."""
        taken, self._events = self._events, []
        return taken

    # what the shell decides

    def select(self, *, address: str, port: int, mode: str) -> None:
        """Our address as the server sees it is known (IP discovery): choose the transport."""
        self._move(GatewayState.SELECTING)
        self._send(Op.SELECT_PROTOCOL, {"protocol": "udp", "data": {"address": address, "port": port, "mode": mode}})

    def announce_speaking(self) -> None:
        """Say that audio of ours may come; servers may send us nothing before."""
        self._send(Op.SPEAKING, {"speaking": 1, "delay": 0, "ssrc": self._ssrc})

    def send_json(self, op: int, data: Mapping[str, Any]) -> None:
        """Queue a JSON message of the end-to-end encryption."""
        self._send(op, data)

    def send_binary(self, op: int, body: bytes) -> None:
        """Queue a binary message of the end-to-end encryption."""
        self._messages.append(bytes((op,)) + body)

    def tick(self, now: float) -> None:
        """Let time pass: beat when it is due.

        Raises:
            VoiceGatewayTimeoutError: a heartbeat has gone unanswered, or the handshake takes too long.
        """
        if self._state is GatewayState.CLOSED:
            return
        if self._state is not GatewayState.ESTABLISHED and now - self._opened_at >= HANDSHAKE_SECONDS:
            raise VoiceGatewayTimeoutError(f"no end of the handshake ({self._state.value}) in {HANDSHAKE_SECONDS:g} s")
        if self._unanswered_since is not None and now - self._unanswered_since >= ACK_SECONDS:
            raise VoiceGatewayTimeoutError(f"a heartbeat went unanswered for {ACK_SECONDS:g} s")
        if self._next_heartbeat is not None and now >= self._next_heartbeat:
            self._next_heartbeat = now + self._heartbeat_interval
            if self._unanswered_since is None:
                self._unanswered_since = now
            self._send(Op.HEARTBEAT, {"t": int(now * 1000), "seq_ack": self._seq_ack})

    # what the server says

    def receive_text(self, text: str, now: float) -> None:
        """Take a text message.

        Raises:
            VoiceGatewayError: it is not a voice gateway message, or one that must not come now.
        """
        op, data, seq = payloads.envelope(text)
        if self._is_repeated(seq):
            return
        if op == Op.HEARTBEAT_ACK:
            self._unanswered_since = None
        elif handle := self._critical.get(op):
            handle(payloads.mapping(data), now)
        elif notice := self._notices.get(op):
            try:
                notice(payloads.mapping(data))
            except VoiceGatewayError:
                self.rejected_notices += 1
        elif op in dave.JSON_OPS:
            self._require_session()
            self._events.append(DaveJsonReceived(op=op, data=payloads.mapping(data)))

    def receive_binary(self, data: bytes, now: float) -> None:
        """Take a binary message: u16 sequence number, u8 opcode, body.

        Raises:
            VoiceGatewayError: it is too short, or must not come now.
        """
        seq, op, body = payloads.binary(data)
        if self._is_repeated(seq):
            return
        if op in dave.BINARY_OPS:
            self._require_session()
            self._events.append(DaveBinaryReceived(op=op, body=body))

    def _hello(self, data: Mapping[str, Any], now: float) -> None:
        if self._state is not GatewayState.GREETING:
            raise VoiceGatewayError(f"HELLO in the state {self._state.value}")
        self._heartbeat_interval = min(payloads.heartbeat_seconds(data), HEARTBEAT_SECONDS)
        self._next_heartbeat = now + self._heartbeat_interval
        ticket = self._ticket
        if self._resume:
            self._move(GatewayState.RESUMING)
            self._repeated = frozenset(self._seqs)
            self._send(
                Op.RESUME,
                {
                    "server_id": str(ticket.guild_id),
                    "session_id": ticket.session_id,
                    "token": ticket.token,
                    "seq_ack": self._seq_ack,
                },
            )
        else:
            self._move(GatewayState.IDENTIFYING)
            self._send(
                Op.IDENTIFY,
                {
                    "server_id": str(ticket.guild_id),
                    "user_id": str(ticket.user_id),
                    "session_id": ticket.session_id,
                    "token": ticket.token,
                    "max_dave_protocol_version": self._max_dave_version,
                },
            )

    def _ready(self, data: Mapping[str, Any], _: float) -> None:
        ready = payloads.ready(data)
        self._move(GatewayState.DISCOVERING)
        self._ssrc = ready.ssrc
        self._events.append(ready)

    def _described(self, data: Mapping[str, Any], _: float) -> None:
        described = payloads.session_description(data)
        if self._state is not GatewayState.ESTABLISHED:
            self._move(GatewayState.ESTABLISHED, from_=GatewayState.SELECTING)
        self._was_established = True
        self._events.append(described)

    def _resumed(self, _: Mapping[str, Any], __: float) -> None:
        self._move(GatewayState.ESTABLISHED, from_=GatewayState.RESUMING)
        self._events.append(Resumed())

    def _speaking(self, data: Mapping[str, Any]) -> None:
        user_id, ssrc, flags = payloads.speaking(data)
        if ssrc:
            self._events.append(SsrcMapped(user_id=user_id, ssrc=ssrc))
        self._events.append(SpeakingAnnounced(user_id=user_id, speaking=bool(flags)))

    def _video(self, data: Mapping[str, Any]) -> None:
        user_id, ssrc = payloads.video(data)
        if ssrc:
            self._events.append(SsrcMapped(user_id=user_id, ssrc=ssrc))

    def _clients_connect(self, data: Mapping[str, Any]) -> None:
        self._events.append(ClientsConnected(user_ids=payloads.user_ids(data)))

    def _client_disconnect(self, data: Mapping[str, Any]) -> None:
        self._events.append(ClientDisconnected(user_id=payloads.user_id(data)))

    def _is_repeated(self, seq: int | None) -> bool:
        """Note a sequence number; true for what came before the resume and is sent once more."""
        if seq is None:
            return False
        if seq in self._repeated:
            return True
        if self._state is GatewayState.ESTABLISHED:
            self._repeated = frozenset()
        self._seq_ack = seq
        self._seqs.append(seq)
        return False

    def _require_session(self) -> None:
        if self._state in (GatewayState.CLOSED, GatewayState.GREETING):
            raise VoiceGatewayError("end-to-end encryption before there is a session")

    def _move(self, to: GatewayState, *, from_: GatewayState | None = None) -> None:
        if to not in _MOVES[self._state] or from_ not in (None, self._state):
            raise VoiceGatewayError(f"no way from the state {self._state.value} to {to.value}")
        self._state = to

    def _send(self, op: int, data: Mapping[str, Any]) -> None:
        self._messages.append(json.dumps({"op": int(op), "d": data}, separators=(",", ":")))
