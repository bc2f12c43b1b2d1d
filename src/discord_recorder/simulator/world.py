"""The state of the simulated Discord: users, guilds, channels, roles, members. No I/O.

Every change is published as the gateway event it causes; who gets it is said by its `Audience`. Voice states and
messages have files of their own (`voice_states`, `messages`).
"""

import secrets
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator import payloads
from discord_recorder.simulator.entities import (
    Channel,
    ChannelKind,
    Guild,
    Json,
    Member,
    Overwrite,
    OverwriteKind,
    Role,
    User,
)
from discord_recorder.simulator.permissions import EVERYONE
from discord_recorder.simulator.refusals import unknown
from discord_recorder.simulator.snowflakes import Snowflakes

MAX_USERS: Final = 10_000
MAX_GUILDS: Final = 1_000
MAX_CHANNELS: Final = 500
"""Of a guild; Discord's own limit."""
MAX_ROLES: Final = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who may see an event, intents aside: these users, or the members of the guild that can see the channel."""

    guild_id: int | None = None
    channel_id: int | None = None
    user_ids: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """A gateway event."""

    name: str
    data: Json
    audience: Audience


class World:
    """Everything there is, by id.

    Args:
        now: the wall clock, in Unix seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.ids = Snowflakes(now)
        self.users: dict[int, User] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        """Of all guilds, and direct ones."""
        self.closed_to_messages: set[int] = set()
        """People who take no direct messages."""
        self._by_token: dict[str, User] = {}
        self._now = now
        self._listeners: list[Callable[[Dispatch], None]] = []

    def now(self) -> datetime:
        """The wall clock."""
        return datetime.fromtimestamp(self._now(), UTC)

    def listen(self, listener: Callable[[Dispatch], None]) -> None:
        """Call `listener` with every event from now on."""
        self._listeners.append(listener)

    def publish(self, name: str, data: Json, audience: Audience) -> None:
        """Tell an event."""
        event = Dispatch(name=name, data=data, audience=audience)
        for listener in self._listeners:
            listener(event)

    # Users

    def add_user(self, name: str, *, bot: bool = False) -> User:
        """A new person, or a bot with its application; raises `SimulatorError` when there are too many."""
        _check_room(self.users, MAX_USERS, "users")
        user = User(id=self.ids.next(), name=name, token=secrets.token_urlsafe(32) if bot else "")
        self.users[user.id] = user
        if bot:
            self._by_token[user.token] = user
        return user

    def user_of_token(self, token: str) -> User | None:
        """The bot that logs in with it."""
        return self._by_token.get(token)

    def user(self, user_id: int) -> User:
        """A user; raises `ApiRefusalError`."""
        if user_id not in self.users:
            raise unknown("User")
        return self.users[user_id]

    def rename(self, user_id: int, name: str) -> User:
        """Give a user another name; whoever shares a guild is told."""
        old = self.user(user_id)
        user = User(id=old.id, name=name, token=old.token)
        self.users[user_id] = user
        if user.is_bot:
            self._by_token[user.token] = user
            self.publish("USER_UPDATE", payloads.own_user_payload(user), Audience(user_ids=frozenset((user_id,))))
        for guild in self.guilds.values():
            if member := guild.members.get(user_id):
                member.user = user
                self._member_event("GUILD_MEMBER_UPDATE", guild, member)
        return user

    # Guilds

    def add_guild(self, name: str, owner: User) -> Guild:
        """A new guild with its owner and the @everyone role."""
        _check_room(self.guilds, MAX_GUILDS, "guilds")
        guild = Guild(id=self.ids.next_guild(), name=name, owner_id=owner.id, joined_at=self.now())
        guild.roles[guild.id] = Role(id=guild.id, name="@everyone", permissions=EVERYONE, position=0)
        self.guilds[guild.id] = guild
        self.add_member(guild, owner)
        return guild

    def guild(self, guild_id: int) -> Guild:
        """A guild; raises `ApiRefusalError`."""
        if guild_id not in self.guilds:
            raise unknown("Guild")
        return self.guilds[guild_id]

    def add_member(self, guild: Guild, user: User, role_ids: Iterable[int] = ()) -> Member:
        """Let a user into a guild; a bot gets GUILD_CREATE (the gateway makes it, as it depends on intents)."""
        member = Member(user=user, joined_at=self.now(), role_ids=set(role_ids))
        for role_id in member.role_ids:
            self.role(guild, role_id)
        guild.members[user.id] = member
        if user.is_bot:
            self.publish("GUILD_CREATE", {"id": str(guild.id)}, Audience(user_ids=frozenset((user.id,))))
        self._member_event("GUILD_MEMBER_ADD", guild, member)
        return member

    def member(self, guild: Guild, user_id: int) -> Member:
        """A member; raises `ApiRefusalError`."""
        if user_id not in guild.members:
            raise unknown("Member")
        return guild.members[user_id]

    def remove_member(self, guild: Guild, user_id: int) -> None:
        """Put a user out of a guild. `VoiceStates.remove_member` ends a voice connection before."""
        member = self.member(guild, user_id)
        data = {"guild_id": str(guild.id), "user": payloads.user_payload(member.user)}
        self.publish("GUILD_MEMBER_REMOVE", data, Audience(guild_id=guild.id))
        del guild.members[user_id]
        if member.user.is_bot:
            self.publish("GUILD_DELETE", {"id": str(guild.id)}, Audience(user_ids=frozenset((user_id,))))

    def member_changed(self, guild: Guild, member: Member) -> None:
        """Tell that a member's name, roles or server mute are other than before."""
        self._member_event("GUILD_MEMBER_UPDATE", guild, member)

    # Roles and channels

    def add_role(self, guild: Guild, name: str, permissions: int = 0) -> Role:
        """A new role above the others."""
        _check_room(guild.roles, MAX_ROLES, "roles")
        role = Role(id=self.ids.next(), name=name, permissions=int(permissions), position=len(guild.roles))
        guild.roles[role.id] = role
        self._role_event("GUILD_ROLE_CREATE", guild, role)
        return role

    def role(self, guild: Guild, role_id: int) -> Role:
        """A role; raises `ApiRefusalError`."""
        if role_id not in guild.roles:
            raise unknown("Role")
        return guild.roles[role_id]

    def set_role_permissions(self, guild: Guild, role_id: int, permissions: int) -> Role:
        """Change what a role allows in the guild; the guild's own id names @everyone."""
        old = self.role(guild, role_id)
        role = Role(id=old.id, name=old.name, permissions=int(permissions), position=old.position)
        guild.roles[role_id] = role
        self._role_event("GUILD_ROLE_UPDATE", guild, role)
        return role

    def add_channel(
        self,
        guild: Guild,
        name: str,
        kind: ChannelKind,
        *,
        user_limit: int = 0,
        parent_id: int | None = None,
        topic: str | None = None,
    ) -> Channel:
        """A new channel at the guild's end."""
        _check_room(guild.channels, MAX_CHANNELS, "channels")
        channel = Channel(
            id=self.ids.next(),
            kind=kind,
            name=name,
            guild_id=guild.id,
            position=len(guild.channels),
            topic=topic,
            parent_id=parent_id,
            user_limit=user_limit,
        )
        guild.channels[channel.id] = self.channels[channel.id] = channel
        self._channel_event("CHANNEL_CREATE", channel)
        return channel

    def channel(self, channel_id: int) -> Channel:
        """A channel; raises `ApiRefusalError`."""
        if channel_id not in self.channels:
            raise unknown("Channel")
        return self.channels[channel_id]

    def guild_of(self, channel: Channel) -> Guild:
        """The guild of a channel that is not direct."""
        if channel.guild_id is None:
            raise SimulatorError(f"channel {channel.id} is a direct one: it is in no guild")
        return self.guild(channel.guild_id)

    def channel_changed(self, channel: Channel) -> None:
        """Tell that a channel is other than before."""
        self._channel_event("CHANNEL_UPDATE", channel)

    def remove_channel(self, channel: Channel) -> None:
        """Delete a guild's channel. `VoiceStates.remove_channel` puts out before who is connected to it."""
        guild = self.guild_of(channel)
        del guild.channels[channel.id], self.channels[channel.id]
        self._channel_event("CHANNEL_DELETE", channel)

    def set_overwrite(self, channel: Channel, overwrite: Overwrite) -> None:
        """Allow or deny something in a channel."""
        channel.overwrites[overwrite.id] = overwrite
        self.channel_changed(channel)

    def overwrite_for(self, target: Role | User, *, allow: int, deny: int) -> Overwrite:
        """An overwrite of a role or of one member."""
        kind = OverwriteKind.ROLE if isinstance(target, Role) else OverwriteKind.MEMBER
        return Overwrite(id=target.id, kind=kind, allow=int(allow), deny=int(deny))

    def direct_channel(self, bot: User, person: User) -> Channel:
        """The direct channel of the two; the same one every time."""
        both = (bot, person)
        for channel in self.channels.values():
            if channel.kind is ChannelKind.DM and {user.id for user in channel.recipients} == {bot.id, person.id}:
                return channel
        _check_room(self.channels, MAX_GUILDS * MAX_CHANNELS, "channels")
        channel = Channel(id=self.ids.next(), kind=ChannelKind.DM, name="", recipients=both)
        self.channels[channel.id] = channel
        return channel

    def _member_event(self, name: str, guild: Guild, member: Member) -> None:
        data = payloads.member_payload(member) | {"guild_id": str(guild.id)}
        self.publish(name, data, Audience(guild_id=guild.id))

    def _role_event(self, name: str, guild: Guild, role: Role) -> None:
        data = {"guild_id": str(guild.id), "role": payloads.role_payload(role)}
        self.publish(name, data, Audience(guild_id=guild.id))

    def _channel_event(self, name: str, channel: Channel) -> None:
        self.publish(name, payloads.channel_payload(channel), Audience(guild_id=channel.guild_id))


def _check_room(things: Sized, limit: int, what: str) -> None:
    if len(things) >= limit:
        raise SimulatorError(f"a simulated Discord holds at most {limit} {what}")
