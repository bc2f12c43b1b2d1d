"""One channel's call: who is in it, what they are told of each other, and its DAVE group."""

from collections.abc import Iterable
from typing import NamedTuple

from discord_recorder.simulator.voice.dave_service import DaveService
from discord_recorder.simulator.voice.options import VoiceOptions
from discord_recorder.simulator.voice.outgoing import Op, Outgoing
from discord_recorder.simulator.voice.rtp import TransportKey
from discord_recorder.simulator.voice.session import Session


class Listener(NamedTuple):
    """Somebody who gets what others say; a tuple because it is unpacked for every packet."""

    session: Session
    key: TransportKey
    address: tuple[str, int]


class Call:
    """The sessions in one channel. `version` is the DAVE version wanted; clients that cannot do it bring it down."""

    def __init__(self, channel_id: int, version: int, options: VoiceOptions) -> None:
        self.dave = DaveService(channel_id, version=version, batch_seconds=options.dave_batch_seconds)
        self.sessions: dict[int, Session] = {}
        self.listeners: tuple[Listener, ...] = ()
        """Those that packets are forwarded to, as `refresh` found them."""
        self._wanted_version = version
        self._tell_ssrcs = options.tell_ssrcs
        self._silence_first = options.silence_first

    def enter(self, session: Session, now: float) -> None:
        """Take in a client that has identified."""
        present = [str(user) for user in self.sessions]
        self.sessions[session.user_id] = session
        if present:
            session.send(Op.CLIENTS_CONNECT, {"user_ids": present})
        self._tell_others(session, Op.CLIENTS_CONNECT, {"user_ids": [str(session.user_id)]})
        self._adjust_version(now)

    def described(self, session: Session) -> None:
        """A client has its key: tell it of the DAVE group and of the SSRCs, and the others of its own."""
        self.route(self.dave.connect(session.user_id))
        for other in self.sessions.values():
            if other is session or other.key is None:
                continue
            if self._tell_ssrcs:
                session.send(Op.CLIENT_CONNECT, _ssrc_of(other))
            if other.speaking is not None:
                session.send(Op.SPEAKING, _speaking_of(other))
        if self._tell_ssrcs:
            self._tell_others(session, Op.CLIENT_CONNECT, _ssrc_of(session))
        self.refresh()

    def speak(self, session: Session, flags: int) -> None:
        """A client says whether it is speaking; the others learn its SSRC by this."""
        session.speaking = flags
        self._tell_others(session, Op.SPEAKING, _speaking_of(session))
        self.refresh()

    def leave(self, session: Session, now: float) -> None:
        """A client is gone for good."""
        if self.sessions.get(session.user_id) is not session:
            return
        del self.sessions[session.user_id]
        self._tell_others(session, Op.CLIENT_DISCONNECT, {"user_id": str(session.user_id)})
        self.route(self.dave.leave(session.user_id, now))
        self._adjust_version(now)
        self.refresh()

    def change_version(self, version: int, now: float) -> None:
        """Want another DAVE version from now on."""
        self._wanted_version = version
        self._adjust_version(now)

    def refresh(self) -> None:
        """Find out again who listens."""
        self.listeners = tuple(
            Listener(session, session.key, session.address)
            for session in self.sessions.values()
            if session.key is not None and session.address is not None and self._listens(session)
        )

    def route(self, messages: Iterable[Outgoing]) -> None:
        """Send what the delivery service wants sent."""
        for message in messages:
            session = self.sessions.get(message.user_id)
            if session is not None:
                session.send(message.op, message.content)

    def _listens(self, session: Session) -> bool:
        deaf = session.deaf or session.self_deaf
        return session.speaking is not None and not deaf and (session.heard or not self._silence_first)

    def _adjust_version(self, now: float) -> None:
        able = min((session.max_dave_version for session in self.sessions.values()), default=self._wanted_version)
        self.route(self.dave.change_version(min(able, self._wanted_version), now))

    def _tell_others(self, session: Session, op: Op, content: dict[str, object]) -> None:
        for other in self.sessions.values():
            if other is not session:
                other.send(op, content)


def _ssrc_of(session: Session) -> dict[str, object]:
    return {"user_id": str(session.user_id), "audio_ssrc": session.ssrc, "video_ssrc": 0, "rtx_ssrc": 0, "streams": []}


def _speaking_of(session: Session) -> dict[str, object]:
    return {"user_id": str(session.user_id), "ssrc": session.ssrc, "speaking": session.speaking}
