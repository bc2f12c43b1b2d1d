"""What the words of a command mean: users, channels and roles by name or id, numbers, on and off."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.commands import OptionKind
from discord_recorder.simulator.discord import SimulatedDiscord
from discord_recorder.simulator.entities import Channel, Guild, Json, Role, User
from discord_recorder.simulator.forms import Entity

_SWITCH: Final = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


class _Named(Protocol):
    @property
    def id(self) -> int: ...

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)
NumberT = TypeVar("NumberT", int, float)


class Names:
    """Looks up words in one guild; everything raises `SimulatorError` when there is no such thing."""

    def __init__(self, discord: SimulatedDiscord, guild: Guild) -> None:
        self.guild = guild
        self._discord = discord

    def user(self, word: str) -> User:
        """A person or a bot."""
        return _found(self._discord.world.users.values(), word, "nobody")

    def person(self, word: str) -> User:
        """Somebody who does what is typed here; a bot does what its program says."""
        user = self.user(word)
        if user.is_bot:
            raise SimulatorError(f"{user.name} is a bot: only its own program can do that")
        return user

    def bot(self, word: str) -> User:
        """A bot."""
        user = self.user(word)
        if not user.is_bot:
            raise SimulatorError(f"{user.name} is no bot")
        return user

    def channel(self, word: str) -> Channel:
        """A channel of the guild, with or without `#`."""
        return _found(self.guild.channels.values(), word.removeprefix("#"), "no channel")

    def role(self, word: str) -> Role:
        """A role of the guild."""
        return _found(self.guild.roles.values(), word, "no role")

    def option(self, declared: Json, word: str) -> object:
        """The value of a slash command's option, as its type demands."""
        readers: dict[int, Callable[[str], object]] = {
            OptionKind.INTEGER: lambda each: number(each, int),
            OptionKind.NUMBER: lambda each: number(each, float),
            OptionKind.BOOLEAN: switch,
            OptionKind.USER: self.user,
            OptionKind.CHANNEL: self.channel,
            OptionKind.ROLE: self.role,
            OptionKind.MENTIONABLE: self._mentionable,
        }
        read = readers.get(declared["type"])
        return word if read is None else read(word)

    def _mentionable(self, word: str) -> Entity:
        try:
            return self.user(word)
        except SimulatorError:
            return self.role(word)


def number(word: str, kind: Callable[[str], NumberT]) -> NumberT:
    """A number of the kind: `int` or `float`."""
    try:
        return kind(word)
    except ValueError:
        raise SimulatorError(f"{word!r} is no number") from None


def switch(word: str) -> bool:
    """`on` or `off`."""
    if word.lower() not in _SWITCH:
        raise SimulatorError(f"{word!r} is neither on nor off")
    return _SWITCH[word.lower()]


def _found(things: Iterable[T], word: str, nothing: str) -> T:
    found = [each for each in things if word in (each.name, str(each.id))]
    found = found or [each for each in things if each.name.lower() == word.lower()]
    if not found:
        raise SimulatorError(f"{nothing} is called {word!r}")
    if len(found) > 1:
        raise SimulatorError(f"{len(found)} are called {word!r}: {', '.join(str(each.id) for each in found)}")
    return found[0]
