"""The usage document is the contract: every block in it works as it is written there."""

import ast
import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from discord_recorder import DiscordSessionHandler, ServicesManager, generate_16_char_uuid
from tests.audio.signals import Samples, snr_db, to_pcm, tone
from tests.contract.document import BOT, blocks, run
from tests.support.clock import FakeClock
from tests.support.recorder import ALICE, CHANNEL, GUILD, MEETING, OpenServices, chunks_of, sound_of, started, stopped
from tests.support.waiting import until

DOCUMENT_USER = 987654321098765432
DOCUMENT_GUILD = 111222333444555666
RUN_HERE = {
    "1. Starting a Recording Session",
    "2. Pushing Audio Data",
    "3. Checking Session Status",
    "4. Pausing/Resuming",
    "5. Stopping and Promoting",
    "Advanced: Custom Audio Processing",
    "Monitoring",
    "Error Handling",
    "Configuration",
}


def flush_loops() -> list[asyncio.Task[Any]]:
    """The tasks of this event loop that are flush loops and have not been told to end."""
    names = {"DiscordSessionHandler.flush_loop", "DiscordSessionHandler._flush_loop"}
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") in names]


def imported(code: str) -> Iterable[str]:
    for node in ast.walk(compile(code, "block", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_only_the_bot_block_is_a_program_of_its_own() -> None:
    assert set(blocks()) == RUN_HERE | {BOT}
    assert [heading for heading, code in blocks().items() if "discord" in imported(code)] == [BOT]


async def test_the_document_from_top_to_bottom(services: ServicesManager, capsys: pytest.CaptureFixture[str]) -> None:
    signal = tone(120_000)
    names = await run("1. Starting a Recording Session", services=services)
    assert names["success"] is True
    names = await run("2. Pushing Audio Data", channel_id=CHANNEL, recorder_manager=names["recorder_manager"])
    await names["on_voice_data"](DOCUMENT_USER, to_pcm(signal))
    await run("3. Checking Session Status", **names)
    await run("4. Pausing/Resuming", **names)
    await run("Monitoring", services=services, **names)
    stopping = await run("5. Stopping and Promoting", **names)
    assert stopping["success"] is True
    await run("Monitoring", services=services, **names)

    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Recording started!", "Recording: True", "Total chunks: 2"]
    assert lines[3].startswith("Chunk statuses: {'queued': ")
    assert lines[4:7] == [f"Meeting {MEETING}: 2 chunks", "Active sessions: 1", "Total chunks: 3"]
    assert lines[-2:] == ["Active sessions: 0", "Total chunks: 0"]
    (recording,) = await services.sql_recording_service.get_recordings_for_meeting(MEETING)
    assert (recording["user_id"], recording["guild_id"]) == (str(DOCUMENT_USER), str(DOCUMENT_GUILD))
    sound = sound_of(recording, DOCUMENT_USER)
    assert len(sound) == len(signal)
    assert snr_db(signal, sound) > 30


class TestStarting:
    HEADING = "1. Starting a Recording Session"

    async def test_starts_the_session(self, services: ServicesManager, capsys: pytest.CaptureFixture[str]) -> None:
        names = await run(self.HEADING, services=services)
        assert names["success"] is True
        assert capsys.readouterr().out == "Recording started!\n"
        status = await services.discord_recorder_service.get_session_status(CHANNEL)
        assert status is not None
        assert status["meeting_id"] == "abc123xyz7890def"
        assert (status["user_id"], status["guild_id"]) == (str(DOCUMENT_USER), str(DOCUMENT_GUILD))

    async def test_says_nothing_when_the_channel_records_already(
        self, services: ServicesManager, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await started(services, meeting_id=generate_16_char_uuid())
        names = await run(self.HEADING, services=services)
        assert names["success"] is False
        assert capsys.readouterr().out == ""


class TestPushing:
    HEADING = "2. Pushing Audio Data"

    async def test_audio_is_recorded(self, services: ServicesManager) -> None:
        signal = tone(30_000)
        await started(services)
        names = await run(self.HEADING, channel_id=CHANNEL, recorder_manager=services.discord_recorder_service)
        for start in range(0, len(signal), 960):
            await names["on_voice_data"](ALICE, to_pcm(signal[start : start + 960]))
        sound = sound_of(await stopped(services))
        assert len(sound) == len(signal)
        assert snr_db(signal, sound) > 30

    async def test_without_a_session_audio_is_passed_over(self, services: ServicesManager) -> None:
        names = await run(self.HEADING, channel_id=CHANNEL, recorder_manager=services.discord_recorder_service)
        await names["on_voice_data"](ALICE, bytes(3840))
        assert await services.sql_recording_service.list_meetings() == []


class TestStatus:
    HEADING = "3. Checking Session Status"

    @pytest.mark.parametrize("paused", [False, True])
    async def test_prints_what_is(
        self, services: ServicesManager, capsys: pytest.CaptureFixture[str], paused: bool
    ) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(100_000)))
        await recorder.wait_for_pending_transcodes(MEETING)
        if paused:
            await recorder.pause_session(CHANNEL)
            await recorder.wait_for_pending_transcodes(MEETING)
        count = 3 if paused else 2
        names = await run(self.HEADING, recorder_manager=recorder, channel_id=CHANNEL)
        assert capsys.readouterr().out.splitlines() == [
            f"Recording: {not paused}",
            f"Total chunks: {count}",
            f"Chunk statuses: {{'queued': 0, 'in_progress': 0, 'done': {count}, 'failed': 0}}",
            f"Meeting {MEETING}: {count} chunks",
        ]
        assert names["active_sessions"] == [names["status"]]


class TestPausing:
    async def test_ends_in_recording(self, services: ServicesManager) -> None:
        session = await started(services)
        await run("4. Pausing/Resuming", recorder_manager=services.discord_recorder_service, channel_id=CHANNEL)
        assert session.is_recording
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        assert meeting["status"] == "recording"


class TestStopping:
    HEADING = "5. Stopping and Promoting"

    async def test_promotes_and_cleans_up(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(60_000)))
        names = await run(self.HEADING, recorder_manager=services.discord_recorder_service, channel_id=CHANNEL)
        assert names["success"] is True
        assert await chunks_of(services) == []
        assert services.discord_recorder_service.sessions.get(CHANNEL) is None
        (recording,) = await services.sql_recording_service.get_recordings_for_meeting(MEETING)
        assert recording["duration_ms"] == 1250

    async def test_nothing_to_stop(self, services: ServicesManager) -> None:
        names = await run(self.HEADING, recorder_manager=services.discord_recorder_service, channel_id=CHANNEL)
        assert names["success"] is False


