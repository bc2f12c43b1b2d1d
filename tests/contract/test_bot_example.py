"""The bot of the usage document runs in a process of its own, and records a channel of the simulated Discord."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from discord_recorder import ServicesManager
from discord_recorder.simulator.entities import User
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.opus_source import tone
from discord_recorder.simulator.voice.speakers import Speaker
from tests.audio.signals import dbfs
from tests.contract.document import bot_program
from tests.support.recorder import OpenServices, sound_of
from tests.support.simulator import Scene
from tests.support.waiting import until

TROUBLE = ("Traceback", "Task was destroyed", "never retrieved", "never awaited", "ERROR")


class RunningBot:
    """The program, and what it wrote to stderr when it had ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.stderr = ""

    async def end(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        self.stderr = (await self._process.communicate())[1].decode()
        assert self._process.returncode == 0, self.stderr

    async def kill(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self._process.returncode is None:
            self._process.kill()
            sys.stderr.write((await self._process.communicate())[1].decode())


@asynccontextmanager
async def running_bot(scene: Scene, folder: Path, data_dir: Path) -> AsyncIterator[RunningBot]:
    program = folder / "bot.py"
    program.write_text(bot_program(scene.bot.token), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "SSL_CERT_FILE": str(scene.simulator.ca_file),
        "DISCORD_RECORDER_DISCORD_API_URL": scene.simulator.api_url,
        "DISCORD_RECORDER_DATA_DIR": str(data_dir),
        "DISCORD_RECORDER_DISK_WARN_MIB": "0",
        "DISCORD_RECORDER_DISK_STOP_MIB": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), env=environment, cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    bot = RunningBot(process)
    try:
        await until(lambda: scene.simulator.connected(scene.bot))
        yield bot
    finally:
        await bot.kill()


async def answers(scene: Scene, command: str, count: int = 1) -> list[str]:
    """What the bot writes when Ada gives a command."""
    known = len(scene.simulator.messages(scene.text))
    scene.simulator.post(scene.ada, scene.text, command)
    await scene.simulator.until(lambda: len(scene.simulator.messages(scene.text)) > known + count)
    return [message.content for message in scene.simulator.messages(scene.text)[known + 1 :]]


@asynccontextmanager
async def talking(scene: Scene, person: User) -> AsyncIterator[Speaker]:
    speaker = Speaker(tls=scene.simulator.client_context())
    await speaker.join(scene.simulator.join(person, scene.talk))
    try:
        yield speaker
    finally:
        await speaker.leave()


@pytest.fixture
def scene(simulator: Simulator) -> Scene:
    return Scene(simulator)


async def test_the_bot_of_the_document(
    scene: Scene, tmp_path: Path, data_dir: Path, open_services: OpenServices
) -> None:
    async with running_bot(scene, tmp_path, data_dir) as bot:
        assert await answers(scene, "!start_recording") == ["You must be in a voice channel!"]
        async with talking(scene, scene.ada) as speaker:
            assert await answers(scene, "!stop_recording", 2) == [
                "⏳ Stopping recording and processing chunks...",
                "❌ No active recording in this channel",
            ]
            assert await answers(scene, "!recording_status") == ["No active recording in this channel"]
            assert await answers(scene, "!start_recording") == ["✅ Started recording in Talk"]
            assert scene.guild.voice_states[scene.bot.id].channel_id == scene.talk.id
            assert await answers(scene, "!start_recording") == ["❌ Failed to start recording"]
            await speaker.ready()
            await speaker.speak(tone(440, 1.0))
            [status] = await answers(scene, "!recording_status")
            assert "Recording: ✅ Active" in status
            assert await answers(scene, "!stop_recording", 2) == [
                "⏳ Stopping recording and processing chunks...",
                "✅ Recording stopped and saved!",
            ]
            assert scene.bot.id not in scene.guild.voice_states
        await bot.end()
    assert not [word for word in TROUBLE if word in bot.stderr], bot.stderr
    async with open_services() as services:
        await _check(services, scene)


async def test_the_bot_is_closed_while_it_records(
    scene: Scene, tmp_path: Path, data_dir: Path, open_services: OpenServices
) -> None:
    """Nobody stops the session: the next start finishes the meeting, if it was not finished yet."""
    async with running_bot(scene, tmp_path, data_dir) as bot, talking(scene, scene.ada) as speaker:
        assert await answers(scene, "!start_recording") == ["✅ Started recording in Talk"]
        await speaker.ready()
        await speaker.speak(tone(440, 1.0))
        await bot.end()
        assert scene.bot.id not in scene.guild.voice_states
    assert not [word for word in TROUBLE if word in bot.stderr], bot.stderr
    async with open_services() as services:
        await until(services.sql_recording_service.list_recordings)
        await _check(services, scene)


async def _check(services: ServicesManager, scene: Scene) -> None:
    [recording] = await services.sql_recording_service.list_recordings()
    assert (recording["user_id"], recording["guild_id"]) == (str(scene.ada.id), str(scene.guild.id))
    assert (recording["status"], recording["title"]) == ("complete", "Talk")
    sound = sound_of(recording, scene.ada.id)
    assert -16 < dbfs(sound) < -8
