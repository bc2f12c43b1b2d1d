"""What a command is: its name, what it takes, and what it does."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from discord_recorder.errors import SimulatorError


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. `usage` names its words: `WHO`, `[WHO]` if it can be left out, `WORD...` for one or more."""

    name: str
    usage: str
    about: str
    act: Callable[..., Awaitable[str]]
    """Takes the words, and answers."""

    async def run(self, words: Sequence[str]) -> str:
        """Act on the words behind the command's name; raises `SimulatorError` if they are too few or too many."""
        taken = self.usage.split()
        least = sum(not each.startswith("[") for each in taken)
        if len(words) < least or (len(words) > len(taken) and "..." not in self.usage):
            raise SimulatorError(f"it is used so: {self.name} {self.usage}".rstrip())
        return await self.act(*words)


def named_values(words: Sequence[str]) -> dict[str, str]:
    """Words like `name=value` as a mapping; a word alone is `name=on`."""
    return {name: value if equals else "on" for name, equals, value in (word.partition("=") for word in words)}