class TestCustomProcessing:
    HEADING = "Advanced: Custom Audio Processing"

    async def handler(self) -> type[DiscordSessionHandler]:
        """The document's class with audio processing that one can hear: it turns the sound upside down."""
        names = await run(self.HEADING, DiscordSessionHandler=DiscordSessionHandler)
        documented: type[DiscordSessionHandler] = names["CustomDiscordSessionHandler"]

        async def process_audio(_: DiscordSessionHandler, pcm_data: bytes) -> bytes:
            await asyncio.sleep(0)
            return (-np.frombuffer(pcm_data, "<i2")).tobytes()

        return type("Inverting", (documented,), {"process_audio": process_audio})

    def heard(self, signal: Samples, sound: Samples) -> bool:
        return len(sound) == len(signal) and snr_db(-signal, sound) > 30

    async def test_as_written_it_records_unchanged(self, services: ServicesManager) -> None:
        names = await run(self.HEADING, DiscordSessionHandler=DiscordSessionHandler)
        signal = tone(60_000)
        session = await started(services, session_handler_class=names["CustomDiscordSessionHandler"])
        await session.push_audio_data(to_pcm(signal))
        sound = sound_of(await stopped(services))
        assert len(sound) == len(signal)
        assert snr_db(signal, sound) > 30

    async def test_chosen_for_the_manager(self, services: ServicesManager) -> None:
        services.discord_recorder_service.session_handler_class = await self.handler()
        signal = tone(60_000)
        session = await started(services)
        await session.push_audio_data(to_pcm(signal))
        assert self.heard(signal, sound_of(await stopped(services)))

    async def test_chosen_for_one_session_with_several_speakers(self, services: ServicesManager) -> None:
        signals = {ALICE: tone(60_000, hertz=440), 5: tone(50_000, hertz=660), 6: tone(40_000, hertz=880)}
        session = await started(services, session_handler_class=await self.handler())
        await asyncio.gather(
            *(session.push_audio_data(to_pcm(signal), user_id=user) for user, signal in signals.items())
        )
        recording = await stopped(services)
        sounds = {user: sound_of(recording, user) for user in signals}
        assert {len(sound) for sound in sounds.values()} == {60_000}, "all last as long as the session"
        for user, signal in signals.items():
            assert self.heard(signal, sounds[user][: len(signal)])


