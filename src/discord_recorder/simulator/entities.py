"""What Discord consists of here: users, guilds, roles, channels, members, voice states, messages.

Guilds, channels and members change in place, through `World` only; the rest is replaced as a whole.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Final

Json = dict[str, Any]

LARGE: Final = 250
"""Members of a guild, beyond which only those who are connected to voice are told without being asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a bot; a bot's application has the bot's id."""

    id: int
    name: str
    token: str = field(default="", repr=False)
    """What a bot logs in with; people have none."""

    @property
    def is_bot(self) -> bool:
        """Only bots have tokens."""
        return bool(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role; the one with its guild's id is @everyone."""

    id: int
    name: str
    permissions: int
    position: int


class OverwriteKind(IntEnum):
    """Whom a permission overwrite is about."""

    ROLE = 0
    MEMBER = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Overwrite:
    """What a channel allows or denies a role or a member."""

    id: int
    kind: OverwriteKind
    allow: int
    deny: int


class ChannelKind(IntEnum):
    """Discord's numbers for the types of channels that there are here."""

    TEXT = 0
    DM = 1
    VOICE = 2
    CATEGORY = 4
    STAGE = 13

    @property
    def is_vocal(self) -> bool:
        """People can connect to it."""
        return self in (ChannelKind.VOICE, ChannelKind.STAGE)


@dataclass(slots=True, kw_only=True)
class Channel:
    """A channel of a guild, or a direct channel of a bot and a person."""

    id: int
    kind: ChannelKind
    name: str
    guild_id: int | None = None
    position: int = 0
    topic: str | None = None
    parent_id: int | None = None
    user_limit: int = 0
    """0 is no limit."""
    overwrites: dict[int, Overwrite] = field(default_factory=dict)
    recipients: tuple[User, ...] = ()
    last_message_id: int | None = None


@dataclass(slots=True, kw_only=True)
class Member:
    """A user in a guild."""

    user: User
    joined_at: datetime
    nick: str | None = None
    role_ids: set[int] = field(default_factory=set)
    mute: bool = False
    deaf: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceState:
    """Where a member is connected, and how."""

    user_id: int
    channel_id: int
    session_id: str
    self_mute: bool = False
    self_deaf: bool = False
    suppress: bool = False
    request_to_speak_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Guild:
    """A guild and all that is in it."""

    id: int
    name: str
    owner_id: int
    joined_at: datetime
    roles: dict[int, Role] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    voice_states: dict[int, VoiceState] = field(default_factory=dict)

    def members_called(self, beginning: str) -> list[Member]:
        """Members whose name or nickname begins so, in upper or lower case."""
        wanted = beginning.lower()
        return [
            member
            for member in self.members.values()
            if any(name.lower().startswith(wanted) for name in (member.user.name, member.nick or ""))
        ]

    @property
    def is_large(self) -> bool:
        """Too many members for all of them to be told in GUILD_CREATE."""
        return len(self.members) > LARGE

    def people_in(self, channel_id: int) -> list[VoiceState]:
        """Who is connected to a voice channel."""
        return [state for state in self.voice_states.values() if state.channel_id == channel_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of a message."""

    id: int
    filename: str
    content_type: str
    data: bytes = field(repr=False)
    url: str
    description: str | None = None


class MessageFlag(IntEnum):
    """Bits of a message's flags that mean something here."""

    EPHEMERAL = 1 << 6
    LOADING = 1 << 7
    COMPONENTS_V2 = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it is now; an edit replaces it."""

    id: int
    channel_id: int
    guild_id: int | None
    author: User
    sent_at: datetime
    content: str = ""
    edited_at: datetime | None = None
    embeds: tuple[Json, ...] = ()
    components: tuple[Json, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    flags: int = 0
    nonce: str | int | None = None
    mentions: tuple[User, ...] = ()
    mention_everyone: bool = False
    tts: bool = False
    reply_to: int | None = None
    application_id: int | None = None
    """Of the application that an interaction made it by."""
    interaction: Json | None = None
    """Its `interaction_metadata`."""
    visible_to: int | None = None
    """The only user that sees it, if it is ephemeral."""

    @property
    def is_ephemeral(self) -> bool:
        """Only one user sees it, and it is not in the channel's history."""
        return bool(self.flags & MessageFlag.EPHEMERAL)

    @property
    def is_loading(self) -> bool:
        """The application has promised an answer ("is thinking")."""
        return bool(self.flags & MessageFlag.LOADING)
