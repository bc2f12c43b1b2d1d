"""The messages of all channels: sent, edited, deleted, listed. Ephemeral ones too, which only their reader sees."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from discord_recorder.simulator import payloads
from discord_recorder.simulator.drafts import Draft, Upload
from discord_recorder.simulator.entities import Attachment, Channel, Json, Message, MessageFlag, User
from discord_recorder.simulator.refusals import empty_message, unknown
from discord_recorder.simulator.world import Audience, Dispatch, World

MAX_MESSAGES: Final = 1_000
"""Kept for each channel; older ones are forgotten."""

MAX_KEPT_BYTES: Final = 256 * 1024 * 1024
"""Kept of all attachments together; the oldest files are forgotten, their messages stay."""

_MENTION: Final = re.compile(r"<@!?(\d{1,20})>")
_UNSAFE: Final = re.compile(r"[^\w.-]", re.ASCII)
"""What Discord replaces in names of files."""

_KEPT_FLAGS: Final = 1 << 2 | MessageFlag.EPHEMERAL | 1 << 12 | MessageFlag.COMPONENTS_V2


class Messages:
    """Every message there is; `file_url` is where attachments are read from."""

    def __init__(self, world: World) -> None:
        self.file_url = ""
        self._world = world
        self._of_channel: dict[int, OrderedDict[int, Message]] = {}
        self._files: OrderedDict[int, Attachment] = OrderedDict()
        self._file_bytes = 0
        world.listen(self._forget)

    def send(
        self,
        channel: Channel,
        author: User,
        draft: Draft,
        *,
        flags: int = 0,
        application_id: int | None = None,
        interaction: Json | None = None,
        visible_to: int | None = None,
    ) -> Message:
        """Put a new message into a channel; raises `ApiRefusalError` if there is nothing in it."""
        flags |= draft.flags & _KEPT_FLAGS
        if visible_to is None:
            flags &= ~MessageFlag.EPHEMERAL
        mentions, everyone = self._mentions(draft)
        message = Message(
            id=self._world.ids.next(),
            channel_id=channel.id,
            guild_id=channel.guild_id,
            author=author,
            sent_at=self._world.now(),
            content=draft.content or "",
            embeds=draft.embeds or (),
            components=draft.components or (),
            attachments=self._store(channel, draft.files),
            flags=flags,
            nonce=draft.nonce,
            mentions=mentions,
            mention_everyone=everyone,
            tts=draft.tts,
            reply_to=self._replied(channel, draft),
            application_id=application_id,
            interaction=interaction,
            visible_to=visible_to if flags & MessageFlag.EPHEMERAL else None,
        )
        if not message.is_loading:
            _check_not_empty(message)
        kept = self._of_channel.setdefault(channel.id, OrderedDict())
        kept[message.id] = message
        if len(kept) > MAX_MESSAGES:
            kept.popitem(last=False)
        if not message.is_ephemeral:
            channel.last_message_id = message.id
        self._tell("MESSAGE_CREATE", message)
        return message

    def edit(self, message: Message, draft: Draft) -> Message:
        """Change what the draft names, leave the rest; a promised answer becomes a message."""
        channel = self._world.channel(message.channel_id)
        message = self.get(channel.id, message.id)
        kept = message.attachments
        if draft.keep is not None:
            kept = tuple(attachment for attachment in kept if attachment.id in draft.keep)
        changed = replace(
            message,
            content=message.content if draft.content is None else draft.content,
            embeds=message.embeds if draft.embeds is None else draft.embeds,
            components=message.components if draft.components is None else draft.components,
            attachments=kept + self._store(channel, draft.files),
            flags=(message.flags & ~MessageFlag.LOADING) | (draft.flags & MessageFlag.COMPONENTS_V2),
            edited_at=message.edited_at if message.is_loading else self._world.now(),
        )
        _check_not_empty(changed)
        self._of_channel[channel.id][message.id] = changed
        self._tell("MESSAGE_UPDATE", changed)
        return changed

    def delete(self, message: Message) -> None:
        """Take a message away."""
        self.get(message.channel_id, message.id)
        del self._of_channel[message.channel_id][message.id]
        data: Json = {"id": str(message.id), "channel_id": str(message.channel_id)}
        if message.guild_id is not None:
            data["guild_id"] = str(message.guild_id)
        if not message.is_ephemeral:
            self._world.publish("MESSAGE_DELETE", data, self.audience(self._world.channel(message.channel_id)))

    def get(self, channel_id: int, message_id: int) -> Message:
        """A message as it is now; raises `ApiRefusalError`."""
        try:
            return self._of_channel[channel_id][message_id]
        except KeyError:
            raise unknown("Message") from None

    def of(self, channel_id: int) -> list[Message]:
        """All messages of a channel, oldest first, ephemeral ones included."""
        return list(self._of_channel.get(channel_id, {}).values())

    def history(self, channel_id: int) -> Iterator[Message]:
        """What everyone sees of a channel, newest first."""
        return (message for message in reversed(self.of(channel_id)) if not message.is_ephemeral)

    def file(self, attachment_id: int) -> Attachment:
        """A file that is still kept; raises `ApiRefusalError`."""
        if attachment_id not in self._files:
            raise unknown("Message")
        return self._files[attachment_id]

    def payload(self, message: Message) -> Json:
        """The message's JSON form, with what it replies to."""
        guild = None if message.guild_id is None else self._world.guilds.get(message.guild_id)
        replied = None
        if message.reply_to is not None:
            replied = self._of_channel.get(message.channel_id, OrderedDict()).get(message.reply_to)
        return payloads.message_payload(message, guild, replied)

    def audience(self, channel: Channel) -> Audience:
        """Who sees the messages of a channel."""
        if channel.guild_id is None:
            return Audience(channel_id=channel.id, user_ids=frozenset(user.id for user in channel.recipients))
        return Audience(guild_id=channel.guild_id, channel_id=channel.id)

    def _tell(self, event: str, message: Message) -> None:
        if not message.is_ephemeral:
            channel = self._world.channel(message.channel_id)
            self._world.publish(event, self.payload(message), self.audience(channel))

    def _forget(self, event: Dispatch) -> None:
        """The messages of a channel that was deleted."""
        if event.name == "CHANNEL_DELETE":
            self._of_channel.pop(int(event.data["id"]), None)

    def _store(self, channel: Channel, uploads: Sequence[Upload]) -> tuple[Attachment, ...]:
        stored = []
        for upload in uploads:
            filename = _UNSAFE.sub("_", upload.filename)
            number = self._world.ids.next()
            attachment = Attachment(
                id=number,
                filename=filename,
                content_type=upload.content_type,
                data=upload.data,
                url=f"{self.file_url}/{channel.id}/{number}/{filename}",
                description=upload.description,
            )
            stored.append(attachment)
            self._files[number] = attachment
            self._file_bytes += len(upload.data)
        while self._file_bytes > MAX_KEPT_BYTES:
            self._file_bytes -= len(self._files.popitem(last=False)[1].data)
        return tuple(stored)

    def _mentions(self, draft: Draft) -> tuple[tuple[User, ...], bool]:
        found: dict[int, Any] = {}
        for number in map(int, _MENTION.findall(draft.content or "")):
            if user := self._world.users.get(number):
                found[number] = user
        return tuple(found.values()), "@everyone" in (draft.content or "")

    def _replied(self, channel: Channel, draft: Draft) -> int | None:
        known = draft.reply_to in self._of_channel.get(channel.id, ())
        return draft.reply_to if known else None


def _check_not_empty(message: Message) -> None:
    if not (message.content or message.embeds or message.components or message.attachments):
        raise empty_message()