class TestMonitoring:
    async def test_prints_every_chunk(self, services: ServicesManager, capsys: pytest.CaptureFixture[str]) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(100_000)))
        await recorder.wait_for_pending_transcodes(MEETING)
        names = await run("Monitoring", recorder_manager=recorder, services=services)
        ids = [chunk["id"] for chunk in names["chunks"]]
        assert capsys.readouterr().out.splitlines() == [
            "Active sessions: 1",
            "Total chunks: 2",
            f"  {ids[0]}: done",
            f"  {ids[1]}: done",
        ]


class TestErrorHandling:
    HEADING = "Error Handling"

    async def test_no_error(self, services: ServicesManager) -> None:
        names = await run(
            self.HEADING,
            recorder_manager=services.discord_recorder_service,
            services=services,
            channel_id=CHANNEL,
            user_id=ALICE,
            guild_id=GUILD,
        )
        assert names["success"] is True
        status = await services.discord_recorder_service.get_session_status(CHANNEL)
        assert status is not None
        assert len(status["meeting_id"]) == 16

    async def test_an_error_is_logged(self, services: ServicesManager, caplog: pytest.LogCaptureFixture) -> None:
        await run(
            self.HEADING,
            recorder_manager=services.discord_recorder_service,
            services=services,
            channel_id="general",
            user_id=ALICE,
            guild_id=GUILD,
        )
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.getMessage().startswith("Failed to start session: 'general' is not a channel id")


class TestConfiguration:
    HEADING = "Configuration"

    async def run_block(self, services: ServicesManager) -> DiscordSessionHandler:
        session = await started(services)
        await run(
            self.HEADING,
            asyncio=asyncio,
            session=session,
            recorder_manager=services.discord_recorder_service,
            meeting_id=MEETING,
        )
        return session

    async def test_one_flush_loop_lives(self, services: ServicesManager) -> None:
        session = await self.run_block(services)
        await until(lambda: len(flush_loops()) == 1)
        assert flush_loops() == [session._flush_task]
        await stopped_without_audio(services)
        assert flush_loops() == []

    async def test_the_new_loop_seals_by_the_clock(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            session = await self.run_block(services)
            await session.push_audio_data(to_pcm(tone(960)))
            await until(lambda: len(flush_loops()) == 1)
            await clock.pass_by(1.5)
            await until(lambda: chunks_of(services))
            assert [chunk["duration_ms"] for chunk in await chunks_of(services)] == [20]


async def stopped_without_audio(services: ServicesManager) -> None:
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    assert await services.sql_recording_service.get_recordings_for_meeting(MEETING) == []
