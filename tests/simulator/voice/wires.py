"""A gateway's clients without sockets: what is posted is kept, what a client says is given at a time."""

import json
from typing import Any

import pytest

from discord_recorder.errors import VoiceRefusalError
from discord_recorder.simulator.voice.gateway import Gateway
from discord_recorder.simulator.voice.options import VoiceOptions
from discord_recorder.simulator.voice.outgoing import Op
from discord_recorder.simulator.voice.session import Session
from discord_recorder.simulator.voice.sessions import Sessions
from discord_recorder.simulator.voice_port import VoiceTicket

GUILD, CHANNEL = 5, 77
MODE = "aead_aes256_gcm_rtpsize"


class NotingWire:
    """A `Wire`."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.posted: list[str | bytes] = []
        self.closed: list[int] = []

    def post(self, message: str | bytes) -> None:
        self.posted.append(message)

    def close(self, code: int) -> None:
        self.closed.append(code)

    @property
    def ops(self) -> list[Op]:
        return [Op(message[2] if isinstance(message, bytes) else json.loads(message)["op"]) for message in self.posted]

    @property
    def sequences(self) -> list[int]:
        numbers = []
        for message in self.posted:
            if isinstance(message, bytes):
                numbers.append(int.from_bytes(message[:2]))
            elif "seq" in (decoded := json.loads(message)):
                numbers.append(decoded["seq"])
        return numbers

    def told(self, op: Op) -> list[Any]:
        """The data of all JSON messages of an op."""
        decoded = [json.loads(message) for message in self.posted if isinstance(message, str)]
        return [message["d"] for message in decoded if message["op"] == op]


class Room:
    """A gateway and its time."""

    def __init__(self, **options: Any) -> None:
        self.left: list[tuple[int, int]] = []
        self.sessions = Sessions(VoiceOptions(**options), lambda user, guild: self.left.append((user, guild)))
        self.gateway = Gateway(self.sessions, ("127.0.0.1", 9))
        self.now = 100.0

    def admit(self, user_id: int, channel_id: int = CHANNEL) -> VoiceTicket:
        ticket = VoiceTicket(
            user_id=user_id, guild_id=GUILD, channel_id=channel_id, session_id=f"s{user_id}", token=f"t{user_id}"
        )
        self.sessions.admit(ticket, self.now)
        return ticket

    def say(self, wire: NotingWire, op: int, data: Any) -> None:
        self.gateway.text(wire, json.dumps({"op": op, "d": data}), self.now)

    def refused(self, wire: NotingWire, op: int, data: Any) -> int:
        with pytest.raises(VoiceRefusalError) as refusal:
            self.say(wire, op, data)
        return refusal.value.code

    def identify(self, ticket: VoiceTicket, *, version: int = 1, wire: NotingWire | None = None) -> NotingWire:
        wire = wire if wire is not None else NotingWire()
        self.gateway.hello(wire)
        self.say(wire, Op.IDENTIFY, identity(ticket, version))
        return wire

    def connect(self, user_id: int, *, version: int = 1) -> NotingWire:
        wire = self.identify(self.admit(user_id), version=version)
        self.select(wire)
        self.say(wire, Op.SPEAKING, {"speaking": 0, "delay": 0, "ssrc": 0})
        return wire

    def select(self, wire: NotingWire, mode: str = MODE) -> None:
        self.say(wire, Op.SELECT_PROTOCOL, selection(mode))

    def resume(self, wire: NotingWire, ticket: VoiceTicket, seq_ack: int) -> None:
        self.say(wire, Op.RESUME, resumption(ticket, seq_ack))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.sessions.expire(self.now)


def identity(ticket: VoiceTicket, version: int = 1) -> dict[str, Any]:
    return {
        "server_id": str(ticket.guild_id),
        "user_id": str(ticket.user_id),
        "session_id": ticket.session_id,
        "token": ticket.token,
        "max_dave_protocol_version": version,
    }


def resumption(ticket: VoiceTicket, seq_ack: int) -> dict[str, Any]:
    return {
        "server_id": str(ticket.guild_id),
        "session_id": ticket.session_id,
        "token": ticket.token,
        "seq_ack": seq_ack,
    }


def selection(mode: str = MODE) -> dict[str, Any]:
    return {"protocol": "udp", "data": {"address": "127.0.0.1", "port": 1, "mode": mode}}
