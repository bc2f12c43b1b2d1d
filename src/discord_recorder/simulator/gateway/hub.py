"""All gateway sessions: what clients ask of them, and which of them is told what. No I/O; connections are `Outlet`s."""

import json
import logging
import secrets
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Final, Protocol

from discord_recorder.errors import ApiRefusalError
from discord_recorder.simulator import payloads
from discord_recorder.simulator.entities import Guild, Json, User
from discord_recorder.simulator.gateway.audience import as_seen_by, guild_create, is_told
from discord_recorder.simulator.gateway.intents import KNOWN, PRIVILEGED, Intent
from discord_recorder.simulator.gateway.session import Outlet, Session, Shard, envelope
from discord_recorder.simulator.refusals import MALFORMED
from discord_recorder.simulator.voice_states import VoiceStates
from discord_recorder.simulator.world import Dispatch, World

_log = logging.getLogger(__name__)

RESUME_SECONDS: Final = 60.0
"""How long a session without a connection can be resumed."""
CHUNK: Final = 1_000
"""Members in one GUILD_MEMBERS_CHUNK."""
MAX_QUERIED: Final = 100
MAX_SESSIONS: Final = 1_000


class Op(IntEnum):
    """Opcodes of the main gateway."""

    DISPATCH = 0
    HEARTBEAT = 1
    IDENTIFY = 2
    PRESENCE = 3
    VOICE_STATE = 4
    RESUME = 6
    RECONNECT = 7
    REQUEST_MEMBERS = 8
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11


