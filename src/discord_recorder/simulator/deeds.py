"""What people do in their Discord client: write, use commands, press buttons, choose, fill in forms.

Only what the client would let them do: a button has to be there and enabled, a command registered and permitted,
required options given. Everything else raises `SimulatorError`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.commands import CommandKind, Commands, resolve_path
from discord_recorder.simulator.drafts import BUTTON, LINK_STYLES, SELECTS, Draft, Upload, walk
from discord_recorder.simulator.entities import Channel, Guild, Json, Message, User
from discord_recorder.simulator.forms import (
    Entity,
    Resolved,
    chosen_values,
    declared_option,
    filled_field,
    find_component,
)
from discord_recorder.simulator.interactions import Interaction, InteractionKind, Interactions
from discord_recorder.simulator.messages import Messages
from discord_recorder.simulator.permissions import Permission, channel_permissions, guild_permissions
from discord_recorder.simulator.world import World


class Deeds:
    """The hands of all people; a part of `SimulatedDiscord`."""

    def __init__(self, world: World, messages: Messages, commands: Commands, interactions: Interactions) -> None:
        self.world = world
        self.messages_store = messages
        self.commands = commands
        self.interactions = interactions

    def post(
        self,
        user: User,
        channel: Channel,
        content: str = "",
        *,
        files: Mapping[str, bytes] | None = None,
        reply_to: Message | None = None,
    ) -> Message:
        """A person writes a message, perhaps with files by name."""
        self._check(user, channel, Permission.SEND_MESSAGES)
        uploads = tuple(
            Upload(field_name=name, filename=name, content_type="application/octet-stream", data=data)
            for name, data in (files or {}).items()
        )
        draft = Draft(content=content, files=uploads, reply_to=None if reply_to is None else reply_to.id)
        return self.messages_store.send(channel, user, draft)

    def invoke(
        self,
        user: User,
        command: str,
        options: Mapping[str, Any] | None = None,
        *,
        channel: Channel,
        bot: User | None = None,
    ) -> Interaction:
        """A person uses a slash command; subcommands stand behind it: `record start`.

        Options are plain values or entities (users, channels, roles). `bot` is needed only if several have a command of
        this name.
        """
        bot = bot or self.bot_with(command.split(maxsplit=1)[0], CommandKind.CHAT, channel)
        found, path, declared = self._typed(user, bot, channel, command)
        given = dict(options or {})
        missing = [each["name"] for each in declared if each.get("required") and each["name"] not in given]
        if missing:
            raise SimulatorError(f"the command {command!r} needs {', '.join(missing)}")
        resolved = Resolved(self._guild(channel), user)
        values = [resolved.option(declared_option(declared, name), value) for name, value in given.items()]
        data = self._command_data(found, channel, path, values) | resolved.as_data()
        return self.interactions.create(InteractionKind.COMMAND, bot, user, channel, data)

    def invoke_on(
        self, user: User, command: str, target: Message | User, *, channel: Channel, bot: User | None = None
    ) -> Interaction:
        """A person uses a command of a message's or a user's menu."""
        kind = CommandKind.MESSAGE if isinstance(target, Message) else CommandKind.USER
        bot = bot or self.bot_with(command, kind, channel)
        found = self._usable(user, bot, channel, command, kind)
        if isinstance(target, Message):
            resolved: Json = {"messages": {str(target.id): self.messages_store.payload(target)}}
        else:
            collected = Resolved(self._guild(channel), user)
            collected.add(target)
            resolved = collected.as_data()["resolved"]
        data = self._command_data(found, channel, [], []) | {"target_id": str(target.id), "resolved": resolved}
        return self.interactions.create(InteractionKind.COMMAND, bot, user, channel, data)

    def complete(
        self,
        user: User,
        command: str,
        option: str,
        typed: str,
        *,
        channel: Channel,
        options: Mapping[str, Any] | None = None,
    ) -> Interaction:
        """A person types into an option that completes itself; the offer is in the interaction's `choices`.

        `options` are the others, as far as they are filled in.
        """
        bot = self.bot_with(command.split(maxsplit=1)[0], CommandKind.CHAT, channel)
        found, path, declared = self._typed(user, bot, channel, command)
        if not declared_option(declared, option).get("autocomplete"):
            raise SimulatorError(f"the option {option!r} of {command!r} does not complete itself")
        resolved = Resolved(self._guild(channel), user)
        values = [resolved.option(declared_option(declared, name), value) for name, value in (options or {}).items()]
        values.append(
            {"name": option, "type": declared_option(declared, option)["type"], "value": typed, "focused": True}
        )
        data = self._command_data(found, channel, path, values) | resolved.as_data()
        return self.interactions.create(InteractionKind.AUTOCOMPLETE, bot, user, channel, data)

    def click(self, user: User, message: Message, button: str) -> Interaction:
        """A person presses a button, named by its label or custom id."""
        message = self._seen(user, message)
        component = find_component(
            (each for each in walk(message.components) if each["type"] == BUTTON), button, ("custom_id", "label")
        )
        if component.get("style") in LINK_STYLES:
            raise SimulatorError(f"the button {button!r} is a link: pressing it tells the bot nothing")
        data = {"component_type": BUTTON, "custom_id": component["custom_id"]}
        return self._use(user, message, data)

    def select(self, user: User, message: Message, menu: str, values: Sequence[str | Entity]) -> Interaction:
        """A person chooses from a menu, named by its custom id or placeholder: labels or values, or entities."""
        message = self._seen(user, message)
        component = find_component(
            (each for each in walk(message.components) if each["type"] in SELECTS), menu, ("custom_id", "placeholder")
        )
        resolved = Resolved(self._guild(self.world.channel(message.channel_id)), user)
        chosen = chosen_values(component, values, resolved)
        data = {"component_type": component["type"], "custom_id": component["custom_id"], "values": chosen}
        return self._use(user, message, data | resolved.as_data())

    def submit(self, interaction: Interaction, values: Mapping[str, Any]) -> Interaction:
        """A person sends the form that an interaction opened; fields are named by custom id or label."""
        form = interaction.modal
        if form is None:
            raise SimulatorError("the application opened no form")
        left = dict(values)
        resolved = Resolved(interaction.guild, interaction.user)
        components = [filled_field(component, left, resolved) for component in form["components"]]
        if left:
            raise SimulatorError(f"the form has no field {', '.join(map(repr, left))}")
        data = {"custom_id": form["custom_id"], "components": components} | resolved.as_data()
        return self.interactions.create(
            InteractionKind.MODAL,
            interaction.application,
            interaction.user,
            interaction.channel,
            data,
            interaction.source,
        )

    def bot_with(self, command: str, kind: CommandKind, channel: Channel) -> User:
        """The one bot that has a command of this name there; raises `SimulatorError` if there is none, or several."""
        found = [
            user
            for user in self.world.users.values()
            if user.is_bot and self.commands.find(user.id, channel.guild_id, command, kind)
        ]
        if len(found) != 1:
            raise SimulatorError(f"{len(found)} bots have registered a command {command!r}: say which one is meant")
        return found[0]

    def _use(self, user: User, message: Message, data: Json) -> Interaction:
        channel = self.world.channel(message.channel_id)
        return self.interactions.create(InteractionKind.COMPONENT, message.author, user, channel, data, message)

    def _typed(self, user: User, bot: User, channel: Channel, command: str) -> tuple[Json, list[Json], Sequence[Json]]:
        name, *words = command.split()
        found = self._usable(user, bot, channel, name, CommandKind.CHAT)
        return found, *resolve_path(found, words)

    def _usable(self, user: User, bot: User, channel: Channel, name: str, kind: CommandKind) -> Json:
        self._check(user, channel, Permission.USE_APPLICATION_COMMANDS)
        found = self.commands.find(bot.id, channel.guild_id, name, kind)
        if found is None:
            raise SimulatorError(f"{bot.name} has registered no command {name!r}")
        guild = self._guild(channel)
        needed = found["default_member_permissions"]
        if guild is None:
            if found["dm_permission"] is False or (found["contexts"] is not None and 1 not in found["contexts"]):
                raise SimulatorError(f"the command {name!r} is not for direct messages")
        elif needed is not None:
            held = guild_permissions(guild, self.world.member(guild, user.id))
            if int(needed) & ~held or (int(needed) == 0 and not held & Permission.ADMINISTRATOR):
                raise SimulatorError(f"the command {name!r} is not shown to {user.name}: permissions are missing")
        return found

    def _command_data(self, found: Json, channel: Channel, path: Sequence[Json], values: Sequence[Json]) -> Json:
        options = list(values)
        for each in reversed(path):
            options = [{"name": each["name"], "type": each["type"], "options": options}]
        data: Json = {"id": found["id"], "name": found["name"], "type": found["type"], "options": options}
        return data | ({"guild_id": found["guild_id"]} if "guild_id" in found else {})

    def _seen(self, user: User, message: Message) -> Message:
        """The message as it is now, if the user sees it."""
        channel = self.world.channel(message.channel_id)
        self._check(user, channel, Permission.VIEW_CHANNEL)
        message = self.messages_store.get(message.channel_id, message.id)
        if message.visible_to not in (None, user.id):
            raise SimulatorError(f"{user.name} does not see that message: it is somebody else's")
        return message

    def _check(self, user: User, channel: Channel, permission: Permission) -> None:
        guild = self._guild(channel)
        if guild is None:
            if user not in channel.recipients:
                raise SimulatorError(f"{user.name} is not in that direct channel")
            return
        if user.id not in guild.members:
            raise SimulatorError(f"{user.name} is not a member of {guild.name}")
        if not channel_permissions(guild, guild.members[user.id], channel) & permission:
            raise SimulatorError(f"{user.name} lacks {permission.name} in {channel.name}")

    def _guild(self, channel: Channel) -> Guild | None:
        return None if channel.guild_id is None else self.world.guild(channel.guild_id)
