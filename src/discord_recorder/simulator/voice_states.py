"""Who is connected where: joins, leaves, moves, mutes, and the voice servers that serve them.

A join brings VOICE_STATE_UPDATE to the guild and VOICE_SERVER_UPDATE to the bot, in the order that is set; a full
channel, or one that may not be entered, brings neither (PROTOCOL, "Connecting" 1).
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum, auto
from typing import Final

from discord_recorder.simulator import payloads
from discord_recorder.simulator.entities import Channel, ChannelKind, Guild, Member, User, VoiceState
from discord_recorder.simulator.permissions import Permission, channel_permissions
from discord_recorder.simulator.refusals import not_in_voice
from discord_recorder.simulator.voice_port import VoiceAccess, VoicePort, VoiceTicket
from discord_recorder.simulator.world import Audience, World

DISCONNECTED: Final = 4014
"""Close code of a voice connection that was ended, moved or given to another server."""


class UpdateOrder(StrEnum):
    """Which of the two updates of a join comes first; Discord promises neither."""

    STATE_FIRST = auto()
    SERVER_FIRST = auto()


class VoiceStates:
    """The voice states of all guilds.

    Args:
        world: the rest of the state.
        servers: at least one voice server; a guild begins on the first.
    """

    def __init__(self, world: World, servers: Sequence[VoicePort]) -> None:
        self.order = UpdateOrder.STATE_FIRST
        self.announce_null_endpoint = False
        """Whether a change of voice server is told twice: endpoint null, then the new one."""
        self._world = world
        self._servers = servers
        self._server_of: dict[int, int] = {}
        self._access: dict[tuple[int, int], VoiceAccess] = {}
        self._on_access: list[Callable[[VoiceAccess], None]] = []

    def on_access(self, listener: Callable[[VoiceAccess], None]) -> None:
        """Call `listener` whenever somebody gets a (new) ticket: what VOICE_SERVER_UPDATE tells bots."""
        self._on_access.append(listener)

    def access(self, user_id: int, guild_id: int) -> VoiceAccess | None:
        """The valid ticket of a user who is connected in a guild."""
        return self._access.get((user_id, guild_id))

    def server(self, guild_id: int) -> VoicePort:
        """The voice server that serves a guild now."""
        return self._servers[self._server_of.get(guild_id, 0)]

    def request(
        self,
        user: User,
        channel: Channel,
        *,
        session_id: str | None = None,
        self_mute: bool = False,
        self_deaf: bool = False,
    ) -> VoiceAccess | None:
        """Connect a member to a channel, or change its own mute there, as op 4 does.

        `session_id` is the main gateway session's; people have none and get one. None means: refused, in silence.
        """
        guild = self._world.guild_of(channel)
        member = self._world.member(guild, user.id)
        old = guild.voice_states.get(user.id)
        session_id = session_id or (old.session_id if old else secrets.token_hex(16))
        if old and old.channel_id == channel.id and old.session_id == session_id:
            guild.voice_states[user.id] = replace(old, self_mute=self_mute, self_deaf=self_deaf)
            self._tell_mute(guild, guild.voice_states[user.id])
            self._tell_state(guild, user.id, session_id)
            return self.access(user.id, guild.id)
        if not channel.kind.is_vocal or not self._may_enter(guild, member, channel):
            return None
        state = VoiceState(
            user_id=user.id,
            channel_id=channel.id,
            session_id=session_id,
            self_mute=self_mute,
            self_deaf=self_deaf,
            suppress=_is_suppressed(guild, member, channel),
        )
        return self._place(guild, state)

    def leave(self, user_id: int, guild: Guild, *, close_code: int = DISCONNECTED) -> None:
        """Disconnect a user; nothing happens when it is not connected."""
        old = guild.voice_states.pop(user_id, None)
        if old is None:
            return
        self._revoke(user_id, guild.id, close_code)
        self._tell_state(guild, user_id, old.session_id)

    def remove_member(self, user_id: int, guild: Guild) -> None:
        """Put a member out of voice, and out of the guild; raises `ApiRefusalError` if it is none."""
        self.leave(user_id, guild)
        self._world.remove_member(guild, user_id)

    def remove_channel(self, channel: Channel) -> None:
        """Put everybody out of a guild's channel, and delete it."""
        guild = self._world.guild_of(channel)
        for state in guild.people_in(channel.id):
            self.leave(state.user_id, guild)
        self._world.remove_channel(channel)

    def move(self, user_id: int, channel: Channel) -> VoiceAccess:
        """Put a connected user into another channel, full or not; raises `ApiRefusalError` if it is not connected."""
        guild = self._world.guild_of(channel)
        old = guild.voice_states.get(user_id)
        if old is None:
            raise not_in_voice()
        member = self._world.member(guild, user_id)
        suppress = _is_suppressed(guild, member, channel)
        return self._place(guild, replace(old, channel_id=channel.id, suppress=suppress, request_to_speak_at=None))

    def set_server_mute(
        self, user_id: int, guild: Guild, *, mute: bool | None = None, deaf: bool | None = None
    ) -> None:
        """Mute or deafen a connected member for all; raises `ApiRefusalError` if it is not connected."""
        member = self._world.member(guild, user_id)
        state = guild.voice_states.get(user_id)
        if state is None:
            raise not_in_voice()
        member.mute = member.mute if mute is None else mute
        member.deaf = member.deaf if deaf is None else deaf
        self._tell_mute(guild, state)
        self._tell_state(guild, user_id, state.session_id)

    def change(self, guild: Guild, state: VoiceState) -> None:
        """Replace a state by one in the same channel (a stage's suppress, a request to speak)."""
        guild.voice_states[state.user_id] = state
        self._tell_mute(guild, state)
        self._tell_state(guild, state.user_id, state.session_id)

    def withdraw_session(self, session_id: str) -> None:
        """Disconnect whoever is connected through a main gateway session that has ended."""
        for guild in list(self._world.guilds.values()):
            for state in list(guild.voice_states.values()):
                if state.session_id == session_id:
                    self.leave(state.user_id, guild)

    def left(self, user_id: int, guild_id: int) -> None:
        """A voice server tells that a user has gone for good.

        A person is out of the channel by that. A bot is in it until its main gateway session says otherwise or ends, as
        bots that died are seen to stay; its ticket is void, so that it has to leave and join again.
        """
        guild, user = self._world.guilds.get(guild_id), self._world.users.get(user_id)
        if guild is None or user is None:
            return
        if user.is_bot:
            self._access.pop((user_id, guild_id), None)
        else:
            self.leave(user_id, guild)

    def rotate(self, guild: Guild) -> None:
        """Serve a guild by the next voice server; everyone who is connected gets a new ticket for it."""
        old = self.server(guild.id)
        self._server_of[guild.id] = (self._server_of.get(guild.id, 0) + 1) % len(self._servers)
        for state in list(guild.voice_states.values()):
            if self.announce_null_endpoint:
                self._tell_server(state.user_id, guild.id, None, None)
            if old is self.server(guild.id):
                old.remove(state.user_id, guild.id, DISCONNECTED)
            self._tell_access(self._admit(guild, state))
            if old is not self.server(guild.id):
                old.remove(state.user_id, guild.id, DISCONNECTED)

    def _place(self, guild: Guild, state: VoiceState) -> VoiceAccess:
        if state.user_id in guild.voice_states:
            self._revoke(state.user_id, guild.id, DISCONNECTED)
        guild.voice_states[state.user_id] = state
        access = self._admit(guild, state)
        if self.order is UpdateOrder.STATE_FIRST:
            self._tell_state(guild, state.user_id, state.session_id)
            self._tell_access(access)
        else:
            self._tell_access(access)
            self._tell_state(guild, state.user_id, state.session_id)
        return access

    def _may_enter(self, guild: Guild, member: Member, channel: Channel) -> bool:
        allowed = channel_permissions(guild, member, channel)
        if not allowed & Permission.CONNECT:
            return False
        full = 0 < channel.user_limit <= len(guild.people_in(channel.id))
        return not full or bool(allowed & Permission.MOVE_MEMBERS)

    def _admit(self, guild: Guild, state: VoiceState) -> VoiceAccess:
        ticket = VoiceTicket(
            user_id=state.user_id,
            guild_id=guild.id,
            channel_id=state.channel_id,
            session_id=state.session_id,
            token=secrets.token_hex(8),
        )
        server = self.server(guild.id)
        if guild.channels[state.channel_id].kind is ChannelKind.STAGE:
            server.change_version(state.channel_id, 0)
        server.admit(ticket)
        self._tell_mute(guild, state)
        access = VoiceAccess(endpoint=server.endpoint, ticket=ticket)
        self._access[state.user_id, guild.id] = access
        return access

    def _revoke(self, user_id: int, guild_id: int, close_code: int) -> None:
        self._access.pop((user_id, guild_id), None)
        self.server(guild_id).remove(user_id, guild_id, close_code)

    def _tell_mute(self, guild: Guild, state: VoiceState) -> None:
        member = guild.members[state.user_id]
        server = self.server(guild.id)
        server.set_muted(state.user_id, guild.id, mute=member.mute or state.suppress, deaf=member.deaf)
        server.set_self_deaf(state.user_id, guild.id, deaf=state.self_deaf)

    def _tell_state(self, guild: Guild, user_id: int, session_id: str) -> None:
        data = payloads.voice_state_payload(guild, user_id, guild.voice_states.get(user_id), session_id)
        self._world.publish("VOICE_STATE_UPDATE", data, Audience(guild_id=guild.id))

    def _tell_access(self, access: VoiceAccess) -> None:
        self._tell_server(access.ticket.user_id, access.ticket.guild_id, access.ticket.token, access.endpoint)
        for listener in self._on_access:
            listener(access)

    def _tell_server(self, user_id: int, guild_id: int, token: str | None, endpoint: str | None) -> None:
        data = {"token": token or secrets.token_hex(8), "guild_id": str(guild_id), "endpoint": endpoint}
        audience = Audience(guild_id=guild_id, user_ids=frozenset((user_id,)))
        self._world.publish("VOICE_SERVER_UPDATE", data, audience)


def _is_suppressed(guild: Guild, member: Member, channel: Channel) -> bool:
    """On a stage everyone listens at first."""
    if channel.kind is ChannelKind.STAGE:
        return True
    return not channel_permissions(guild, member, channel) & Permission.SPEAK
