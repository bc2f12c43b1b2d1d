"""Routes about channels: the channel itself, and its messages."""

from collections.abc import Sequence
from datetime import UTC
from typing import Final

from discord_recorder.simulator import payloads
from discord_recorder.simulator.drafts import Draft
from discord_recorder.simulator.entities import Channel, Json, Message, Overwrite, OverwriteKind
from discord_recorder.simulator.messages import Messages
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.refusals import direct_messages_closed, not_the_author
from discord_recorder.simulator.rest.api import Access, Call, Handler
from discord_recorder.simulator.voice_states import VoiceStates
from discord_recorder.simulator.world import World

MAX_LISTED: Final = 100
DEFAULT_LISTED: Final = 50


class Channels:
    """Channels and messages."""

    def __init__(self, world: World, messages: Messages, voice: VoiceStates, access: Access) -> None:
        self._world = world
        self._messages = messages
        self._voice = voice
        self._access = access

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """All of them."""
        channel = "/channels/{channel_id}"
        message = f"{channel}/messages/{{message_id}}"
        return [
            ("GET", channel, self._channel),
            ("PATCH", channel, self._change),
            ("DELETE", channel, self._remove),
            ("PUT", f"{channel}/permissions/{{target_id}}", self._allow),
            ("DELETE", f"{channel}/permissions/{{target_id}}", self._forget_allowed),
            ("PUT", f"{channel}/voice-status", self._set_status),
            ("POST", f"{channel}/typing", self._type),
            ("GET", f"{channel}/messages", self._history),
            ("POST", f"{channel}/messages", self._send),
            ("POST", f"{channel}/messages/bulk-delete", self._bulk_delete),
            ("GET", message, self._message),
            ("PATCH", message, self._edit),
            ("DELETE", message, self._delete),
        ]

    async def _channel(self, call: Call) -> Json:
        return payloads.channel_payload(self._access.channel(call))

    async def _change(self, call: Call) -> Json:
        channel, body = self._access.channel(call, Permission.MANAGE_CHANNELS), call.fields
        channel.name = str(body.get("name", channel.name))
        channel.topic = body.get("topic", channel.topic)
        channel.user_limit = int(body.get("user_limit", channel.user_limit) or 0)
        self._world.channel_changed(channel)
        return payloads.channel_payload(channel)

    async def _remove(self, call: Call) -> Json:
        channel = self._access.channel(call, Permission.MANAGE_CHANNELS)
        self._voice.remove_channel(channel)
        return payloads.channel_payload(channel)

    async def _allow(self, call: Call) -> None:
        channel, body = self._access.channel(call, Permission.MANAGE_ROLES), call.fields
        overwrite = Overwrite(
            id=call.id("target_id", "User"),
            kind=OverwriteKind(int(body["type"])),
            allow=int(body.get("allow") or 0),
            deny=int(body.get("deny") or 0),
        )
        self._world.set_overwrite(channel, overwrite)

    async def _forget_allowed(self, call: Call) -> None:
        channel = self._access.channel(call, Permission.MANAGE_ROLES)
        channel.overwrites.pop(call.id("target_id", "User"), None)
        self._world.channel_changed(channel)

    async def _set_status(self, call: Call) -> None:
        self._access.channel(call, Permission.SET_VOICE_CHANNEL_STATUS)

    async def _type(self, call: Call) -> None:
        channel = self._access.channel(call, Permission.SEND_MESSAGES)
        data: Json = {
            "channel_id": str(channel.id),
            "user_id": str(call.caller.id),
            "timestamp": int(self._world.now().astimezone(UTC).timestamp()),
        }
        if channel.guild_id is not None:
            member = self._world.guild(channel.guild_id).members[call.caller.id]
            data |= {"guild_id": str(channel.guild_id), "member": payloads.member_payload(member)}
        self._world.publish("TYPING_START", data, self._messages.audience(channel))

    async def _history(self, call: Call) -> list[Json]:
        channel = self._access.channel(call, Permission.READ_MESSAGE_HISTORY)
        limit = max(1, min(int(call.query.get("limit", DEFAULT_LISTED)), MAX_LISTED))
        newest_first = list(self._messages.history(channel.id))
        if "before" in call.query:
            newest_first = [each for each in newest_first if each.id < int(call.query["before"])]
        elif "after" in call.query:
            newer = [each for each in newest_first if each.id > int(call.query["after"])]
            newest_first = newer[-limit:]
        elif "around" in call.query:
            middle = int(call.query["around"])
            newer = [each for each in newest_first if each.id > middle]
            older = [each for each in newest_first if each.id <= middle]
            newest_first = newer[len(newer) - limit // 2 :] + older if len(newer) > limit // 2 else newest_first
        return [self._messages.payload(each) for each in newest_first[:limit]]

    async def _send(self, call: Call) -> Json:
        needed = Permission.SEND_MESSAGES
        if call.uploads:
            needed |= Permission.ATTACH_FILES
        channel = self._access.channel(call, needed)
        if {user.id for user in channel.recipients} & self._world.closed_to_messages:
            raise direct_messages_closed()
        draft = Draft.of(call.fields, call.uploads)
        return self._messages.payload(self._messages.send(channel, call.caller, draft))

    async def _message(self, call: Call) -> Json:
        channel = self._access.channel(call, Permission.READ_MESSAGE_HISTORY)
        return self._messages.payload(self._of_path(call, channel))

    async def _edit(self, call: Call) -> Json:
        message = self._of_path(call, self._access.channel(call))
        if message.author.id != call.caller.id:
            raise not_the_author()
        return self._messages.payload(self._messages.edit(message, Draft.of(call.fields, call.uploads)))

    async def _delete(self, call: Call) -> None:
        message = self._of_path(call, self._access.channel(call))
        if message.author.id != call.caller.id:
            self._access.channel(call, Permission.MANAGE_MESSAGES)
        self._messages.delete(message)

    async def _bulk_delete(self, call: Call) -> None:
        channel = self._access.channel(call, Permission.MANAGE_MESSAGES)
        wanted = {int(each) for each in call.fields["messages"][:MAX_LISTED]}
        for message in [each for each in self._messages.history(channel.id) if each.id in wanted]:
            self._messages.delete(message)

    def _of_path(self, call: Call, channel: Channel) -> Message:
        return self._messages.get(channel.id, call.id("message_id", "Message"))
