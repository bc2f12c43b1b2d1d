"""Routes about the bot itself, other users, and the way to the gateway."""

from collections.abc import Sequence
from typing import Final

from discord_recorder.simulator import payloads
from discord_recorder.simulator.entities import Json, User
from discord_recorder.simulator.gateway.hub import Hub
from discord_recorder.simulator.refusals import direct_messages_closed
from discord_recorder.simulator.rest.api import Call, Handler
from discord_recorder.simulator.world import World

SESSIONS_A_DAY: Final = 1_000
MAX_CONCURRENCY: Final = 16
MIN_NAME: Final = 2
MAX_NAME: Final = 32
DAY_MS: Final = 24 * 60 * 60 * 1000


class Accounts:
    """Users, applications, gateway."""

    def __init__(self, world: World, hub: Hub) -> None:
        self.shards: dict[int, int] = {}
        """How many shards a bot is recommended; one, if it is not named here."""
        self._world = world
        self._hub = hub

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """All of them."""
        return [
            ("GET", "/gateway", self._gateway),
            ("GET", "/gateway/bot", self._gateway_of_bot),
            ("GET", "/users/@me", self._me),
            ("PATCH", "/users/@me", self._rename),
            ("GET", "/users/@me/guilds", self._guilds),
            ("POST", "/users/@me/channels", self._direct_channel),
            ("GET", "/users/{user_id}", self._user),
            ("GET", "/applications/@me", self._application),
            ("GET", "/oauth2/applications/@me", self._application),
            ("GET", "/applications/{application_id}/emojis", self._emojis),
            ("GET", "/voice/regions", self._regions),
        ]

    async def _gateway(self, call: Call) -> Json:
        return {"url": self._hub.gateway_url}

    async def _gateway_of_bot(self, call: Call) -> Json:
        used = self._hub.identified.get(call.caller.id, 0)
        return {
            "url": self._hub.gateway_url,
            "shards": self.shards.get(call.caller.id, 1),
            "session_start_limit": {
                "total": SESSIONS_A_DAY,
                "remaining": max(0, SESSIONS_A_DAY - used),
                "reset_after": DAY_MS,
                "max_concurrency": MAX_CONCURRENCY,
            },
        }

    async def _me(self, call: Call) -> Json:
        return payloads.own_user_payload(call.caller)

    async def _rename(self, call: Call) -> Json:
        user = call.caller
        if call.fields.get("username") is not None:
            user = self._world.rename(user.id, call.text("username", least=MIN_NAME, most=MAX_NAME))
        return payloads.own_user_payload(user)

    async def _guilds(self, call: Call) -> list[Json]:
        return [
            {
                "id": str(guild.id),
                "name": guild.name,
                "icon": None,
                "banner": None,
                "owner": guild.owner_id == call.caller.id,
                "permissions": "0",
                "features": [],
            }
            for guild in self._world.guilds.values()
            if call.caller.id in guild.members
        ]

    async def _direct_channel(self, call: Call) -> Json:
        person = self._world.user(int(call.fields["recipient_id"]))
        if person.is_bot:
            raise direct_messages_closed()
        return payloads.channel_payload(self._world.direct_channel(call.caller, person))

    async def _user(self, call: Call) -> Json:
        _ = call.caller
        return payloads.user_payload(self._world.user(call.id("user_id", "User")))

    async def _application(self, call: Call) -> Json:
        return payloads.application_payload(call.caller, self._owner())

    async def _emojis(self, call: Call) -> Json:
        _ = call.caller
        return {"items": []}

    async def _regions(self, call: Call) -> list[Json]:
        return [{"id": "local", "name": "Local", "optimal": True, "deprecated": False, "custom": False}]

    def _owner(self) -> User:
        """Whoever was there first owns all applications."""
        return next(iter(self._world.users.values()))
