"""`simulate`: a Discord on this machine that any bot can be tried against."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from discord_recorder.cli.interruption import InterruptedRunError, Interruption
from discord_recorder.cli.invocation import Invocation
from discord_recorder.cli.terminal import Terminal
from discord_recorder.cli.typed_lines import typed_lines
from discord_recorder.errors import NotAudioError, SimulatorError
from discord_recorder.simulator.console.console import Console
from discord_recorder.simulator.entities import Guild
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.server import Simulator, SimulatorOptions

GUILD: Final = "Simulated guild"
TEXT_CHANNEL: Final = "general"
VOICE_CHANNEL: Final = "Talk"
STAGE_CHANNEL: Final = "Stage"
BOTS: Final = ("Recorder",)
PEOPLE: Final = ("Ada", "Ben", "Chris")
QUIT: Final = "quit"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOrder:
    """What was asked for; None for `seconds` is until Ctrl-C, None for `ca_file` is a temporary file."""

    bots: Sequence[str] = BOTS
    people: Sequence[str] = PEOPLE
    port: int = 0
    seconds: float | None = None
    ca_file: Path | None = None


def simulate(invocation: Invocation, order: SimulateOrder, *, as_json: bool) -> int:
    """Run it, and do what is commanded on stdin, until Ctrl-C, `quit`, or for so many seconds; all are a good end."""
    terminal = invocation.terminal

    async def run(interruption: Interruption) -> int:
        interruption.in_work = "the simulated Discord"
        async with Simulator(SimulatorOptions(port=order.port)) as simulator:
            guild, about = _people_it(simulator, order)
            if as_json:
                terminal.json(about)
            else:
                _print(terminal, about)
            async with Console(simulator, guild, terminal.error) as console:
                serving = _obey(console, terminal.note if as_json else terminal.say, terminal.error)
                with suppress(InterruptedRunError, TimeoutError):
                    await interruption.guard(asyncio.wait_for(serving, order.seconds))
        return 0

    return invocation.run_watched(run)


async def _obey(console: Console, answer: Callable[[str], None], refuse: Callable[[str], None]) -> None:
    """Do what lines of stdin say, one after the other; return at `quit`, but not at the end of stdin."""
    async with aclosing(typed_lines()) as lines:
        async for line in lines:
            if line.strip() == QUIT:
                return
            try:
                for said in (await console.run(line)).splitlines():
                    answer(said)
            except (SimulatorError, NotAudioError) as error:
                refuse(str(error))
    await asyncio.get_running_loop().create_future()


def _people_it(simulator: Simulator, order: SimulateOrder) -> tuple[Guild, dict[str, Any]]:
    people = [simulator.add_user(name) for name in order.people]
    guild = simulator.add_guild(GUILD, *people)
    channels = [
        simulator.add_text_channel(guild, TEXT_CHANNEL),
        simulator.add_voice_channel(guild, VOICE_CHANNEL),
        simulator.add_stage_channel(guild, STAGE_CHANNEL),
    ]
    bots = [simulator.add_bot(name, guild, permissions=Permission.ADMINISTRATOR) for name in order.bots]
    ca_file = simulator.ca_file
    if order.ca_file is not None:
        ca_file = order.ca_file.absolute()
        ca_file.write_bytes(simulator.ca_file.read_bytes())
    return guild, {
        "api_url": simulator.api_url,
        "gateway_url": simulator.gateway_url,
        "ca_file": str(ca_file),
        "guild": {"id": str(guild.id), "name": guild.name},
        "channels": [
            {"id": str(channel.id), "name": channel.name, "kind": channel.kind.name.lower()} for channel in channels
        ],
        "people": [{"id": str(person.id), "name": person.name} for person in people],
        "bots": [{"id": str(bot.id), "name": bot.name, "token": bot.token} for bot in bots],
    }


def _print(terminal: Terminal, about: dict[str, Any]) -> None:
    terminal.details(
        [("API", about["api_url"]), ("Gateway", about["gateway_url"]), ("CA file", about["ca_file"])],
    )
    terminal.say()
    rows = [["guild", about["guild"]["name"], about["guild"]["id"], ""]]
    rows += [[f"{each['kind']} channel", each["name"], each["id"], ""] for each in about["channels"]]
    rows += [["person", each["name"], each["id"], ""] for each in about["people"]]
    rows += [["bot", each["name"], each["id"], each["token"]] for each in about["bots"]]
    terminal.table(["What", "Name", "Id", "Token"], rows)
    terminal.say()
    terminal.say("Point a bot at it:")
    terminal.say(f"  export DISCORD_RECORDER_DISCORD_API_URL={about['api_url']} SSL_CERT_FILE={about['ca_file']}")
    terminal.say("A discord.py program of another kind needs SSL_CERT_FILE, and before its client is made:")
    terminal.say("  from discord_recorder.bot.endpoint import use_discord_api")
    terminal.say(f"  use_discord_api({about['api_url']!r})")
    terminal.note(f"Running. Type help to see what people and faults can be commanded; {QUIT} or Ctrl-C ends it.")
