"""Which session is told what: shards, intents, membership, visible channels, message content."""

from collections.abc import Iterable

from discord_recorder.simulator import payloads
from discord_recorder.simulator.entities import Guild, Json, Member
from discord_recorder.simulator.gateway.intents import Intent, needed_intent
from discord_recorder.simulator.gateway.session import Session
from discord_recorder.simulator.permissions import Permission, channel_permissions
from discord_recorder.simulator.world import Dispatch, World


def is_told(world: World, session: Session, event: Dispatch) -> bool:
    """Whether a session gets an event."""
    audience, user_id = event.audience, session.user.id
    about_bot = event.name in ("GUILD_CREATE", "GUILD_DELETE")
    if not session.shard.has(int(event.data["id"]) if about_bot else audience.guild_id):
        return False
    own = event.data.get("user", {}).get("id") == str(user_id)
    direct = audience.guild_id is None and audience.channel_id is not None
    if needed_intent(event.name, direct=direct) & ~session.intents and not (
        own and event.name == "GUILD_MEMBER_UPDATE"
    ):
        return False
    if audience.user_ids is not None:
        return user_id in audience.user_ids
    if own and event.name == "GUILD_MEMBER_ADD":
        return False
    guild = world.guilds.get(audience.guild_id or 0)
    if guild is None or user_id not in guild.members:
        return False
    if audience.channel_id is None:
        return True
    channel = world.channels.get(audience.channel_id)
    allowed = channel_permissions(guild, guild.members[user_id], channel) if channel else Permission(0)
    return bool(allowed & Permission.VIEW_CHANNEL)


def as_seen_by(world: World, session: Session, event: Dispatch) -> Json:
    """The event's data as a session may see it."""
    if event.name == "GUILD_CREATE":
        return guild_create(world.guild(int(event.data["id"])), session)
    if event.name in ("MESSAGE_CREATE", "MESSAGE_UPDATE") and not _may_read(session, event.data):
        return event.data | {"content": "", "embeds": [], "attachments": [], "components": []}
    return event.data


def guild_create(guild: Guild, session: Session) -> Json:
    """With all members only for who may see them, and only of small guilds; else the bot and who is connected."""
    everyone = Intent.GUILD_MEMBERS | Intent.GUILD_PRESENCES
    members: Iterable[Member] = guild.members.values()
    if guild.is_large or session.intents & everyone != everyone:
        members = [each for each in members if each.user.id == session.user.id or each.user.id in guild.voice_states]
    payload = payloads.guild_create_payload(guild, members)
    return payload if session.intents & Intent.GUILD_VOICE_STATES else payload | {"voice_states": []}


def _may_read(session: Session, message: Json) -> bool:
    own = str(session.user.id)
    return (
        bool(session.intents & Intent.MESSAGE_CONTENT)
        or "guild_id" not in message
        or message["author"]["id"] == own
        or any(user["id"] == own for user in message["mentions"])
    )
