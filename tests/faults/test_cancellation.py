"""Ctrl-C and cancellation in the middle of anything: what was accepted is in the recording, and nothing hangs on."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from discord_recorder import DiscordSessionHandler, ServicesManager
from discord_recorder.storage import chunks
from discord_recorder.storage.database import Database
from tests.faults.deadlines import soon
from tests.faults.endings import assert_holds_voices, assert_tidy, ended, the_recording
from tests.faults.voices import ADA, BEN, said, samples
from tests.support.recorder import CHANNEL, OpenServices, quick_settings, started
from tests.support.rows import MEETING_ID, STARTED_AT, a_chunk

ROOT = Path(__file__).parents[2]

TURNS = (*range(1, 13), 15, 20, 25, 30, 40, 50, 75, 100, 150, 200)
"""After how many turns of the event loop something is cancelled."""

QUICK: dict[str, Any] = {"flush_interval_seconds": 0.2}


async def cancelled(work: Coroutine[Any, Any, Any], turns: int) -> bool:
    """Cancel it after so many turns of the event loop; False when it had ended before."""
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


def length(session: DiscordSessionHandler) -> int:
    """How many samples of the session were accepted, as it says itself."""
    return session.duration_ms * 48


async def test_pushes(open_services: OpenServices, data_dir: Path) -> None:
    """A cancelled push was accepted up to where the session says; the caller goes on from there."""
    async with open_services(**QUICK) as services:
        session, hits = await started(services), 0
        for piece_seconds in (0.02, 0.7):
            for turns in TURNS:
                position, count = length(session), samples(piece_seconds)
                hits += await cancelled(session.push_audio_data(said(ADA, position, count), user_id=ADA), turns)
                assert length(session) in (position, position + count) or piece_seconds > 0.2
        assert hits >= 5
        total = length(session)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert_holds_voices(await the_recording(services), {ADA: total})
        await assert_tidy(data_dir)


async def test_many_pushes_at_once(open_services: OpenServices) -> None:
    """Speakers are pushed in tasks of their own, and some of them are cancelled."""
    async with open_services(**QUICK) as services:
        session = await started(services)
        accepted = {ADA: 0, BEN: 0}

        async def speak(user: int) -> None:
            while True:
                await session.push_audio_data(said(user, accepted[user], 960), user_id=user)
                accepted[user] += 960

        for turns in (300, 500, 700):
            tasks = [asyncio.create_task(speak(user)) for user in accepted]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for track in (await session.status())["tracks"]:  # a push may have been accepted just as it was cancelled
                accepted[int(str(track["user_id"]))] = track["duration_ms"] * 48
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert_holds_voices(await the_recording(services), accepted)


async def test_stop(open_services: OpenServices, data_dir: Path) -> None:
    """The stop goes on without the caller."""
    async with open_services(**QUICK) as services:
        service, hits = services.discord_recorder_service, 0
        for number, turns in enumerate(TURNS[::3]):
            meeting = f"meeting{number:09}"
            session = await started(services, meeting_id=meeting)
            await session.push_audio_data(said(ADA, 0, samples(0.5)), user_id=ADA)
            hits += await cancelled(service.stop_session(CHANNEL), turns)
            await service.stop_session(CHANNEL)  # which joins the other one, if it still goes on
            assert CHANNEL not in service.sessions
            assert_holds_voices(await the_recording(services, meeting), {ADA: samples(0.5)})
        assert hits >= 3
        await assert_tidy(data_dir)


async def test_pause_and_resume(open_services: OpenServices, data_dir: Path) -> None:
    async with open_services(**QUICK) as services:
        service, session, hits, total = services.discord_recorder_service, await started(services), 0, 0
        for turns in TURNS:
            for act in (service.pause_session, service.resume_session):
                hits += await cancelled(act(CHANNEL), turns)
                recording = session.is_recording
                await session.push_audio_data(said(ADA, total, 4800), user_id=ADA)
                total += 4800 if recording else 0
        assert hits >= 5
        assert await service.resume_session(CHANNEL)
        assert await service.stop_session(CHANNEL)
        assert_holds_voices(await the_recording(services), {ADA: total})
        await assert_tidy(data_dir)


async def test_start(open_services: OpenServices) -> None:
    """As if it had never been called: the same meeting can be started again in the same channel."""
    async with open_services(**QUICK) as services:
        service, hits = services.discord_recorder_service, 0
        for number, turns in enumerate(TURNS[::2]):
            meeting = f"meeting{number:09}"
            if await cancelled(service.start_session(CHANNEL, meeting, user_id=ADA), turns):
                hits += 1
                assert await service.start_session(CHANNEL, meeting, user_id=ADA)
            await service.sessions[CHANNEL].push_audio_data(said(ADA, 0, 4800))
            assert await service.stop_session(CHANNEL)
            assert_holds_voices(await the_recording(services, meeting), {ADA: 4800})
        assert hits >= 3


async def test_a_transaction(data_dir: Path) -> None:
    """However it was cancelled, it is not begun or complete, and the database is not locked by it for anybody."""
    database = Database(data_dir / "recorder.sqlite3")
    other_process = Database(database.file)
    await database.open()
    await database.write(chunks.add, [a_chunk(number) for number in range(100)], STARTED_AT)

    def claim_all(tx: Connection, turns: int) -> None:
        for _ in range(2):  # the leases of the first half have not ended when the second one is claimed
            assert len(chunks.claim(tx, owner=f"{turns}", now=turns, lease_until=turns + 0.5, limit=50)) == 50
        chunks.of_meeting(tx, MEETING_ID)

    def owners(tx: Connection) -> set[str | None]:
        return {chunk.owner for chunk in chunks.of_meeting(tx, MEETING_ID)}

    hits = 0
    for turns in range(1, 60):
        was_cancelled = await cancelled(database.write(claim_all, turns), turns)
        hits += was_cancelled
        (owner,) = await other_process.write(owners)
        assert was_cancelled or owner == f"{turns}"
        assert await database.write(owners) in ({owner}, {f"{turns}"}), "it may have begun just now"
    assert hits >= 5
    await database.close()
    await other_process.close()


@pytest.mark.parametrize("turns", [1, 3, 5, 8, 12, 20, 50, 100])
async def test_close(data_dir: Path, turns: int) -> None:
    """Nothing runs on, and the next start finishes what was not finished."""
    services = ServicesManager(quick_settings(data_dir, **QUICK))
    before = asyncio.all_tasks()
    session = await started(services)
    for user in (ADA, BEN):
        await session.push_audio_data(said(user, 0, samples(1.1)), user_id=user)
    await cancelled(services.aclose(), turns)
    await soon(lambda: not asyncio.all_tasks() - before)
    async with ServicesManager(quick_settings(data_dir)) as again:
        assert_holds_voices(await the_recording(again), {ADA: samples(1.1), BEN: samples(1.1)})
        await assert_tidy(data_dir)


@pytest.mark.parametrize("turns", [1, 5, 10, 20, 50, 100, 200])
async def test_open(data_dir: Path, turns: int) -> None:
    """The same manager can be started afterwards, and it recovers what it has to."""
    async with ServicesManager(quick_settings(data_dir, shutdown_grace_seconds=0.0)) as services:
        session = await started(services)
        await session.push_audio_data(said(ADA, 0, samples(1.1)), user_id=ADA)
    services = ServicesManager(quick_settings(data_dir, **QUICK))
    await cancelled(services.start(), turns)
    async with services:
        assert_holds_voices(await the_recording(services), {ADA: samples(1.1)})


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.parametrize("times", [1, 2])
async def test_control_c(data_dir: Path, times: int) -> None:
    """The end of the context finishes the recording; a second Ctrl-C leaves it to the next start."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.interrupted",
        str(data_dir),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert program.stdout is not None
    pushed = 0
    while pushed < samples(1.2):
        pushed = int(await program.stdout.readline())
    program.send_signal(signal.SIGINT)
    if times > 1:
        await asyncio.sleep(0.05)  # the second one comes while it closes
        if program.returncode is None:
            program.send_signal(signal.SIGINT)
    told, errors = await program.communicate()
    pushed = int(told.split()[-1]) if told else pushed
    assert program.returncode in (-signal.SIGINT, 130), errors.decode()
    async with ServicesManager(quick_settings(data_dir)) as services:
        meeting = await ended(services)
        assert meeting["status"] == "completed"
        if times == 1:
            assert (meeting["recovered"], meeting["end_reason"]) == (False, "the recorder was shut down")
            assert errors.decode().rstrip().endswith("KeyboardInterrupt")
            assert "Error" not in errors.decode().replace("CancelledError", "")
        assert_holds_voices(await the_recording(services), {ADA: pushed})
        await assert_tidy(data_dir)
