"""The selective forwarding unit without its socket: a datagram in, datagrams out, each sealed for its receiver.

A packet is opened once, shaped once, and sealed once for each listener. Whatever cannot be used is counted by reason.
Source: PROTOCOL, "Packets"; Discord's voice documentation, "IP discovery".
"""

import random
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Final

from discord_recorder.simulator.voice import rtp
from discord_recorder.simulator.voice.faults import Direction, Faults
from discord_recorder.simulator.voice.session import Session
from discord_recorder.simulator.voice.sessions import Sessions

Address = tuple[str, int]

DISCOVERY_BYTES: Final = 74
_REQUEST: Final = bytes.fromhex("00010046")
_RESPONSE: Final = bytes.fromhex("00020046")
_ADDRESS_BYTES: Final = 64
_KEEPALIVE_BYTES: Final = 8


class Unused(StrEnum):
    """Why a datagram of a client was not forwarded."""

    UNKNOWN_ADDRESS = "unknown address"
    RTCP = "rtcp"
    NOT_OPUS = "not opus"
    FOREIGN_SSRC = "foreign ssrc"
    NOT_AUTHENTIC = "not authentic"
    NOT_SPEAKING = "not speaking"
    """The client never sent SPEAKING."""
    MUTED = "muted"


class Forwarder:
    """Forwards between sessions; `send` puts a datagram on the wire after a delay in seconds."""

    def __init__(
        self,
        sessions: Sessions,
        faults: Faults,
        send: Callable[[bytes, Address], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._sessions = sessions
        self._faults = faults
        self._send = send
        self._later = later
        self._lot = random.Random(sessions.options.seed)  # noqa: S311 - repeatable, on purpose
        self._by_address: dict[Address, Session] = {}
        self.unused: Counter[Unused] = Counter()
        self.packets_in = 0
        self.packets_out = 0

    def datagram(self, datagram: bytes, address: Address) -> None:
        """Take what came from a client."""
        session = self._by_address.get(address)
        if len(datagram) == DISCOVERY_BYTES and datagram[:4] == _REQUEST:
            session = self._sessions.by_ssrc(int.from_bytes(datagram[4:8]))
        if session is None:
            self.unused[Unused.UNKNOWN_ADDRESS] += 1
            return
        link = self._faults.link(session.user_id, Direction.UP)
        if link is None:
            self._arrived(datagram, address, session)
            return
        for delay, arriving in link.fate_of(datagram):
            if delay:
                self._later(delay, partial(self._arrived, arriving, address, session))
            else:
                self._arrived(arriving, address, session)

    def forget(self) -> None:
        """Drop the addresses of sessions that have ended."""
        for address, session in list(self._by_address.items()):
            if session.over:
                del self._by_address[address]

    def to(self, session: Session, datagram: bytes) -> None:
        """Send a datagram to a client, through whatever faults its link has."""
        if session.address is None:
            return
        link = self._faults.link(session.user_id, Direction.DOWN)
        if link is None:
            self._send(datagram, session.address)
            return
        for delay, arriving in link.fate_of(datagram):
            if delay:
                self._later(delay, partial(self._send, arriving, session.address))
            else:
                self._send(arriving, session.address)

    def _arrived(self, datagram: bytes, address: Address, session: Session) -> None:
        if session.over:
            self.unused[Unused.UNKNOWN_ADDRESS] += 1
        elif len(datagram) == DISCOVERY_BYTES and datagram[:4] == _REQUEST:
            self._discover(session, datagram, address)
        elif len(datagram) == _KEEPALIVE_BYTES:
            self.to(session, datagram)
        else:
            self._audio(session, datagram)

    def _discover(self, session: Session, datagram: bytes, address: Address) -> None:
        if session.address != address:
            if session.address is not None:
                self._by_address.pop(session.address, None)
            self._by_address[address] = session
            self._sessions.found(session, address)
        host, port = address
        self.to(session, _RESPONSE + datagram[4:8] + host.encode().ljust(_ADDRESS_BYTES, b"\0") + port.to_bytes(2))

    def _audio(self, session: Session, datagram: bytes) -> None:
        self.packets_in += 1
        payload = self._open(session, datagram)
        if isinstance(payload, Unused):
            self.unused[payload] += 1
            return
        if not session.heard:
            self._sessions.heard(session)
        listeners = self._sessions.call_of(session).listeners
        if not listeners:
            return
        clear, plain = self._sessions.options.shape.apply(datagram, payload, self._lot)
        faults, send = self._faults, self._send
        for listener, key, address in listeners:
            if listener is session:
                continue
            self.packets_out += 1
            if faults.any_down:
                self.to(listener, key.seal(clear, plain))
            else:
                send(key.seal(clear, plain), address)

    def _open(self, session: Session, datagram: bytes) -> bytes | Unused:
        if rtp.is_rtcp(datagram):
            return Unused.RTCP
        if len(datagram) <= rtp.HEADER_BYTES or datagram[1] & 0x7F != rtp.OPUS:
            return Unused.NOT_OPUS
        if int.from_bytes(datagram[8:12]) != session.ssrc:
            return Unused.FOREIGN_SSRC
        if session.key is None or (payload := session.key.open(datagram)) is None:
            return Unused.NOT_AUTHENTIC
        if session.speaking is None:
            return Unused.NOT_SPEAKING
        return Unused.MUTED if session.mute else payload
