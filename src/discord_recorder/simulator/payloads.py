"""The JSON forms of everything, as the REST API and the gateway show it (API v10)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from discord_recorder.simulator.entities import (
    Attachment,
    Channel,
    ChannelKind,
    Guild,
    Json,
    Member,
    Message,
    Overwrite,
    Role,
    User,
    VoiceState,
)

_BITRATE: Final = 64_000
_COMMAND: Final = 2  # the interaction type of an application command
_COMMAND_ANSWER: Final = 20  # the message type of the answer to one
_REPLY: Final = 19
_APPLICATION_FLAGS: Final = 1 << 12 | 1 << 14 | 1 << 18 | 1 << 23  # privileged intents, global commands


def timestamp(at: datetime) -> str:
    """ISO 8601 with microseconds and offset."""
    return at.isoformat(timespec="microseconds")


def user_payload(user: User) -> Json:
    """A user as others see it."""
    return {
        "id": str(user.id),
        "username": user.name,
        "discriminator": "0000" if user.is_bot else "0",
        "global_name": None if user.is_bot else user.name,
        "avatar": None,
        "bot": user.is_bot,
        "public_flags": 0,
    }


def own_user_payload(user: User) -> Json:
    """A bot as it sees itself."""
    return user_payload(user) | {"verified": True, "mfa_enabled": False, "locale": "en-US", "flags": 0, "email": None}


def application_payload(bot: User, owner: User) -> Json:
    """The application of a bot."""
    return {
        "id": str(bot.id),
        "name": bot.name,
        "icon": None,
        "description": "",
        "summary": "",
        "verify_key": "0" * 64,
        "flags": _APPLICATION_FLAGS,
        "bot_public": True,
        "bot_require_code_grant": False,
        "owner": user_payload(owner),
        "team": None,
        "interactions_endpoint_url": None,
        "bot": user_payload(bot),
    }


def partial_application_payload(bot: User) -> Json:
    """The application as READY has it."""
    return {"id": str(bot.id), "flags": _APPLICATION_FLAGS}


def role_payload(role: Role) -> Json:
    """A role."""
    return {
        "id": str(role.id),
        "name": role.name,
        "permissions": str(role.permissions),
        "position": role.position,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "unicode_emoji": None,
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


def overwrite_payload(overwrite: Overwrite) -> Json:
    """A permission overwrite."""
    return {
        "id": str(overwrite.id),
        "type": int(overwrite.kind),
        "allow": str(overwrite.allow),
        "deny": str(overwrite.deny),
    }


def channel_payload(channel: Channel) -> Json:
    """A channel, of a guild or direct."""
    payload: Json = {
        "id": str(channel.id),
        "type": int(channel.kind),
        "last_message_id": None if channel.last_message_id is None else str(channel.last_message_id),
        "flags": 0,
    }
    if channel.kind is ChannelKind.DM:
        return payload | {"recipients": [user_payload(user) for user in channel.recipients if not user.is_bot]}
    payload |= {
        "guild_id": str(channel.guild_id),
        "name": channel.name,
        "position": channel.position,
        "parent_id": None if channel.parent_id is None else str(channel.parent_id),
        "permission_overwrites": [overwrite_payload(each) for each in channel.overwrites.values()],
        "nsfw": False,
        "rate_limit_per_user": 0,
    }
    if channel.kind.is_vocal:
        return payload | {"bitrate": _BITRATE, "user_limit": channel.user_limit, "rtc_region": None}
    return payload | {"topic": channel.topic}


def member_payload(member: Member, *, with_user: bool = True) -> Json:
    """A member of a guild; messages carry it without the user."""
    payload: Json = {
        "nick": member.nick,
        "avatar": None,
        "roles": [str(role_id) for role_id in sorted(member.role_ids)],
        "joined_at": timestamp(member.joined_at),
        "premium_since": None,
        "deaf": member.deaf,
        "mute": member.mute,
        "flags": 0,
        "pending": False,
        "communication_disabled_until": None,
    }
    return payload | {"user": user_payload(member.user)} if with_user else payload


def voice_state_payload(guild: Guild, user_id: int, state: VoiceState | None, session_id: str) -> Json:
    """A voice state for VOICE_STATE_UPDATE; `None` tells that the user has left."""
    member = guild.members.get(user_id)
    payload = {
        "guild_id": str(guild.id),
        "channel_id": None if state is None else str(state.channel_id),
        "user_id": str(user_id),
        "session_id": session_id,
        "deaf": member.deaf if member else False,
        "mute": member.mute if member else False,
        "self_deaf": state.self_deaf if state else False,
        "self_mute": state.self_mute if state else False,
        "self_video": False,
        "suppress": state.suppress if state else False,
        "request_to_speak_timestamp": timestamp(state.request_to_speak_at)
        if state and state.request_to_speak_at
        else None,
    }
    return payload | {"member": member_payload(member)} if member else payload


def guild_payload(guild: Guild) -> Json:
    """A guild as REST shows it: without its channels, members and voice states."""
    return {
        "id": str(guild.id),
        "name": guild.name,
        "icon": None,
        "splash": None,
        "discovery_splash": None,
        "description": None,
        "banner": None,
        "owner_id": str(guild.owner_id),
        "region": "local",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "roles": [role_payload(role) for role in guild.roles.values()],
        "emojis": [],
        "stickers": [],
        "features": [],
        "mfa_level": 0,
        "nsfw_level": 0,
        "application_id": None,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "premium_progress_bar_enabled": False,
        "preferred_locale": "en-US",
        "max_members": 500_000,
        "max_video_channel_users": 25,
    }


def guild_create_payload(guild: Guild, members: Iterable[Member]) -> Json:
    """A guild as GUILD_CREATE shows it, with these of its members."""
    states = []
    for user_id, state in guild.voice_states.items():
        payload = voice_state_payload(guild, user_id, state, state.session_id)
        states.append({key: value for key, value in payload.items() if key not in ("guild_id", "member")})
    return guild_payload(guild) | {
        "joined_at": timestamp(guild.joined_at),
        "large": guild.is_large,
        "unavailable": False,
        "member_count": len(guild.members),
        "voice_states": states,
        "members": [member_payload(member) for member in members],
        "channels": [channel_payload(channel) for channel in guild.channels.values()],
        "threads": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def attachment_payload(attachment: Attachment) -> Json:
    """A file of a message."""
    payload: Json = {
        "id": str(attachment.id),
        "filename": attachment.filename,
        "size": len(attachment.data),
        "url": attachment.url,
        "proxy_url": attachment.url,
        "content_type": attachment.content_type,
    }
    return payload if attachment.description is None else payload | {"description": attachment.description}


def message_payload(message: Message, guild: Guild | None, replied: Message | None = None) -> Json:
    """A message with its author's membership, if it was sent in a guild; `replied` is what it answers."""
    payload: Json = {
        "id": str(message.id),
        "channel_id": str(message.channel_id),
        "type": 0,
        "author": user_payload(message.author),
        "content": message.content,
        "timestamp": timestamp(message.sent_at),
        "edited_timestamp": None if message.edited_at is None else timestamp(message.edited_at),
        "tts": message.tts,
        "mention_everyone": message.mention_everyone,
        "mentions": [user_payload(user) for user in message.mentions],
        "mention_roles": [],
        "attachments": [attachment_payload(attachment) for attachment in message.attachments],
        "embeds": list(message.embeds),
        "components": list(message.components),
        "pinned": False,
        "flags": message.flags,
    }
    if message.nonce is not None:
        payload["nonce"] = message.nonce
    if guild is not None:
        payload["guild_id"] = str(guild.id)
        if member := guild.members.get(message.author.id):
            payload["member"] = member_payload(member, with_user=False)
    if message.application_id is not None:
        payload |= {"application_id": str(message.application_id), "webhook_id": str(message.application_id)}
    if message.interaction is not None:
        payload["interaction_metadata"] = message.interaction
        payload["type"] = _COMMAND_ANSWER if message.interaction["type"] == _COMMAND else 0
    if message.reply_to is not None:
        payload |= {
            "type": _REPLY,
            "message_reference": {
                "type": 0,
                "message_id": str(message.reply_to),
                "channel_id": str(message.channel_id),
                **({"guild_id": str(guild.id)} if guild else {}),
            },
            "referenced_message": None if replied is None else message_payload(replied, guild),
        }
    return payload
