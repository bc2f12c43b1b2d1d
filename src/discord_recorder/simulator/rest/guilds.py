"""Routes about guilds: their channels, members, roles and voice states."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from discord_recorder.simulator import payloads
from discord_recorder.simulator.entities import ChannelKind, Guild, Json, Member
from discord_recorder.simulator.permissions import Permission, channel_permissions
from discord_recorder.simulator.refusals import missing_permissions, unknown
from discord_recorder.simulator.rest.api import Access, Call, Handler
from discord_recorder.simulator.voice_states import VoiceStates
from discord_recorder.simulator.world import World

MAX_LISTED: Final = 1_000
MAX_NICK: Final = 32


class Guilds:
    """Guilds and who is in them."""

    def __init__(self, world: World, voice: VoiceStates, access: Access) -> None:
        self._world = world
        self._voice = voice
        self._access = access

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """All of them."""
        guild = "/guilds/{guild_id}"
        return [
            ("GET", guild, self._guild),
            ("DELETE", "/users/@me/guilds/{guild_id}", self._leave),
            ("GET", f"{guild}/channels", self._channels),
            ("POST", f"{guild}/channels", self._add_channel),
            ("GET", f"{guild}/members", self._members),
            ("GET", f"{guild}/members/search", self._search),
            ("GET", f"{guild}/members/{{user_id}}", self._member),
            ("PATCH", f"{guild}/members/{{user_id}}", self._change_member),
            ("DELETE", f"{guild}/members/{{user_id}}", self._kick),
            ("PUT", f"{guild}/members/{{user_id}}/roles/{{role_id}}", self._give_role),
            ("DELETE", f"{guild}/members/{{user_id}}/roles/{{role_id}}", self._take_role),
            ("GET", f"{guild}/roles", self._roles),
            ("POST", f"{guild}/roles", self._add_role),
            ("GET", f"{guild}/voice-states/{{user_id}}", self._voice_state),
            ("PATCH", f"{guild}/voice-states/{{user_id}}", self._change_voice_state),
        ]

    async def _guild(self, call: Call) -> Json:
        guild, _ = self._access.guild(call)
        counts = {"approximate_member_count": len(guild.members), "approximate_presence_count": len(guild.members)}
        return payloads.guild_payload(guild) | (counts if call.query.get("with_counts") in ("1", "true") else {})

    async def _leave(self, call: Call) -> None:
        guild, member = self._access.guild(call)
        self._voice.remove_member(member.user.id, guild)

    async def _channels(self, call: Call) -> list[Json]:
        guild, member = self._access.guild(call)
        return [
            payloads.channel_payload(channel)
            for channel in guild.channels.values()
            if channel_permissions(guild, member, channel) & Permission.VIEW_CHANNEL
        ]

    async def _add_channel(self, call: Call) -> Json:
        guild, _ = self._access.guild_with(call, Permission.MANAGE_CHANNELS)
        body = call.fields
        parent = body.get("parent_id")
        channel = self._world.add_channel(
            guild,
            str(body["name"]),
            ChannelKind(body.get("type") or 0),
            user_limit=int(body.get("user_limit") or 0),
            parent_id=None if parent is None else int(parent),
            topic=body.get("topic"),
        )
        return payloads.channel_payload(channel)

    async def _members(self, call: Call) -> list[Json]:
        guild, _ = self._access.guild(call)
        limit, after = min(int(call.query.get("limit", 1)), MAX_LISTED), int(call.query.get("after", 0))
        members = [guild.members[user_id] for user_id in sorted(guild.members) if user_id > after]
        return [payloads.member_payload(member) for member in members[:limit]]

    async def _search(self, call: Call) -> list[Json]:
        guild, _ = self._access.guild(call)
        limit = min(int(call.query.get("limit", 1)), MAX_LISTED)
        return [payloads.member_payload(member) for member in guild.members_called(call.query["query"])[:limit]]

    async def _member(self, call: Call) -> Json:
        guild, _ = self._access.guild(call)
        return payloads.member_payload(self._target(guild, call))

    async def _change_member(self, call: Call) -> Json:
        guild, caller = self._access.guild(call)
        target, body = self._target(guild, call), call.fields
        if "nick" in body:
            self._rename(call, guild, caller, target)
        if "roles" in body:
            self._access.guild_with(call, Permission.MANAGE_ROLES)
            target.role_ids = {self._world.role(guild, int(role_id)).id for role_id in body["roles"] or ()}
            self._world.member_changed(guild, target)
        for name, permission in (("mute", Permission.MUTE_MEMBERS), ("deaf", Permission.DEAFEN_MEMBERS)):
            if name in body:
                self._access.guild_with(call, permission)
                self._voice.set_server_mute(target.user.id, guild, **{name: bool(body[name])})
        if "channel_id" in body:
            self._move(call, guild, target, body["channel_id"])
        return payloads.member_payload(target)

    async def _kick(self, call: Call) -> None:
        guild, _ = self._access.guild_with(call, Permission.KICK_MEMBERS)
        target = self._target(guild, call)
        if target.user.id == guild.owner_id:
            raise missing_permissions()
        self._voice.remove_member(target.user.id, guild)

    async def _give_role(self, call: Call) -> None:
        guild, _ = self._access.guild_with(call, Permission.MANAGE_ROLES)
        target = self._target(guild, call)
        target.role_ids.add(self._world.role(guild, call.id("role_id", "Role")).id)
        self._world.member_changed(guild, target)

    async def _take_role(self, call: Call) -> None:
        guild, _ = self._access.guild_with(call, Permission.MANAGE_ROLES)
        target = self._target(guild, call)
        target.role_ids.discard(call.id("role_id", "Role"))
        self._world.member_changed(guild, target)

    async def _roles(self, call: Call) -> list[Json]:
        guild, _ = self._access.guild(call)
        return [payloads.role_payload(role) for role in guild.roles.values()]

    async def _add_role(self, call: Call) -> Json:
        guild, _ = self._access.guild_with(call, Permission.MANAGE_ROLES)
        body = call.fields
        role = self._world.add_role(guild, str(body.get("name") or "new role"), int(body.get("permissions") or 0))
        return payloads.role_payload(role)

    async def _voice_state(self, call: Call) -> Json:
        guild, _ = self._access.guild(call)
        user_id = call.id("user_id", "User")
        state = guild.voice_states.get(user_id)
        if state is None:
            raise unknown("Voice State")
        return payloads.voice_state_payload(guild, user_id, state, state.session_id)

    async def _change_voice_state(self, call: Call) -> None:
        """On a stage: speak, listen, or ask to speak."""
        guild, caller = self._access.guild(call)
        user_id, body = call.id("user_id", "User"), call.fields
        state = guild.voice_states.get(user_id)
        if state is None or guild.channels[state.channel_id].kind is not ChannelKind.STAGE:
            raise unknown("Voice State")
        allowed = channel_permissions(guild, caller, guild.channels[state.channel_id])
        if "suppress" in body:
            speaks = not body["suppress"]
            if (speaks or user_id != caller.user.id) and not allowed & Permission.MUTE_MEMBERS:
                raise missing_permissions()
            state = replace(state, suppress=not speaks, request_to_speak_at=None)
        if "request_to_speak_timestamp" in body:
            asks = body["request_to_speak_timestamp"] is not None
            if asks and not allowed & Permission.REQUEST_TO_SPEAK:
                raise missing_permissions()
            state = replace(state, request_to_speak_at=self._world.now() if asks else None)
        self._voice.change(guild, state)

    def _target(self, guild: Guild, call: Call) -> Member:
        return self._world.member(guild, call.id("user_id", "Member"))

    def _rename(self, call: Call, guild: Guild, caller: Member, target: Member) -> None:
        own = caller.user.id == target.user.id
        self._access.guild_with(call, Permission.CHANGE_NICKNAME if own else Permission.MANAGE_NICKNAMES)
        nick = None if call.fields["nick"] is None else call.text("nick", least=0, most=MAX_NICK)
        if not own and target.user.id == guild.owner_id:
            raise missing_permissions()
        target.nick = nick or None
        self._world.member_changed(guild, target)

    def _move(self, call: Call, guild: Guild, target: Member, channel_id: Any) -> None:
        _, caller = self._access.guild_with(call, Permission.MOVE_MEMBERS)
        if channel_id is None:
            self._voice.leave(target.user.id, guild)
            return
        channel = self._world.channel(int(channel_id))
        if channel.guild_id != guild.id or not channel.kind.is_vocal:
            raise unknown("Channel")
        if not channel_permissions(guild, caller, channel) & Permission.CONNECT:
            raise missing_permissions()
        self._voice.move(target.user.id, channel)