class Close(IntEnum):
    """Close codes of the main gateway."""

    UNKNOWN_ERROR = 4000
    UNKNOWN_OPCODE = 4001
    DECODE_ERROR = 4002
    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    ALREADY_AUTHENTICATED = 4005
    SESSION_TIMED_OUT = 4009
    INVALID_SHARD = 4010
    INVALID_INTENTS = 4013
    DISALLOWED_INTENTS = 4014


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not call."""


class Hub:
    """The sessions of all bots.

    Args:
        world: its events are delivered here.
        voice: op 4 goes there.
        later: calls a function after so many seconds (`loop.call_later`).
        resume_seconds: how long a session waits for its client.
    """

    def __init__(
        self,
        world: World,
        voice: VoiceStates,
        later: Callable[[float, Callable[[], None]], Timer],
        resume_seconds: float = RESUME_SECONDS,
    ) -> None:
        self.gateway_url = ""
        self.without_privileges: set[int] = set()
        """Bots whose owners have not switched the privileged intents on."""
        self.identified: dict[int, int] = {}
        """How often each bot has begun a session."""
        self._world = world
        self._voice = voice
        self._later = later
        self._resume_seconds = resume_seconds
        self._sessions: dict[str, Session] = {}
        self._expiries: dict[str, Timer] = {}
        world.listen(self._deliver)

    def sessions(self, user_id: int | None = None, shard: int | None = None) -> list[Session]:
        """The sessions of a bot, connected or waiting; of everyone, or of one shard."""
        return [
            session
            for session in self._sessions.values()
            if user_id in (None, session.user.id) and shard in (None, session.shard.number)
        ]

    def close(self) -> None:
        """Forget everything that is due later."""
        for expiry in self._expiries.values():
            expiry.cancel()
        self._expiries.clear()

    def receive(self, outlet: Outlet, session: Session | None, text: str | bytes) -> Session | None:
        """Act on a client's message; gives the connection's session as it is then."""
        try:
            message = json.loads(text)
            op, data = message["op"], message.get("d")
        except MALFORMED:
            outlet.close(Close.DECODE_ERROR)
            return session
        try:
            return self._act(outlet, session, op, data)
        except MALFORMED:
            _log.debug("malformed gateway message", exc_info=True)
            outlet.close(Close.DECODE_ERROR)
            return session
        except ApiRefusalError:  # a guild, channel or member that is not there: Discord says nothing
            return session

    def detach(self, session: Session, outlet: Outlet, *, for_good: bool) -> None:
        """A connection has ended; unless it was closed for good, its session waits to be resumed."""
        if session.outlet is not outlet:
            return
        session.outlet = None
        if for_good:
            self.end(session)
        elif session.id in self._sessions:
            self._expiries[session.id] = self._later(self._resume_seconds, lambda: self.end(session))

    def end(self, session: Session) -> None:
        """Forget a session; who was connected to voice through it is disconnected."""
        if self._sessions.pop(session.id, None) is None:
            return
        if expiry := self._expiries.pop(session.id, None):
            expiry.cancel()
        self._voice.withdraw_session(session.id)

    def _act(self, outlet: Outlet, session: Session | None, op: int, data: Any) -> Session | None:
        if op == Op.HEARTBEAT:
            outlet.send(envelope(Op.HEARTBEAT_ACK))
        elif op in (Op.IDENTIFY, Op.RESUME):
            if session is not None:
                outlet.close(Close.ALREADY_AUTHENTICATED)
                return session
            return self._identify(outlet, data) if op == Op.IDENTIFY else self._resume(outlet, data)
        elif op not in (Op.PRESENCE, Op.VOICE_STATE, Op.REQUEST_MEMBERS):
            outlet.close(Close.UNKNOWN_OPCODE)
        elif session is None:
            outlet.close(Close.NOT_AUTHENTICATED)
        elif op == Op.VOICE_STATE:
            self._change_voice_state(session, data)
        elif op == Op.REQUEST_MEMBERS:
            self._tell_members(session, data)
        return session

    def _identify(self, outlet: Outlet, data: Json) -> Session | None:
        user = self._world.user_of_token(str(data["token"]).removeprefix("Bot "))
        number, count = data.get("shard") or (0, 1)
        intents = int(data["intents"])
        if user is None:
            outlet.close(Close.AUTHENTICATION_FAILED)
        elif not 0 <= number < count:
            outlet.close(Close.INVALID_SHARD)
        elif intents & ~KNOWN:
            outlet.close(Close.INVALID_INTENTS)
        elif intents & PRIVILEGED and user.id in self.without_privileges:
            outlet.close(Close.DISALLOWED_INTENTS)
        elif len(self._sessions) >= MAX_SESSIONS:
            outlet.send(envelope(Op.INVALID_SESSION, False))
        else:
            shard = Shard(number=number, count=count)
            return self._begin(outlet, Session(secrets.token_hex(16), user, Intent(intents), shard))
        return None

    def _begin(self, outlet: Outlet, session: Session) -> Session:
        user, shard = session.user, session.shard
        self._sessions[session.id] = session
        self.identified[user.id] = self.identified.get(user.id, 0) + 1
        session.outlet = outlet
        guilds = [guild for guild in self._guilds(user) if shard.has(guild.id)]
        session.dispatch(
            "READY",
            {
                "v": 10,
                "user": payloads.own_user_payload(user),
                "guilds": [{"id": str(guild.id), "unavailable": True} for guild in guilds],
                "session_id": session.id,
                "resume_gateway_url": self.gateway_url,
                "shard": [shard.number, shard.count],
                "application": payloads.partial_application_payload(user),
                "private_channels": [],
                "relationships": [],
            },
        )
        if session.intents & Intent.GUILDS:
            for guild in guilds:
                session.dispatch("GUILD_CREATE", guild_create(guild, session))
        return session

    def _resume(self, outlet: Outlet, data: Json) -> Session | None:
        session = self._sessions.get(str(data["session_id"]))
        user = self._world.user_of_token(str(data["token"]).removeprefix("Bot "))
        missed = None
        if session is not None and user is not None and user.id == session.user.id:
            missed = session.missed(int(data["seq"]))
        if session is None or missed is None:
            outlet.send(envelope(Op.INVALID_SESSION, False))
            return None
        if session.outlet is not None:
            session.outlet.cut()
        if expiry := self._expiries.pop(session.id, None):
            expiry.cancel()
        session.outlet = outlet
        for text in missed:
            outlet.send(text)
        session.dispatch("RESUMED", {})
        return session

    def _change_voice_state(self, session: Session, data: Json) -> None:
        guild = self._world.guild(int(data["guild_id"]))
        self._world.member(guild, session.user.id)
        if data["channel_id"] is None:
            self._voice.leave(session.user.id, guild)
            return
        channel = self._world.channel(int(data["channel_id"]))
        if channel.guild_id == guild.id:
            self._voice.request(
                session.user,
                channel,
                session_id=session.id,
                self_mute=bool(data["self_mute"]),
                self_deaf=bool(data["self_deaf"]),
            )

    def _tell_members(self, session: Session, data: Json) -> None:
        guild = self._world.guild(int(data["guild_id"]))
        self._world.member(guild, session.user.id)
        answer: Json = {"guild_id": str(guild.id)}
        if "nonce" in data:
            answer["nonce"] = data["nonce"]
        limit = int(data.get("limit") or 0)
        if data.get("user_ids"):
            asked = data["user_ids"] if isinstance(data["user_ids"], list) else [data["user_ids"]]
            wanted = [int(each) for each in asked][:MAX_QUERIED]
            found = [guild.members[each] for each in wanted if each in guild.members]
            answer["not_found"] = [str(each) for each in wanted if each not in guild.members]
        elif query := str(data.get("query") or ""):
            found = guild.members_called(query)[: limit or MAX_QUERIED]
        elif session.intents & Intent.GUILD_MEMBERS:
            found = list(guild.members.values())[: limit or None]
        else:
            return  # the whole list is for bots with the intent only
        chunks = [found[start : start + CHUNK] for start in range(0, len(found), CHUNK)] or [[]]
        for index, chunk in enumerate(chunks):
            members = [payloads.member_payload(member) for member in chunk]
            place = {"chunk_index": index, "chunk_count": len(chunks)}
            session.dispatch("GUILD_MEMBERS_CHUNK", answer | place | {"members": members})

    def _deliver(self, event: Dispatch) -> None:
        for session in list(self._sessions.values()):
            if is_told(self._world, session, event):
                session.dispatch(event.name, as_seen_by(self._world, session, event))

    def _guilds(self, user: User) -> Iterable[Guild]:
        return [guild for guild in self._world.guilds.values() if user.id in guild.members]
