"""Who may do what in a channel: roles, overwrites, owners."""

import pytest

from discord_recorder.simulator.entities import Role, User
from discord_recorder.simulator.permissions import ALL, EVERYONE, Permission, channel_permissions, guild_permissions
from tests.simulator.parts import Parts

VIEW, SEND, FILES = Permission.VIEW_CHANNEL, Permission.SEND_MESSAGES, Permission.ATTACH_FILES


def test_owners_and_administrators_may_do_all(parts: Parts) -> None:
    admin = parts.discord.add_role(parts.guild, "Admin", Permission.ADMINISTRATOR)
    parts.discord.add_member(parts.guild, parts.ben, admin)
    parts.discord.overwrite(parts.text, parts.guild.roles[parts.guild.id], deny=ALL)
    for user in (parts.ada, parts.ben):
        assert channel_permissions(parts.guild, parts.guild.members[user.id], parts.text) == ALL


@pytest.mark.parametrize(
    ("everyone", "role", "member", "may"),
    [
        ((0, 0), (0, 0), (0, 0), True),
        ((0, SEND), (0, 0), (0, 0), False),
        ((0, SEND), (SEND, 0), (0, 0), True),
        ((0, SEND), (SEND, 0), (0, SEND), False),
        ((SEND, 0), (0, SEND), (SEND, 0), True),
        ((0, 0), (SEND, SEND), (0, 0), True),
        ((0, VIEW), (0, 0), (SEND, 0), False),
    ],
)
def test_overwrites_in_their_order(
    parts: Parts, everyone: tuple[int, int], role: tuple[int, int], member: tuple[int, int], may: bool
) -> None:
    staff = parts.discord.add_role(parts.guild, "Staff")
    parts.discord.add_member(parts.guild, parts.ben, staff)
    targets: list[tuple[Role | User, tuple[int, int]]] = [
        (parts.guild.roles[parts.guild.id], everyone),
        (staff, role),
        (parts.ben, member),
    ]
    for target, (allow, deny) in targets:
        parts.discord.overwrite(parts.text, target, allow=allow, deny=deny)
    allowed = channel_permissions(parts.guild, parts.guild.members[parts.ben.id], parts.text)
    assert bool(allowed & SEND) is may


def test_roles_add_up(parts: Parts) -> None:
    roles = [parts.discord.add_role(parts.guild, name, bit) for name, bit in (("a", 1 << 40), ("b", 1 << 41))]
    member = parts.discord.add_member(parts.guild, parts.ben, *roles)
    assert guild_permissions(parts.guild, member) == EVERYONE | 1 << 40 | 1 << 41
    parts.discord.world.set_role_permissions(parts.guild, parts.guild.id, VIEW)
    assert guild_permissions(parts.guild, member) == VIEW | 1 << 40 | 1 << 41
    assert not guild_permissions(parts.guild, member) & FILES
