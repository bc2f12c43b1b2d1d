"""A recorder in a process of its own, that its parent kills.

It does the steps of its script and tells through a pipe, one JSON object a line, what it has done: after each push how
much of a speaker's audio was accepted, and each step's end. A `wait` step goes on when a byte comes in.
"""

import asyncio
import ctypes
import json
import logging
import os
import random
import resource
import shutil
import ssl
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from discord_recorder import DiscordRecorderError, ServicesManager
from discord_recorder.recording.session import handler as session
from discord_recorder.storage.records import Track
from tests.faults import deaths, live_voices, voices
from tests.support.recorder import quick_settings

_CLONE_NEWNS: Final = 0x00020000
_MS_REC: Final = 1 << 14
_MS_PRIVATE: Final = 1 << 18


class Child:
    """Does the steps of a script."""

    def __init__(self, script: Mapping[str, Any], parent: Connection) -> None:
        self._script = script
        self._parent = parent
        self._settings = quick_settings(Path(script["data_dir"]), **script["settings"])
        self._services = ServicesManager(self._settings)
        self._service = self._services.discord_recorder_service
        self._said: dict[tuple[int, int], int] = {}
        self._places: dict[int, int] = {}
        self._random = random.Random(script["seed"])
        self._death = deaths.Death([], after=False)
        self._death.install()

    async def run(self) -> None:
        """Do all steps."""
        for step in self._script["steps"]:
            options = dict(step)
            name = options.pop("do")
            try:
                result = await getattr(self, f"do_{name}")(**options)
            except DiscordRecorderError as error:
                self._tell(did=name, error=type(error).__name__, message=str(error))
            else:
                self._tell(did=name, result=result)

    async def do_open(self) -> None:
        """Start the services."""
        await self._services.start()

    async def do_start(
        self, *, channel: int = 1, meeting: str, names: Mapping[str, str] | None = None, handler: str | None = None
    ) -> bool:
        """Start a session; `handler` names a class of `live_voices`."""
        chosen = None if handler is None else live_voices.HANDLERS[handler]
        live_voices.be_patient()
        started = await self._service.start_session(channel, meeting, user_id=voices.ADA, session_handler_class=chosen)
        if started:
            for user, name in (names or {}).items():
                await self._service.sessions[channel].set_speaker_name(user, name)
        return started

    async def do_speak(
        self, *, seconds: float, channel: int = 1, users: list[int], pace: float = 1.0, recorded: bool = True
    ) -> None:
        """Push every speaker's voice on from where it was, in pieces of 20 to 100 ms, at `pace` times real time."""
        clock, length = asyncio.get_running_loop().time, voices.samples(seconds)
        start, spoken = clock(), 0
        while spoken < length:
            piece = min(length - spoken, voices.samples(self._random.randint(20, 100) / 1000))
            for user in users:
                await self._push(channel, user, piece, recorded=recorded)
            spoken += piece
            if pace:
                await asyncio.sleep(max(0.0, start + spoken / voices.RATE / pace - clock()))

    async def _push(self, channel: int, user: int, count: int, *, recorded: bool) -> None:
        before = self._said.get((channel, user), 0)
        session, place = self._service.sessions[channel], self._places.pop(user, None)
        await session.push_audio_data(voices.said(user, before, count), user_id=user, at_ms=place)
        if recorded:
            self._said[channel, user] = before + count
            self._tell(channel=channel, user=user, samples=before + count)

    async def do_hear(self, *, seconds: float, users: list[int]) -> None:
        """Hear everybody at once, never faster than in real time, as from a voice channel."""
        live = self._service.sessions[1].go_live()
        clock = asyncio.get_running_loop().time
        began = clock()
        for number in range(round(seconds / 0.02)):
            now, arrived = clock(), began + number * 0.02  # a standstill of ours is none of the network
            live.on_frames([live_voices.frame(user, number, arrived) for user in users])
            for user in users:
                if number == 0:
                    self._tell(heard=user, at_sample=live.tracks[Track(str(user))] - live_voices.FRAME)
                self._tell(channel=1, user=user, samples=(number + 1) * live_voices.FRAME)
            await asyncio.sleep(max(0.0, now + 0.02 - clock()))

    async def do_attach(self, *, ca_file: str, token: str) -> None:
        """Log a bot in, where the setting `discord_api_url` says, and attach it."""
        import aiohttp  # noqa: PLC0415 - nobody else here needs to wait for it
        import discord  # noqa: PLC0415

        from discord_recorder.voice.ports import ConnectionOptions  # noqa: PLC0415

        trust = ssl.create_default_context(cafile=ca_file)
        bot = discord.Client(intents=discord.Intents.default(), connector=aiohttp.TCPConnector(ssl=trust))
        self._services.attach(bot, options=ConnectionOptions(ssl_context=trust))
        await bot.login(token)
        self._connected = asyncio.create_task(bot.connect())
        await bot.wait_until_ready()

    async def do_listen(self, *, channel: int, users: list[int]) -> None:
        """Tell, until the end, where the audio of speakers in a voice channel begins, and how much has come."""
        live = self._service.sessions[channel].live
        assert live is not None
        while True:
            for user in users:
                if samples := live.ledger.user_counts(user).stored * live_voices.FRAME:
                    # A voice may be moved back as a whole while it is not known how late its first frame was.
                    self._tell(heard=user, at_sample=live.tracks[Track(str(user))] - samples)
                    self._tell(channel=channel, user=user, samples=samples)
            await asyncio.sleep(0.01)

    async def do_skip(self, *, user: int, to_ms: int) -> None:
        """Let a speaker go on at that session time."""
        self._places[user] = to_ms

    async def do_pause(self, *, channel: int = 1) -> bool:
        """Pause."""
        return await self._service.pause_session(channel)

    async def do_resume(self, *, channel: int = 1) -> bool:
        """Resume."""
        return await self._service.resume_session(channel)

    async def do_note(self, *, text: str, channel: int = 1) -> bool:
        """Note something."""
        return await self._service.add_note(channel, text)

    async def do_stop(self, *, channel: int = 1) -> bool:
        """Stop."""
        return await self._service.stop_session(channel)

    async def do_retry(self, *, meeting: str) -> int:
        """Retry a meeting's failed chunks."""
        return await self._service.retry_meeting(meeting)

    async def do_delete(self, *, meeting: str) -> None:
        """Delete a meeting."""
        await self._service.delete_meeting(meeting)

    async def do_close(self) -> None:
        """Close the services."""
        await self._services.aclose()

    async def do_until(self, *, meeting: str, status: list[str]) -> str:
        """Wait until a meeting has one of those statuses."""
        while True:
            found = await self._services.sql_recording_service.get_meeting(meeting)
            if found is not None and found["status"] in status:
                return found["status"]
            await asyncio.sleep(0.02)

    async def do_status(self, *, channel: int = 1) -> dict[str, Any] | None:
        """The session's state."""
        status = await self._service.get_session_status(channel)
        return None if status is None else json.loads(json.dumps(status, default=str))

    async def do_hear_codes(self, *, seconds: float, users: list[int]) -> None:
        """Hear everybody's tone code from a voice channel, in real time but for standstills of this process."""
        voices = {user: live_voices.coded(user, seconds) for user in users}
        live, clock = self._service.sessions[1].go_live(), asyncio.get_running_loop().time
        began = clock()
        for number in range(round(seconds / 0.02)):
            arrived = began + number * 0.02
            live.on_frames([voice[number]._replace(arrived=arrived) for voice in voices.values()])
            for user in users:
                self._tell(channel=1, user=user, samples=(number + 1) * live_voices.FRAME)
            if number == 0:
                self._tell(codes_from_seconds=began - live.started)
            await asyncio.sleep(max(0.0, arrived + 0.02 - clock()))

    async def do_wait(self) -> None:
        """Wait for a byte from the parent."""
        self._tell(waiting=True)
        await asyncio.to_thread(os.read, self._parent.fileno(), 1)

    async def do_limit_file_size(self, *, size: int) -> None:
        """Let no file of this process grow beyond that."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    async def do_fill_chunks(self) -> None:
        """End chunks when they are full from now on, and not by the clock."""
        setattr(session, "SEAL_GRACE", 1000.0)  # noqa: B010 - for mypy

    async def do_fill_disk(self, *, but: int) -> None:
        """Leave that many bytes free on the disk."""
        folder = self._settings.data_dir
        with (folder / "ballast").open("wb") as ballast:
            ballast.write(bytes(shutil.disk_usage(folder).free - but))

    async def do_make_room(self) -> None:
        """Free what `fill_disk` took."""
        (self._settings.data_dir / "ballast").unlink()

    async def do_copy(self, *, to: str) -> None:
        """Copy the data directory."""
        shutil.copytree(self._settings.data_dir, to)

    async def do_prepare(self, *, death: list[deaths.Step], after: bool) -> None:
        """Die when these steps are done, from now on."""
        self._death.restart(death, after=after)

    async def do_seen(self) -> list[str]:
        """The steps since `prepare`."""
        return list(self._death.seen)

    def _tell(self, **event: Any) -> None:
        os.write(self._parent.fileno(), json.dumps(event).encode() + b"\n")


def main(script: Mapping[str, Any], parent: Connection, errors: str) -> None:
    """What the process does; `parent` is a pipe in both directions, `errors` the file for its stderr."""
    with Path(errors).open("wb") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    if script["disk_bytes"] is not None:
        own_disk(Path(script["data_dir"]), script["disk_bytes"])
    if script["uid"] is not None:
        os.setuid(script["uid"])
    asyncio.run(Child(script, parent).run())


def own_disk(folder: Path, size: int) -> None:
    """Give this process a small disk of its own at that folder, which nobody else sees; it goes with the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir(parents=True)
    for result in (
        libc.unshare(_CLONE_NEWNS),
        libc.mount(None, b"/", None, _MS_PRIVATE | _MS_REC, None),
        libc.mount(b"none", bytes(folder), b"tmpfs", 0, f"size={size}".encode()),
    ):
        if result:
            raise OSError(ctypes.get_errno(), "no disk of its own")
