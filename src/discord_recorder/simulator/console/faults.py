"""Commands for what goes wrong, and for what somebody with the right to does to others."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.console.command import Command, named_values
from discord_recorder.simulator.console.names import Names, number, switch
from discord_recorder.simulator.entities import User
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.faults import Direction, LinkFaults
from discord_recorder.simulator.voice.server import VoiceServer

_FAULTS: Final = {field.name: field.type for field in fields(LinkFaults)}
_GATEWAY: Final = ("drop", "lose", "reconnect", "invalidate", "freeze")


class Faults:
    """Faults of datagrams are commanded of all voice servers, so that they follow who is moved."""

    def __init__(self, simulator: Simulator, names: Names) -> None:
        self._simulator = simulator
        self._names = names

    def commands(self) -> Sequence[Command]:
        """All of them."""
        known = ", ".join(name if kind is bool else f"{name}=N" for name, kind in _FAULTS.items())
        return [
            Command(
                name="disturb",
                usage="WHO up|down FAULT...",
                about=f"Let these faults, and no others, happen to datagrams from or to a user: {known}.",
                act=self._disturb,
            ),
            Command(name="heal", usage="WHO [up|down]", about="End them.", act=self._heal),
            Command(name="garbage", usage="WHO [COUNT]", about="Send datagrams that make no sense.", act=self._garbage),
            Command(name="delay", usage="WHO SECONDS", about="Send voice websocket messages late.", act=self._delay),
            Command(
                name="close", usage="WHO CODE", about="Close the voice websocket, e.g. with 4015.", act=self._close
            ),
            Command(name="cut", usage="WHO", about="Cut the voice websocket's TCP connection.", act=self._cut),
            Command(name="version", usage="CHANNEL 0|1", about="Change a call's DAVE version.", act=self._version),
            Command(name="rotate", usage="", about="Move the guild to the next voice server.", act=self._rotate),
            Command(name="move", usage="WHO CHANNEL", about="Put a user into another channel.", act=self._move),
            Command(name="disconnect", usage="WHO", about="Put a user out of voice.", act=self._disconnect),
            Command(name="kick", usage="WHO", about="Put a user out of the guild.", act=self._kick),
            Command(name="server-mute", usage="WHO on|off", about="Mute a user for all.", act=self._server_mute),
            Command(
                name="server-deafen", usage="WHO on|off", about="Let a user hear nothing.", act=self._server_deafen
            ),
            Command(name="remove", usage="CHANNEL", about="Delete a channel.", act=self._remove),
            Command(
                name="gateway",
                usage=f"BOT {'|'.join(_GATEWAY)}|CODE",
                about="Break a bot's main gateway: drop it (to be resumed), lose the session too, ask for a reconnect, "
                "invalidate the session, freeze it, or close it with a code.",
                act=self._gateway,
            ),
        ]

    async def _disturb(self, who: str, direction: str, *faults: str) -> str:
        user, given = self._names.user(who), named_values(faults)
        if unknown := given.keys() - _FAULTS.keys():
            raise SimulatorError(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(_FAULTS)}")
        values: dict[str, Any] = {
            name: switch(word) if _FAULTS[name] is bool else number(word, float) for name, word in given.items()
        }
        chosen = LinkFaults(**values)
        for server in self._simulator.voice_servers:
            server.disturb(user.id, _direction(direction), chosen)
        return f"Disturbed: {user.name} {direction}."

    async def _heal(self, who: str, direction: str | None = None) -> str:
        user = self._names.user(who)
        for server in self._simulator.voice_servers:
            server.heal(user.id, None if direction is None else _direction(direction))
        return f"Healed: {user.name}."

    async def _garbage(self, who: str, count: str = "1") -> str:
        user, wanted = self._names.user(who), number(count, int)
        self._server.send_garbage(user.id, self._guild_id, count=wanted)
        return f"Sent to {user.name}: {wanted}."

    async def _delay(self, who: str, seconds: str) -> str:
        user = self._names.user(who)
        for server in self._simulator.voice_servers:
            server.delay_websocket(user.id, number(seconds, float))
        return f"Delayed: {user.name}."

    async def _close(self, who: str, code: str) -> str:
        user = self._names.user(who)
        self._server.close_websocket(user.id, self._guild_id, _close_code(code))
        return f"Closed: {user.name}."

    async def _cut(self, who: str) -> str:
        user = self._names.user(who)
        self._server.cut(user.id, self._guild_id)
        return f"Cut: {user.name}."

    async def _version(self, channel: str, version: str) -> str:
        found = self._names.channel(channel)
        if version not in ("0", "1"):
            raise SimulatorError("there are DAVE versions 0 and 1")
        for server in self._simulator.voice_servers:
            server.change_version(found.id, int(version))
        return f"{found.name} goes to DAVE version {version}."

    async def _rotate(self) -> str:
        self._simulator.rotate_voice_server(self._names.guild)
        return f"Voice is served by {self._server.endpoint} now."

    async def _move(self, who: str, channel: str) -> str:
        user, found = self._names.user(who), self._names.channel(channel)
        if not found.kind.is_vocal:
            raise SimulatorError(f"{found.name} is no voice channel")
        self._simulator.move(user, found)
        return f"{user.name} is in {found.name}."

    async def _disconnect(self, who: str) -> str:
        user = self._names.user(who)
        self._simulator.disconnect(user, self._names.guild)
        return f"{user.name} is out of voice."

    async def _kick(self, who: str) -> str:
        user = self._names.user(who)
        self._simulator.kick(user, self._names.guild)
        return f"{user.name} is out of the guild."

    async def _server_mute(self, who: str, state: str) -> str:
        user = self._names.user(who)
        self._simulator.server_mute(user, self._names.guild, mute=switch(state))
        return f"Server mute of {user.name}: {state}."

    async def _server_deafen(self, who: str, state: str) -> str:
        user = self._names.user(who)
        self._simulator.server_deafen(user, self._names.guild, deaf=switch(state))
        return f"Server deafness of {user.name}: {state}."

    async def _remove(self, channel: str) -> str:
        found = self._names.channel(channel)
        self._simulator.remove_channel(found)
        return f"Deleted: {found.name}."

    async def _gateway(self, who: str, how: str) -> str:
        bot = self._names.bot(who)
        self._break(bot, how)
        return f"Gateway of {bot.name}: {how}."

    def _break(self, bot: User, how: str) -> None:
        match how:
            case "drop":
                self._simulator.drop_gateway(bot)
            case "lose":
                self._simulator.drop_gateway(bot, resumable=False)
            case "reconnect":
                self._simulator.ask_to_reconnect(bot)
            case "invalidate":
                self._simulator.invalidate_session(bot)
            case "freeze":
                self._simulator.freeze_gateway(bot)
            case code:
                self._simulator.close_gateway(bot, _close_code(code))

    @property
    def _server(self) -> VoiceServer:
        return self._simulator.voice_server(self._names.guild)

    @property
    def _guild_id(self) -> int:
        return self._names.guild.id


def _direction(word: str) -> Direction:
    try:
        return Direction(word)
    except ValueError:
        raise SimulatorError(f"{word!r} is neither up (what the user says) nor down (what it hears)") from None


def _close_code(word: str) -> int:
    code = number(word, int)
    if not 1000 <= code < 5000:  # noqa: PLR2004 - RFC 6455, section 7.4.2
        raise SimulatorError(f"{code} is no close code")
    return code
