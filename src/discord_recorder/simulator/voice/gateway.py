"""Voice gateway v8: what the server does with each message of a client.

Nothing here waits or reads a clock: messages come in with the time, answers are posted to wires (see `session.Wire`).
Sources: Discord's voice documentation, PROTOCOL "Connecting".
"""

import json
import os
import secrets
from typing import Any, Final

from discord_recorder.errors import VoiceRefusalError
from discord_recorder.simulator.voice import closing
from discord_recorder.simulator.voice.call import Call
from discord_recorder.simulator.voice.outgoing import Op
from discord_recorder.simulator.voice.rtp import KEY_BYTES, MODES, TransportKey
from discord_recorder.simulator.voice.session import Session, Wire, encode_json
from discord_recorder.simulator.voice.sessions import Sessions

_OPS: Final = frozenset(Op)


class Gateway:
    """The protocol over the sessions of one voice server; `udp_address` is what READY tells."""

    def __init__(self, sessions: Sessions, udp_address: tuple[str, int]) -> None:
        self._sessions = sessions
        self._options = sessions.options
        self._udp_address = udp_address

    def hello(self, wire: Wire) -> None:
        """Greet a new websocket."""
        wire.post(encode_json(Op.HELLO, {"v": 8, "heartbeat_interval": self._options.heartbeat_interval_ms}))

    def text(self, wire: Wire, message: str, now: float) -> None:
        """Handle a JSON message.

        Raises:
            VoiceRefusalError: the websocket is to be closed, with the code in the error.
        """
        try:
            decoded = json.loads(message)
            number, data = decoded["op"], decoded.get("d")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise VoiceRefusalError(closing.DECODE_ERROR, "not a message") from error
        if not isinstance(number, int) or number not in _OPS:
            raise VoiceRefusalError(closing.UNKNOWN_OPCODE, "no such op")
        op = Op(number)
        try:
            self._handle(wire, op, data, now)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise VoiceRefusalError(closing.DECODE_ERROR, "a message lacks what its op demands") from error

    def binary(self, wire: Wire, message: bytes, now: float) -> None:
        """Handle a binary message: op 26 or 28.

        Raises:
            VoiceRefusalError: as `text`.
        """
        session = _authenticated(wire)
        dave = self._sessions.call_of(session).dave
        match message[:1]:
            case b"\x1a":
                out = dave.key_package(session.user_id, message[1:], now)
            case b"\x1c":
                out = dave.commit(session.user_id, message[1:], now)
            case _:
                raise VoiceRefusalError(closing.UNKNOWN_OPCODE, "a binary message of a client is op 26 or 28")
        self._sessions.call_of(session).route(out)

    def _handle(self, wire: Wire, op: Op, data: Any, now: float) -> None:
        match op:
            case Op.IDENTIFY:
                self._identify(wire, data, now)
            case Op.RESUME:
                self._resume(wire, data, now)
            case Op.HEARTBEAT:
                self._heartbeat(wire, data, now)
            case Op.SELECT_PROTOCOL:
                self._select_protocol(_authenticated(wire), data)
            case Op.SPEAKING:
                session = _authenticated(wire)
                self._sessions.call_of(session).speak(session, int(data["speaking"]))
            case Op.TRANSITION_READY:
                session, call = self._place_of(wire)
                call.route(call.dave.ready(session.user_id, int(data["transition_id"])))
            case Op.INVALID_COMMIT:
                session, call = self._place_of(wire)
                call.route(call.dave.invalid(session.user_id, now))
            case Op.CLIENT_CONNECT:
                _authenticated(wire)  # video and its SSRCs: not simulated
            case _:
                raise VoiceRefusalError(closing.UNKNOWN_OPCODE, "only the server sends this op")

    def _place_of(self, wire: Wire) -> tuple[Session, Call]:
        session = _authenticated(wire)
        return session, self._sessions.call_of(session)

    def _identify(self, wire: Wire, data: Any, now: float) -> None:
        if wire.session is not None:
            raise VoiceRefusalError(closing.ALREADY_AUTHENTICATED, "identified twice")
        ticket = self._sessions.ticket((int(data["user_id"]), int(data["server_id"])))
        if ticket is None or data["session_id"] != ticket.session_id or data["token"] != ticket.token:
            raise VoiceRefusalError(closing.AUTHENTICATION_FAILED, "no such ticket")
        able = max(0, int(data.get("max_dave_protocol_version", 0)))
        if self._options.require_dave and able < self._sessions.version_of(ticket.channel_id):
            raise VoiceRefusalError(closing.DAVE_REQUIRED, "the call is end-to-end encrypted")
        session = self._sessions.begin(ticket, wire, able, now)
        ip, port = self._udp_address
        session.send(
            Op.READY, {"ssrc": session.ssrc, "ip": ip, "port": port, "modes": list(self._options.modes), "streams": []}
        )
        self._sessions.enter(session, now)

    def _resume(self, wire: Wire, data: Any, now: float) -> None:
        if wire.session is not None:
            raise VoiceRefusalError(closing.ALREADY_AUTHENTICATED, "identified before")
        session = next(
            (
                one
                for one in self._sessions
                if one.ticket.session_id == data["session_id"] and one.ticket.guild_id == int(data["server_id"])
            ),
            None,
        )
        missed = session.missed(int(data.get("seq_ack", -1))) if session is not None else None
        if session is None or missed is None or data["token"] != session.ticket.token:
            raise VoiceRefusalError(closing.SESSION_INVALID, "no such session")
        older, session.wire, wire.session = session.wire, wire, session
        session.lost_at, session.last_heartbeat = None, now
        if older is not None:
            older.close(closing.SESSION_INVALID)
        session.send(Op.RESUMED, {})
        for message in missed:
            wire.post(message)

    def _heartbeat(self, wire: Wire, data: Any, now: float) -> None:
        beat = data["t"] if isinstance(data, dict) else data
        if wire.session is not None:
            wire.session.last_heartbeat = now
            if isinstance(data, dict):
                wire.session.acknowledge(int(data.get("seq_ack", -1)))
        wire.post(encode_json(Op.HEARTBEAT_ACK, {"t": beat}))

    def _select_protocol(self, session: Session, data: Any) -> None:
        if data["protocol"] != "udp":
            raise VoiceRefusalError(closing.UNKNOWN_PROTOCOL, "only udp is simulated")
        mode = data["data"]["mode"]
        if mode not in self._options.modes or mode not in MODES:
            raise VoiceRefusalError(closing.UNKNOWN_MODE, "a mode that was not offered")
        first = session.key is None
        session.key = TransportKey(mode, os.urandom(KEY_BYTES))
        call = self._sessions.call_of(session)
        session.send(
            Op.SESSION_DESCRIPTION,
            {
                "mode": mode,
                "secret_key": list(session.key.key),
                "dave_protocol_version": call.dave.version,
                "audio_codec": "opus",
                "video_codec": None,
                "media_session_id": secrets.token_hex(16),
            },
        )
        if first:
            call.described(session)
        call.refresh()


def _authenticated(wire: Wire) -> Session:
    if wire.session is None or wire.session.wire is not wire:
        raise VoiceRefusalError(closing.NOT_AUTHENTICATED, "not identified")
    return wire.session
