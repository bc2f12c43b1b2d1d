"""Lines in, answers out: finds the command of a line and runs it."""

import asyncio
import shlex
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.console.command import Command
from discord_recorder.simulator.console.faults import Faults
from discord_recorder.simulator.console.names import Names, number
from discord_recorder.simulator.console.people import People
from discord_recorder.simulator.entities import Guild
from discord_recorder.simulator.server import Simulator

_COMMENT: Final = "#"


class Console:
    """The commands of one guild, while the `async with` block runs; then everybody who was let in leaves.

    Args:
        simulator: a running one.
        guild: where names are looked up.
        tell: hears what comes of something after its command has been answered.
    """

    def __init__(self, simulator: Simulator, guild: Guild, tell: Callable[[str], None]) -> None:
        names = Names(simulator, guild)
        self._people = People(simulator, names, tell)
        own = [
            Command(name="wait", usage="SECONDS", about="Do nothing for a while; for scripts.", act=self._wait),
            Command(name="help", usage="", about="Show all commands.", act=self._help),
        ]
        commands = [*self._people.commands(), *Faults(simulator, names).commands(), *own]
        self._commands = {command.name: command for command in commands}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._people.close()

    @property
    def commands(self) -> Sequence[Command]:
        """What there is, in the order of `help`."""
        return tuple(self._commands.values())

    async def run(self, line: str) -> str:
        """Do what a line says, and give an answer for whoever typed it; nothing for an empty one, or a `#` comment.

        Raises:
            SimulatorError: it cannot be understood, or not be done.
        """
        if line.lstrip().startswith(_COMMENT):
            return ""
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise SimulatorError(f"the line makes no sense: {error}") from None
        if not words:
            return ""
        command = self._commands.get(words[0])
        if command is None:
            raise SimulatorError(f"there is no command {words[0]!r}; `help` shows all")
        try:
            return await command.run(words[1:])
        except TimeoutError:
            raise SimulatorError("it did not happen in time") from None

    async def _wait(self, seconds: str) -> str:
        await asyncio.sleep(number(seconds, float))
        return ""

    async def _help(self) -> str:
        shown = [(f"{each.name} {each.usage}".rstrip(), each.about) for each in self.commands]
        width = max(len(usage) for usage, _ in shown)
        return "\n".join(f"{usage:<{width}}  {about}" for usage, about in shown)
