"""Application commands: registered by bots, globally or for a guild, and looked up as people type them.

Source: Discord developer documentation, "Application Commands".
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.entities import Json
from discord_recorder.simulator.refusals import invalid, unknown
from discord_recorder.simulator.snowflakes import Snowflakes

MAX_CHAT_COMMANDS: Final = 100
"""Of a bot, globally and for each guild; more are refused."""
MAX_OPTIONS: Final = 25
MAX_NAME: Final = 32
MAX_DESCRIPTION: Final = 100

_CHAT_NAME: Final = re.compile(r"[-_'\w]{1,32}")


class OptionKind(IntEnum):
    """Types of command options."""

    SUBCOMMAND = 1
    GROUP = 2
    STRING = 3
    INTEGER = 4
    BOOLEAN = 5
    USER = 6
    CHANNEL = 7
    ROLE = 8
    MENTIONABLE = 9
    NUMBER = 10
    ATTACHMENT = 11


class CommandKind(IntEnum):
    """Types of commands: typed with a slash, or picked from the menu of a user or a message."""

    CHAT = 1
    USER = 2
    MESSAGE = 3


_Scope = tuple[int, int | None]
"""An application, and the guild or None for everywhere."""


class Commands:
    """All commands of all applications."""

    def __init__(self, ids: Snowflakes) -> None:
        self._ids = ids
        self._of: dict[_Scope, list[Json]] = {}

    def all(self, application_id: int, guild_id: int | None) -> list[Json]:
        """The commands of one scope: of a guild, or the global ones."""
        return list(self._of.get((application_id, guild_id), ()))

    def get(self, application_id: int, guild_id: int | None, command_id: int) -> Json:
        """One command; raises `ApiRefusalError`."""
        for command in self.all(application_id, guild_id):
            if command["id"] == str(command_id):
                return command
        raise unknown("application command")

    def overwrite(self, application_id: int, guild_id: int | None, bodies: Sequence[Json]) -> list[Json]:
        """Replace a scope's commands by these; one of a name and type that was there keeps its id."""
        seen = set[tuple[str, int]]()
        for index, body in enumerate(bodies):
            check_command(body, str(index))
            key = (body["name"], body.get("type", CommandKind.CHAT))
            if key in seen:
                message = "Application command names must be unique"
                raise invalid(f"{index}.name", "APPLICATION_COMMANDS_DUPLICATE_NAME", message)
            seen.add(key)
        if sum(kind == CommandKind.CHAT for _, kind in seen) > MAX_CHAT_COMMANDS:
            raise invalid("_", "APPLICATION_COMMANDS_LIMIT", "Maximum number of application commands reached")
        old = {(command["name"], command["type"]): command for command in self.all(application_id, guild_id)}
        commands = [self._stored(application_id, guild_id, body, old) for body in bodies]
        self._of[application_id, guild_id] = commands
        return commands

    def upsert(self, application_id: int, guild_id: int | None, body: Json) -> Json:
        """Add a command, or replace the one of its name and type."""
        key = (body.get("name"), body.get("type", CommandKind.CHAT))
        others = [
            command for command in self.all(application_id, guild_id) if (command["name"], command["type"]) != key
        ]
        old = {
            (command["name"], command["type"]): command
            for command in self.all(application_id, guild_id)
            if command not in others
        }
        check_command(body, "_")
        command = self._stored(application_id, guild_id, body, old)
        self._of[application_id, guild_id] = [*others, command]
        return command

    def edit(self, application_id: int, guild_id: int | None, command_id: int, body: Json) -> Json:
        """Change what the body names."""
        old = self.get(application_id, guild_id, command_id)
        body = old | body | {"type": old["type"]}
        check_command(body, "_")
        command = self._stored(application_id, guild_id, body, {(body["name"], body["type"]): old})
        commands = self._of[application_id, guild_id]
        commands[commands.index(old)] = command
        return command

    def delete(self, application_id: int, guild_id: int | None, command_id: int) -> None:
        """Remove a command."""
        self.get(application_id, guild_id, command_id)
        self._of[application_id, guild_id] = [
            command for command in self.all(application_id, guild_id) if command["id"] != str(command_id)
        ]

    def find(self, application_id: int, guild_id: int | None, name: str, kind: CommandKind) -> Json | None:
        """What a person gets who types this name: the guild's own command before a global one."""
        for scope in (guild_id, None):
            for command in self.all(application_id, scope):
                if command["name"] == name and command["type"] == kind:
                    return command
        return None

    def _stored(
        self, application_id: int, guild_id: int | None, body: Json, old: Mapping[tuple[str, int], Json]
    ) -> Json:
        kind = body.get("type", CommandKind.CHAT)
        known = old.get((body["name"], kind))
        command = {
            "description": "",
            "default_member_permissions": None,
            "dm_permission": True,
            "contexts": None,
            "integration_types": [0],
            "nsfw": False,
            "options": [],
            **body,
            "id": known["id"] if known else str(self._ids.next()),
            "application_id": str(application_id),
            "version": str(self._ids.next()),
            "type": int(kind),
        }
        return command if guild_id is None else command | {"guild_id": str(guild_id)}


