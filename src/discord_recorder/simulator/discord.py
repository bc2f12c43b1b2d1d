"""The simulated Discord without its sockets: what there is, what people do, and what a test may command."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.changes import Changes
from discord_recorder.simulator.commands import Commands
from discord_recorder.simulator.deeds import Deeds
from discord_recorder.simulator.entities import Channel, ChannelKind, Guild, Member, Message, Role, User
from discord_recorder.simulator.interactions import Interaction, Interactions
from discord_recorder.simulator.messages import Messages
from discord_recorder.simulator.voice_port import VoiceAccess, VoicePort
from discord_recorder.simulator.voice_states import VoiceStates
from discord_recorder.simulator.world import Dispatch, World

T = TypeVar("T")

WAIT_SECONDS: Final = 20.0
"""How long `until` waits unless told otherwise: far more than anything takes that works."""


class SimulatedDiscord(Deeds):
    """The state, and everything that changes it from outside of the bots.

    Args:
        now: the wall clock, in Unix seconds.
        monotonic: the clock of time limits, in seconds.
        answer_seconds: how long a bot may take to answer an interaction.
        voice_servers: at least one, by the time that somebody joins.
    """

    def __init__(
        self,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        answer_seconds: float,
        voice_servers: Sequence[VoicePort],
    ) -> None:
        world = World(now)
        messages = Messages(world)
        interactions = Interactions(world, messages, monotonic, answer_seconds)
        super().__init__(world, messages, Commands(world.ids), interactions)
        self.voice_states = VoiceStates(world, voice_servers)
        self.changes = Changes()
        world.listen(self._note)

    async def until(self, condition: Callable[[], T | None], *, timeout_seconds: float = WAIT_SECONDS) -> T:
        """Wait for a state of this Discord; gives the condition's first true answer, or raises `TimeoutError`."""
        return await self.changes.until(condition, timeout_seconds=timeout_seconds)

    async def answered(self, interaction: Interaction, *, timeout_seconds: float = WAIT_SECONDS) -> Interaction:
        """Wait until the bot has answered, with more than a promise."""
        await self.until(lambda: interaction.is_answered, timeout_seconds=timeout_seconds)
        return interaction

    # What there is

    def add_user(self, name: str) -> User:
        """A new person."""
        return self.world.add_user(name)

    def add_bot(self, name: str, *guilds: Guild, permissions: int = 0) -> User:
        """A new bot with its application, in these guilds; permissions come with a role of its own."""
        bot = self.world.add_user(name, bot=True)
        for guild in guilds:
            role_ids = [self.world.add_role(guild, name, permissions).id] if permissions else []
            self.world.add_member(guild, bot, role_ids)
        return bot

    def add_guild(self, name: str, owner: User, *members: User) -> Guild:
        """A new guild with an owner and members."""
        guild = self.world.add_guild(name, owner)
        for member in members:
            self.world.add_member(guild, member)
        return guild

    def add_member(self, guild: Guild, user: User, *roles: Role) -> Member:
        """Let a user into a guild."""
        return self.world.add_member(guild, user, [role.id for role in roles])

    def add_role(self, guild: Guild, name: str, permissions: int = 0) -> Role:
        """A new role."""
        return self.world.add_role(guild, name, permissions)

    def add_text_channel(self, guild: Guild, name: str) -> Channel:
        """A new text channel."""
        return self.world.add_channel(guild, name, ChannelKind.TEXT)

    def add_voice_channel(self, guild: Guild, name: str, *, user_limit: int = 0) -> Channel:
        """A new voice channel."""
        return self.world.add_channel(guild, name, ChannelKind.VOICE, user_limit=user_limit)

    def add_stage_channel(self, guild: Guild, name: str) -> Channel:
        """A new stage channel."""
        return self.world.add_channel(guild, name, ChannelKind.STAGE)

    def remove_channel(self, channel: Channel) -> None:
        """Delete a guild's channel; whoever is connected to it is disconnected."""
        self.voice_states.remove_channel(channel)

    def overwrite(self, channel: Channel, target: Role | User, *, allow: int = 0, deny: int = 0) -> None:
        """Allow or deny permissions in a channel."""
        self.world.set_overwrite(channel, self.world.overwrite_for(target, allow=allow, deny=deny))

    def direct_channel(self, bot: User, person: User) -> Channel:
        """The direct channel of the two."""
        return self.world.direct_channel(bot, person)

    def close_direct_messages(self, person: User) -> None:
        """From now on bots cannot write to this person."""
        self.world.closed_to_messages.add(person.id)

    def messages(self, channel: Channel, *, seen_by: User | None = None) -> list[Message]:
        """Everything written in a channel, oldest first: all of it, or what one person sees."""
        return [
            message
            for message in self.messages_store.of(channel.id)
            if seen_by is None or message.visible_to in (None, seen_by.id)
        ]

    def message(self, message: Message) -> Message:
        """A message as it is now."""
        return self.messages_store.get(message.channel_id, message.id)

    # Voice

    def join(self, user: User, channel: Channel, *, self_mute: bool = False, self_deaf: bool = False) -> VoiceAccess:
        """A person connects to a voice channel: where to, and with what; raises `SimulatorError` if refused."""
        access = self.voice_states.request(user, channel, self_mute=self_mute, self_deaf=self_deaf)
        if access is None:
            raise SimulatorError(f"{user.name} cannot enter {channel.name}: it is full, or may not be entered")
        return access

    def leave(self, user: User, guild: Guild) -> None:
        """A person leaves voice."""
        self.voice_states.leave(user.id, guild)

    def disconnect(self, user: User, guild: Guild) -> None:
        """Somebody with the right to puts a user or bot out of voice."""
        self.voice_states.leave(user.id, guild)

    def move(self, user: User, channel: Channel) -> VoiceAccess:
        """Somebody with the right to moves a connected user or bot to another channel."""
        return self.voice_states.move(user.id, channel)

    def kick(self, user: User, guild: Guild) -> None:
        """Somebody with the right to puts a user or bot out of the guild, and so out of its voice channels."""
        self.voice_states.remove_member(user.id, guild)

    def server_mute(self, user: User, guild: Guild, *, mute: bool = True) -> None:
        """Mute a connected member for all, or end that."""
        self.voice_states.set_server_mute(user.id, guild, mute=mute)

    def server_deafen(self, user: User, guild: Guild, *, deaf: bool = True) -> None:
        """Deafen a connected member, or end that."""
        self.voice_states.set_server_mute(user.id, guild, deaf=deaf)

    def rotate_voice_server(self, guild: Guild) -> None:
        """Move a guild's voice to the next voice server, as a change of region does."""
        self.voice_states.rotate(guild)

    def voice_access(self, user: User, guild: Guild) -> VoiceAccess | None:
        """The valid ticket of a connected user; another one after a move or a change of server."""
        return self.voice_states.access(user.id, guild.id)

    def _note(self, _: Dispatch) -> None:
        self.changes.announce()
