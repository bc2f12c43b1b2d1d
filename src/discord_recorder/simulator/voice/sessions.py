"""The sessions of a voice server: who may come, who is there, in which call, and when each is over.

Nothing here waits or reads a clock: every change comes with the time (monotonic seconds), messages are posted to wires.
Source: PROTOCOL, "Connecting" and "When the connection breaks".
"""

import secrets
from collections.abc import Callable, Iterator
from logging import getLogger

from discord_recorder.simulator.voice import closing
from discord_recorder.simulator.voice.call import Call
from discord_recorder.simulator.voice.options import VoiceOptions
from discord_recorder.simulator.voice.session import Session, Wire
from discord_recorder.simulator.voice_port import VoiceTicket

Place = tuple[int, int]
"""User id and guild id: a user has at most one voice session in a guild."""

_log = getLogger(__name__)


class Sessions:
    """All sessions and calls of one voice server; `on_left` hears of users who went without being removed."""

    def __init__(self, options: VoiceOptions, on_left: Callable[[int, int], None]) -> None:
        self.options = options
        self.calls: dict[int, Call] = {}
        """By channel; a call ends with its last session."""
        self._on_left = on_left
        self._tickets: dict[Place, VoiceTicket] = {}
        self._sessions: dict[Place, Session] = {}
        self._absent: dict[Place, float] = {}  # since when there is a ticket and no session any more
        self._muted: dict[Place, tuple[bool, bool]] = {}
        self._self_deaf: set[Place] = set()
        self._by_ssrc: dict[int, Session] = {}
        self._versions: dict[int, int] = {}  # channel id -> DAVE version, where it is not the default

    def admit(self, ticket: VoiceTicket, now: float) -> None:
        """Let a user identify; an older session of the user in this guild ends, if it was with another ticket."""
        place = (ticket.user_id, ticket.guild_id)
        older = self._sessions.get(place)
        if older is not None and older.ticket != ticket:
            self.end(older, closing.DISCONNECTED, now)
        self._tickets[place] = ticket
        self._absent.pop(place, None)

    def remove(self, user_id: int, guild_id: int, close_code: int, now: float) -> None:
        """Forget the ticket and end the session, if there is one."""
        place = (user_id, guild_id)
        self._forget(place)
        session = self._sessions.get(place)
        if session is not None:
            self.end(session, close_code, now)

    def ticket(self, place: Place) -> VoiceTicket | None:
        """The valid ticket of a user in a guild."""
        return self._tickets.get(place)

    def begin(self, ticket: VoiceTicket, wire: Wire, dave_version: int, now: float) -> Session:
        """Begin a session, without telling anybody; an older one of the same ticket ends."""
        place = (ticket.user_id, ticket.guild_id)
        older = self._sessions.get(place)
        if older is not None:
            self.end(older, closing.SESSION_INVALID, now)
        session = Session(
            ticket=ticket, ssrc=self._new_ssrc(), max_dave_version=dave_version, wire=wire, last_heartbeat=now
        )
        wire.session = self._sessions[place] = self._by_ssrc[session.ssrc] = session
        self._absent.pop(place, None)
        self._apply_muting(place)
        return session

    def enter(self, session: Session, now: float) -> None:
        """Put a session into its channel's call."""
        channel_id = session.ticket.channel_id
        call = self.calls.get(channel_id)
        if call is None:
            call = self.calls[channel_id] = Call(channel_id, self.version_of(channel_id), self.options)
        call.enter(session, now)

    def set_muted(self, user_id: int, guild_id: int, *, mute: bool, deaf: bool) -> None:
        """Server-mute or server-deafen a user, also for sessions to come."""
        self._muted[user_id, guild_id] = (mute, deaf)
        self._apply_muting((user_id, guild_id))

    def set_self_deaf(self, user_id: int, guild_id: int, *, deaf: bool) -> None:
        """A user has deafened itself: nothing is forwarded to it."""
        (self._self_deaf.add if deaf else self._self_deaf.discard)((user_id, guild_id))
        self._apply_muting((user_id, guild_id))

    def change_version(self, channel_id: int, version: int, now: float) -> None:
        """Set a channel's DAVE version, for a call that is going on and for those to come."""
        self._versions[channel_id] = version
        call = self.calls.get(channel_id)
        if call is not None:
            call.change_version(version, now)

    def version_of(self, channel_id: int) -> int:
        """The DAVE version that a channel's call is to have."""
        return self._versions.get(channel_id, self.options.dave_version)

    def get(self, user_id: int, guild_id: int) -> Session | None:
        """A user's session in a guild."""
        return self._sessions.get((user_id, guild_id))

    def by_ssrc(self, ssrc: int) -> Session | None:
        """The session with this SSRC."""
        return self._by_ssrc.get(ssrc)

    def __iter__(self) -> Iterator[Session]:
        """All sessions."""
        return iter(tuple(self._sessions.values()))

    def call_of(self, session: Session) -> Call:
        """The call that a session is in."""
        return self.calls[session.ticket.channel_id]

    def found(self, session: Session, address: tuple[str, int]) -> None:
        """IP discovery has shown where a client's datagrams come from."""
        session.address = address
        self.call_of(session).refresh()

    def heard(self, session: Session) -> None:
        """A first packet of a client was opened."""
        session.heard = True
        self.call_of(session).refresh()

    def lost(self, wire: Wire, *, goodbye: bool, now: float) -> None:
        """A websocket has ended; without a goodbye of the client its session waits to be resumed."""
        session = wire.session
        if session is None or session.wire is not wire:
            return
        session.wire = None
        session.lost_at = now
        if goodbye:
            self._leave(session, now)

    def close(self, session: Session, code: int, now: float) -> None:
        """Close a client's websocket; codes but 4015 and 1006 end the session too."""
        if code not in closing.RESUMABLE:
            self.end(session, code, now)
        elif session.wire is not None:
            session.wire.close(code)

    def refuse(self, wire: Wire, code: int, now: float) -> None:
        """Close a websocket whose client broke the rules."""
        if wire.session is not None and wire.session.wire is wire:
            self.end(wire.session, code, now)
        else:
            wire.close(code)

    def end(self, session: Session, code: int, now: float) -> None:
        """End a session: it cannot be resumed. The ticket stays good for a while."""
        wire, session.wire, session.over = session.wire, None, True
        place = (session.user_id, session.ticket.guild_id)
        if self._sessions.get(place) is session:
            del self._sessions[place]
            if place in self._tickets:
                self._absent[place] = now
        self._by_ssrc.pop(session.ssrc, None)
        call = self.calls.get(session.ticket.channel_id)
        if call is not None:
            call.leave(session, now)
            if not call.sessions:
                del self.calls[session.ticket.channel_id]
        if wire is not None:
            wire.close(code)

    def expire(self, now: float) -> None:
        """Do what is due: transitions, sessions that nobody resumed, clients without a heartbeat."""
        for call in self.calls.values():
            call.route(call.dave.expire(now))
        silence = self.options.heartbeat_interval_ms / 1000 * self.options.missed_heartbeats
        for session in self:
            if session.lost_at is not None and now - session.lost_at >= self.options.resume_seconds:
                self._leave(session, now)
            elif session.wire is not None and now - session.last_heartbeat >= silence:
                self.end(session, closing.SESSION_TIMEOUT, now)
        for place, since in list(self._absent.items()):
            if now - since >= self.options.resume_seconds:
                self._forget(place)
                self._on_left(*place)

    def _leave(self, session: Session, now: float) -> None:
        place = (session.user_id, session.ticket.guild_id)
        self._forget(place)
        self.end(session, closing.DISCONNECTED, now)
        _log.debug("A voice client has left")
        self._on_left(*place)

    def _forget(self, place: tuple[int, int]) -> None:
        self._tickets.pop(place, None)
        self._absent.pop(place, None)
        self._muted.pop(place, None)
        self._self_deaf.discard(place)

    def _apply_muting(self, place: tuple[int, int]) -> None:
        session = self._sessions.get(place)
        if session is None:
            return
        session.mute, session.deaf = self._muted.get(place, (False, False))
        session.self_deaf = place in self._self_deaf
        call = self.calls.get(session.ticket.channel_id)
        if call is not None:
            call.refresh()

    def _new_ssrc(self) -> int:
        while True:
            ssrc = secrets.randbelow(0xFFFF_FFFF) + 1
            if ssrc not in self._by_ssrc:
                return ssrc