def check_command(body: Json, path: str) -> None:
    """Refuse what Discord would: names, descriptions, too many options, required options behind optional ones."""
    kind = CommandKind(body.get("type", CommandKind.CHAT))
    if kind == CommandKind.CHAT:
        _check_named(body, path)
        _check_options(body.get("options") or (), path)
    elif not 1 <= len(body.get("name", "")) <= MAX_NAME:
        raise invalid(f"{path}.name", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MAX_NAME} in length.")


def _check_named(body: Json, path: str) -> None:
    name, description = body.get("name", ""), body.get("description", "")
    if not isinstance(name, str) or not _CHAT_NAME.fullmatch(name) or name != name.lower():
        raise invalid(f"{path}.name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    if not 1 <= len(description) <= MAX_DESCRIPTION:
        message = f"Must be between 1 and {MAX_DESCRIPTION} in length."
        raise invalid(f"{path}.description", "BASE_TYPE_BAD_LENGTH", message)


def _check_options(options: Sequence[Json], path: str) -> None:
    if len(options) > MAX_OPTIONS:
        raise invalid(f"{path}.options", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_OPTIONS} or fewer in length.")
    optional_seen = False
    for index, option in enumerate(options):
        where = f"{path}.options.{index}"
        _check_named(option, where)
        if OptionKind(option["type"]) in (OptionKind.SUBCOMMAND, OptionKind.GROUP):
            _check_options(option.get("options") or (), where)
        elif option.get("required"):
            if optional_seen:
                message = "Required options must be placed before non-required options"
                raise invalid(where, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", message)
        else:
            optional_seen = True


def resolve_path(command: Json, words: Sequence[str]) -> tuple[list[Json], Sequence[Json]]:
    """The subcommands that the words behind a command's name walk through, and the options of the last one.

    Raises:
        SimulatorError: a word is no subcommand, or one is missing.
    """
    path: list[Json] = []
    options: Sequence[Json] = command.get("options") or ()
    for word in words:
        found = [each for each in options if each["name"] == word and each["type"] <= OptionKind.GROUP]
        if not found:
            raise SimulatorError(f"the command {command['name']!r} has no subcommand {word!r}")
        path.append(found[0])
        options = found[0].get("options") or ()
    if any(each["type"] <= OptionKind.GROUP for each in options):
        raise SimulatorError(f"the command {command['name']!r} takes one more subcommand")
    return path, options


def check_value(option: Json, value: Any) -> None:
    """Refuse what Discord's own client lets nobody enter; raises `SimulatorError`."""
    choices = option.get("choices") or ()
    name = option["name"]
    if choices and value not in [choice["value"] for choice in choices]:
        raise SimulatorError(f"{value!r} is no choice of the option {name!r}")
    size = len(value) if isinstance(value, str) else value
    bounds = {
        OptionKind.STRING: ("min_length", "max_length"),
        OptionKind.INTEGER: ("min_value", "max_value"),
        OptionKind.NUMBER: ("min_value", "max_value"),
    }.get(option["type"])
    if bounds is None:
        return
    least, most = (option.get(bound) for bound in bounds)
    if (least is not None and size < least) or (most is not None and size > most):
        raise SimulatorError(f"{value!r} is out of the bounds of the option {name!r}")
