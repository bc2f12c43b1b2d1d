"""The product as a program uses it: services in a folder of their own, sessions, pushes."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.options import Options
from discord_recorder import DiscordSessionHandler, ServicesManager, Settings, generate_16_char_uuid
from discord_recorder.config import CONFIG_FILE_VARIABLE, ENV_PREFIX


def forget_settings(folder: Path) -> None:
    """Measure the defaults, whatever the caller's environment and folder would set."""
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        del os.environ[name]
    empty = folder / "empty.toml"
    empty.touch()
    os.environ[CONFIG_FILE_VARIABLE] = str(empty)


@asynccontextmanager
async def running(folder: Path, options: Options, **settings: Any) -> AsyncIterator[ServicesManager]:
    """A started recorder with default settings, its data in `folder`."""
    async with ServicesManager(Settings(data_dir=folder, ffmpeg_path=options.ffmpeg, **settings)) as services:
        yield services


async def start(services: ServicesManager, channel_id: int, *, user_id: int | None = None) -> DiscordSessionHandler:
    """A session of a new meeting."""
    recorder = services.discord_recorder_service
    if not await recorder.start_session(channel_id, generate_16_char_uuid(), user_id):
        raise RuntimeError(f"channel {channel_id} has a session already")
    return recorder.sessions[channel_id]


async def transcoded(services: ServicesManager, session: DiscordSessionHandler, max_wait_seconds: float = 600) -> None:
    """Wait until all sealed chunks of a session are transcoded."""
    recorder = services.discord_recorder_service
    if not await recorder.wait_for_pending_transcodes(session.meeting_id, max_wait_seconds):
        raise RuntimeError(f"transcodes were pending for more than {max_wait_seconds:g} s")


async def stop(services: ServicesManager, session: DiscordSessionHandler, *, expected_ms: int) -> None:
    """Stop a session; a recording that is not there, not complete or not of that length is no measurement.

    Without any audio there is to be none.
    """
    await services.discord_recorder_service.stop_session(session.channel_id)
    recordings = await services.sql_recording_service.get_recordings_for_meeting(session.meeting_id)
    found = [(recording["status"], recording["duration_ms"]) for recording in recordings]
    if found != ([("complete", expected_ms)] if expected_ms else []):
        raise RuntimeError(f"the recording should be complete with {expected_ms} ms, there is {found}")
