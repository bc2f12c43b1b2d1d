"""A voice server on loopback, and people for it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from discord_recorder.simulator.tls import Certificates
from discord_recorder.simulator.voice.options import VoiceOptions
from discord_recorder.simulator.voice.server import VoiceServer
from discord_recorder.simulator.voice.speakers import Speaker, SpeakerOptions
from discord_recorder.simulator.voice_port import VoiceAccess, VoiceTicket
from tests.support.waiting import until

GUILD, CHANNEL = 5, 77


class Studio:
    """Voice servers and the world that admits people to them; `close` lets everybody leave."""

    def __init__(self) -> None:
        self.certificates = Certificates()
        self.left: list[tuple[int, int]] = []
        self.people: dict[int, Speaker] = {}
        self._servers: list[VoiceServer] = []

    @property
    def server(self) -> VoiceServer:
        return self._servers[0]

    async def start(self, **options: Any) -> VoiceServer:
        server = VoiceServer(
            tls=self.certificates.server_context(),
            options=VoiceOptions(**options),
            on_left=lambda user, guild: self.left.append((user, guild)),
        )
        await server.start()
        self._servers.append(server)
        return server

    async def close(self) -> None:
        for person in self.people.values():
            await person.leave()
        for server in self._servers:
            await server.close()

    def access(self, user_id: int, server: VoiceServer | None = None) -> VoiceAccess:
        server = server if server is not None else self.server
        ticket = VoiceTicket(
            user_id=user_id,
            guild_id=GUILD,
            channel_id=CHANNEL,
            session_id=secrets.token_hex(4),
            token=secrets.token_hex(4),
        )
        server.admit(ticket)
        return VoiceAccess(endpoint=server.endpoint, ticket=ticket)

    async def join(self, user_id: int, **options: Any) -> Speaker:
        person = self.people[user_id] = Speaker(
            tls=self.certificates.client_context(), options=SpeakerOptions(**options)
        )
        await person.join(self.access(user_id))
        return person

    async def together(self, *user_ids: int, **options: Any) -> list[Speaker]:
        """Everybody hears, and the group is ready."""
        people = [await self.join(user, hear=True, **options) for user in user_ids]
        await self.settled(*user_ids)
        return people

    async def settled(self, *user_ids: int) -> None:
        dave = self.server.dave(CHANNEL)
        assert dave is not None
        await until(lambda: set(dave.members) == set(user_ids) and dave.settled)
        clients = [self.people[user].connection.dave for user in user_ids]
        await until(lambda: {client.epoch for client in clients} == {dave.epoch})


@pytest.fixture
async def studio() -> AsyncIterator[Studio]:
    """A studio; a test that wants other options starts the server itself."""
    studio = Studio()
    try:
        async with asyncio.timeout(60):
            yield studio
    finally:
        await studio.close()


@asynccontextmanager
async def speaking(person: Speaker, frames: list[bytes]) -> AsyncIterator[asyncio.Task[None]]:
    """Somebody speaks while the block runs, and is waited for at its end."""
    task = asyncio.create_task(person.speak(frames))
    try:
        yield task
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
