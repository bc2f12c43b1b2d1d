"""From a HTTP request to a call and back: who asks, what is in the body, and Discord's way to say no."""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from discord_recorder.errors import ApiRefusalError, SimulatorError
from discord_recorder.simulator.changes import Changes
from discord_recorder.simulator.drafts import MAX_FILE_BYTES, MAX_FILES, Upload
from discord_recorder.simulator.entities import Channel, Guild, Json, Member, User
from discord_recorder.simulator.permissions import Permission, channel_permissions, guild_permissions
from discord_recorder.simulator.refusals import (
    MALFORMED,
    invalid,
    missing_access,
    missing_permissions,
    no_json,
    no_such_route,
    not_in_direct_channels,
    too_large,
    unauthorized,
    unknown,
)
from discord_recorder.simulator.rest.rate_limits import RateLimits
from discord_recorder.simulator.world import World

_log = logging.getLogger(__name__)

PREFIX: Final = "/api/v10"
MAX_BODY_BYTES: Final = 1024 * 1024
"""Of a body without files."""
MAX_ID_DIGITS: Final = 20

_NONE: Final = Permission(0)
_IN_DIRECT_CHANNELS: Final = Permission.SEND_MESSAGES | Permission.ATTACH_FILES | Permission.READ_MESSAGE_HISTORY
_MAJOR: Final = ("channel_id", "guild_id", "webhook_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, taken apart."""

    bot: User | None
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    uploads: Sequence[Upload]

    @property
    def caller(self) -> User:
        """Who asks; raises `ApiRefusalError` when nobody known does."""
        if self.bot is None:
            raise unauthorized()
        return self.bot

    @property
    def fields(self) -> Json:
        """The body, which has to be an object."""
        if not isinstance(self.body, dict):
            raise no_json()
        return self.body

    def text(self, name: str, *, least: int, most: int) -> str:
        """A field of the body that has to be a text of that length; raises `ApiRefusalError`."""
        text = self.fields[name]
        if not isinstance(text, str):
            raise invalid(name, "STRING_TYPE_CONVERT", "Could not interpret value as string.")
        if not least <= len(text) <= most:
            raise invalid(name, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")
        return text

    def id(self, name: str, what: str) -> int:
        """An id in the path; anything else is an unknown `what`."""
        text = self.path[name]
        if text == "@me":
            return self.caller.id
        if not text.isdecimal() or len(text) > MAX_ID_DIGITS:
            raise unknown(what)
        return int(text)


Handler = Callable[[Call], Awaitable[Any]]
"""Gives the JSON of the answer; None is 204, an answer of nothing."""


class Part(Protocol):
    """Some routes of the API."""

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """Method, path and handler of each."""


class Access:
    """What every part asks: the guild or channel of a path, if the caller may see it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def guild(self, call: Call) -> tuple[Guild, Member]:
        """The path's guild and the caller's membership."""
        guild = self._world.guild(call.id("guild_id", "Guild"))
        if call.caller.id not in guild.members:
            raise missing_access()
        return guild, guild.members[call.caller.id]

    def guild_with(self, call: Call, permission: Permission) -> tuple[Guild, Member]:
        """The same, if the caller has a permission in it."""
        guild, member = self.guild(call)
        if permission & ~guild_permissions(guild, member):
            raise missing_permissions()
        return guild, member

    def channel(self, call: Call, permission: Permission = _NONE) -> Channel:
        """The path's channel, if the caller sees it and has the permissions in it."""
        channel = self._world.channel(call.id("channel_id", "Channel"))
        if channel.guild_id is None:
            if call.caller not in channel.recipients:
                raise missing_access()
            if permission & ~_IN_DIRECT_CHANNELS:
                raise not_in_direct_channels()
            return channel
        guild = self._world.guild(channel.guild_id)
        member = guild.members.get(call.caller.id)
        allowed = channel_permissions(guild, member, channel) if member else _NONE
        if not allowed & Permission.VIEW_CHANNEL:
            raise missing_access()
        if permission & ~allowed:
            raise missing_permissions()
        return channel


class Api:
    """Turns handlers into what aiohttp serves.

    Args:
        world: who is who.
        limits: judged before anything else.
        changes: told after every request.
    """

    def __init__(self, world: World, limits: RateLimits, changes: Changes) -> None:
        self._world = world
        self._limits = limits
        self._changes = changes

    def add(self, app: web.Application, parts: Sequence[Part]) -> None:
        """Serve the parts' routes, and Discord's 404 for all others."""
        for part in parts:
            for method, path, handler in part.routes():
                app.router.add_route(method, PREFIX + path, self._served(f"{method} {path}", handler))
        app.router.add_route("*", PREFIX + "/{rest:.*}", self._served("*", _nowhere))

    def _served(self, route: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(request: web.Request) -> web.Response:
            token = request.headers.get("Authorization", "").removeprefix("Bot ")
            major = "+".join(request.match_info.get(name, "") for name in _MAJOR)
            verdict = self._limits.judge(route, f"{token}+{major}", request.path, time.monotonic(), time.time())
            if verdict.refusal is not None:
                status, body = verdict.refusal
                return _json(body, status, verdict.headers)
            try:
                call = await self._call(request, token)
                answer = await handler(call)
            except ApiRefusalError as refusal:
                body = {"message": str(refusal), "code": refusal.code}
                if refusal.errors is not None:
                    body["errors"] = refusal.errors
                return _json(body, refusal.status, verdict.headers)
            except SimulatorError as error:  # a limit of this simulator
                return _json({"message": str(error), "code": 0}, 400, verdict.headers)
            except MALFORMED:
                _log.debug("malformed request", exc_info=True)
                return _json({"message": "Invalid Form Body", "code": 50035}, 400, verdict.headers)
            finally:
                self._changes.announce()
            return (
                web.Response(status=204, headers=verdict.headers)
                if answer is None
                else _json(answer, 200, verdict.headers)
            )

        return serve

    async def _call(self, request: web.Request, token: str) -> Call:
        body, uploads = await _read(request)
        return Call(
            bot=self._world.user_of_token(token),
            path=request.match_info,
            query=request.query,
            body=body,
            uploads=uploads,
        )


def _json(value: Any, status: int, headers: Mapping[str, str]) -> web.Response:
    # discord.py takes a body for JSON only if the header says exactly this, without a charset.
    about = {**headers, "Content-Type": "application/json"}
    return web.Response(body=json.dumps(value).encode(), status=status, headers=about)


async def _nowhere(call: Call) -> None:
    raise no_such_route()


async def _read(request: web.Request) -> tuple[Any, list[Upload]]:
    if not request.can_read_body:
        return None, []
    if request.content_type.startswith("multipart/"):
        try:
            return await _read_parts(await request.multipart())
        except HttpProcessingError:  # a part's header is none
            raise no_json() from None
    data = await _limited(request.content.readany, MAX_BODY_BYTES)
    return (_parse(data) if data else None), []


async def _read_parts(parts: MultipartReader) -> tuple[Any, list[Upload]]:
    body: Any = {}
    uploads: list[Upload] = []
    while (part := await parts.next()) is not None:
        if not isinstance(part, BodyPartReader):
            raise no_json()
        data = await _limited(part.read_chunk, MAX_FILE_BYTES)
        if part.name == "payload_json":
            body = _parse(data)
        elif len(uploads) >= MAX_FILES:
            raise too_large()
        else:
            uploads.append(
                Upload(
                    field_name=part.name or "",
                    filename=part.filename or "unknown",
                    content_type=part.headers.get("Content-Type", "application/octet-stream"),
                    data=data,
                )
            )
    return body, uploads


async def _limited(read: Callable[[], Awaitable[bytes]], limit: int) -> bytes:
    data = bytearray()
    while chunk := await read():
        data += chunk
        if len(data) > limit:
            raise too_large()
    return bytes(data)


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise no_json() from None
