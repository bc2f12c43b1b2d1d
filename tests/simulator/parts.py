"""The simulated Discord without sockets and clocks, and gateway clients that only note what they get."""

import json
from collections.abc import Callable
from typing import Any

from discord_recorder.simulator.discord import SimulatedDiscord
from discord_recorder.simulator.entities import User
from discord_recorder.simulator.gateway.hub import Hub, Op
from discord_recorder.simulator.gateway.session import Session
from tests.support.voice import NoVoice

ALL_INTENTS = (1 << 26) - 1
UNPRIVILEGED = ALL_INTENTS & ~(1 << 1 | 1 << 8 | 1 << 15)


class Parts:
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.timers: list[Timer] = []
        self.voice = [NoVoice("localhost:1"), NoVoice("localhost:2")]
        self.discord = SimulatedDiscord(lambda: self.time, lambda: self.time, 3.0, self.voice)
        self.hub = Hub(self.discord.world, self.discord.voice_states, self._later)
        self.hub.gateway_url = "wss://gateway/"
        self.ada = self.discord.add_user("Ada")
        self.ben = self.discord.add_user("Ben")
        self.guild = self.discord.add_guild("Team", self.ada, self.ben)
        self.text = self.discord.add_text_channel(self.guild, "general")
        self.talk = self.discord.add_voice_channel(self.guild, "Talk")
        self.side = self.discord.add_voice_channel(self.guild, "Side")
        self.bot = self.discord.add_bot("Recorder", self.guild)

    def wait(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        self.time += seconds
        for timer in [each for each in self.timers if each.at <= self.time and not each.cancelled]:
            timer.cancel()
            timer.call()

    def client(self, user: User | None = None, **given: Any) -> "GatewayClient":
        """A gateway client that has identified; its log begins after the guilds."""
        client = GatewayClient(self.hub)
        client.identify(user or self.bot, **given)
        client.got.clear()
        return client

    def _later(self, seconds: float, call: Callable[[], None]) -> "Timer":
        timer = Timer(self.time + seconds, call)
        self.timers.append(timer)
        return timer


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class GatewayClient:
    """An `Outlet` with the client's side of it."""

    def __init__(self, hub: Hub) -> None:
        self.got: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.was_cut = False
        self.session: Session | None = None
        self._hub = hub

    def send(self, text: str) -> None:
        self.got.append(json.loads(text))

    def close(self, code: int) -> None:
        self.closed = int(code)

    def cut(self) -> None:
        self.was_cut = True

    def say(self, op: int, data: Any = None) -> None:
        self.say_raw(json.dumps({"op": op, "d": data}))

    def say_raw(self, text: str | bytes) -> None:
        self.session = self._hub.receive(self, self.session, text)

    def identify(self, user: User, *, intents: int = ALL_INTENTS, shard: tuple[int, int] = (0, 1)) -> None:
        self.say(Op.IDENTIFY, {"token": user.token, "intents": intents, "shard": shard, "properties": {}})

    def resume(self, user: User, session_id: str, seq: int) -> None:
        self.say(Op.RESUME, {"token": user.token, "session_id": session_id, "seq": seq})

    def go(self, *, for_good: bool = False) -> None:
        """Its connection ends."""
        assert self.session is not None
        self._hub.detach(self.session, self, for_good=for_good)

    def events(self, name: str | None = None) -> list[Any]:
        """The data of the events of a name, or all names."""
        told = [message for message in self.got if message["op"] == Op.DISPATCH]
        return [message["d"] for message in told if message["t"] == name] if name else [each["t"] for each in told]
