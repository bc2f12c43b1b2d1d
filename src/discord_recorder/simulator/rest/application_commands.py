"""Routes by which bots register their commands, everywhere or in one guild."""

from collections.abc import Sequence

from discord_recorder.simulator.commands import Commands
from discord_recorder.simulator.entities import Json
from discord_recorder.simulator.refusals import missing_access, no_json
from discord_recorder.simulator.rest.api import Access, Call, Handler


class ApplicationCommands:
    """Commands of the calling bot's own application."""

    def __init__(self, commands: Commands, access: Access) -> None:
        self._commands = commands
        self._access = access

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """All of them."""
        routes: list[tuple[str, str, Handler]] = []
        for scope in ("/applications/{application_id}", "/applications/{application_id}/guilds/{guild_id}"):
            routes += [
                ("GET", f"{scope}/commands", self._all),
                ("PUT", f"{scope}/commands", self._overwrite),
                ("POST", f"{scope}/commands", self._upsert),
                ("GET", f"{scope}/commands/{{command_id}}", self._get),
                ("PATCH", f"{scope}/commands/{{command_id}}", self._edit),
                ("DELETE", f"{scope}/commands/{{command_id}}", self._delete),
            ]
        return routes

    async def _all(self, call: Call) -> list[Json]:
        return self._commands.all(*self._scope(call))

    async def _overwrite(self, call: Call) -> list[Json]:
        if not isinstance(call.body, list):
            raise no_json()
        return self._commands.overwrite(*self._scope(call), call.body)

    async def _upsert(self, call: Call) -> Json:
        return self._commands.upsert(*self._scope(call), call.fields)

    async def _get(self, call: Call) -> Json:
        return self._commands.get(*self._scope(call), call.id("command_id", "application command"))

    async def _edit(self, call: Call) -> Json:
        command_id = call.id("command_id", "application command")
        return self._commands.edit(*self._scope(call), command_id, call.fields)

    async def _delete(self, call: Call) -> None:
        self._commands.delete(*self._scope(call), call.id("command_id", "application command"))

    def _scope(self, call: Call) -> tuple[int, int | None]:
        application_id = call.id("application_id", "Application")
        if application_id != call.caller.id:
            raise missing_access()
        if "guild_id" not in call.path:
            return application_id, None
        guild, _ = self._access.guild(call)
        return application_id, guild.id
