"""Discord's permission bits, and what a member may do in a channel.

Source: Discord developer documentation, "Permissions": base permissions, then the overwrites of @everyone, of the
member's roles together, and of the member.
"""

from enum import IntFlag
from typing import Final

from discord_recorder.simulator.entities import Channel, Guild, Member, OverwriteKind


class Permission(IntFlag):
    """The bits that the simulator looks at; others are carried along."""

    KICK_MEMBERS = 1 << 1
    ADMINISTRATOR = 1 << 3
    MANAGE_CHANNELS = 1 << 4
    MANAGE_GUILD = 1 << 5
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    CONNECT = 1 << 20
    SPEAK = 1 << 21
    MUTE_MEMBERS = 1 << 22
    DEAFEN_MEMBERS = 1 << 23
    MOVE_MEMBERS = 1 << 24
    USE_VOICE_ACTIVITY = 1 << 25
    CHANGE_NICKNAME = 1 << 26
    MANAGE_NICKNAMES = 1 << 27
    MANAGE_ROLES = 1 << 28
    USE_APPLICATION_COMMANDS = 1 << 31
    REQUEST_TO_SPEAK = 1 << 32
    SET_VOICE_CHANNEL_STATUS = 1 << 48


ALL: Final = Permission((1 << 53) - 1)

EVERYONE: Final = (
    Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.CONNECT
    | Permission.SPEAK
    | Permission.USE_VOICE_ACTIVITY
    | Permission.CHANGE_NICKNAME
    | Permission.USE_APPLICATION_COMMANDS
    | Permission.REQUEST_TO_SPEAK
)
"""What the @everyone role of a new guild allows."""


def guild_permissions(guild: Guild, member: Member) -> Permission:
    """What a member may do in the guild, channels aside."""
    if member.user.id == guild.owner_id:
        return ALL
    allowed = guild.roles[guild.id].permissions
    for role_id in member.role_ids:
        allowed |= guild.roles[role_id].permissions
    return ALL if allowed & Permission.ADMINISTRATOR else Permission(allowed)


def channel_permissions(guild: Guild, member: Member, channel: Channel) -> Permission:
    """What a member may do in one of the guild's channels."""
    allowed = int(guild_permissions(guild, member))
    if allowed == ALL:
        return ALL
    overwrites = channel.overwrites
    groups: tuple[list[int], ...] = ([guild.id], sorted(member.role_ids), [member.user.id])
    for ids, kind in zip(groups, (OverwriteKind.ROLE, OverwriteKind.ROLE, OverwriteKind.MEMBER), strict=True):
        found = [overwrite for each in ids if (overwrite := overwrites.get(each)) and overwrite.kind is kind]
        for overwrite in found:
            allowed &= ~overwrite.deny
        for overwrite in found:
            allowed |= overwrite.allow
    if not allowed & Permission.VIEW_CHANNEL:
        return Permission(0)
    return Permission(allowed)
