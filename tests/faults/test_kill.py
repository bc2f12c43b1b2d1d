"""Kill -9: whatever was accepted is in the recording, to the sample, and nobody had to do anything for it."""

import asyncio
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from discord_recorder import ServicesManager
from discord_recorder.storage.records import MarkKind
from tests.faults.children import Recorder, die_at, recorder, speak
from tests.faults.deadlines import soon
from tests.faults.endings import assert_holds_voices, assert_tidy, ended, the_recording
from tests.faults.voices import ADA, BEN, SPEAKERS, differences, joined, played, samples, silence, voice
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.marks import stored
from tests.support.recorder import MEETING, quick_settings, track_of

NAMES = {str(ADA): "Ada Lovelace"}
OPEN: dict[str, Any] = {"do": "open"}
START: dict[str, Any] = {"do": "start", "meeting": MEETING, "names": NAMES}
RECOVER = ({"do": "until", "meeting": MEETING, "status": ["completed", "failed"]}, {"do": "close"})
BORDERS: dict[str, Any] = {"flush_interval_seconds": 0.5}
"""A chunk border every half second, for each speaker."""


async def assert_finished_by_itself(data_dir: Path, killed: Recorder, *, promoted_before: bool = False) -> None:
    """Start a recorder on what the killed one left; it has to end as if nothing had happened."""
    async with ServicesManager(quick_settings(data_dir, **BORDERS)) as services:
        if not killed.pushed:
            meeting = await services.sql_recording_service.get_meeting(MEETING)
            if meeting is not None:
                assert (await ended(services))["status"] == "completed"
        else:
            recording = await the_recording(services)
            assert recording["status"] == "complete"
            assert recording["recovered"] or promoted_before
            assert_holds_voices(recording, killed.pushed)
            assert "Ada Lovelace" in [track["name"] for track in recording["tracks"]]
            if not recording["recovered"]:  # killed after promotion, while it tidied up
                await services.discord_recorder_service.cleanup_old_temp_recordings_once()
        await assert_tidy(data_dir)
        assert await services.discord_recorder_service.list_active_sessions() == []


async def killed_at_random(data_dir: Path, seed: int) -> None:
    chance = random.Random(seed)
    script = (OPEN, START, speak(30, SPEAKERS))
    async with recorder(data_dir, *script, seed=seed, **BORDERS) as child:
        await child.has_pushed(samples(chance.uniform(0.02, 2.5)))
        await asyncio.sleep(chance.uniform(0, 0.05))  # the instant of death, not a wait for a state
        await child.killed()
    await assert_finished_by_itself(data_dir, child)


@pytest.mark.parametrize("seeds", [(1, 2, 3), (4, 5, 6), (7, 8, 9)], ids=str)
async def test_at_random_instants_while_three_speakers_are_recorded(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    await asyncio.gather(*(killed_at_random(tmp_path / str(seed) / "data", seed) for seed in seeds))


async def killed_at_step(data_dir: Path, phase: str, number: int) -> bool:
    """Kill it at the `number`-th change of the disk from the beginning of a phase on; False when there are fewer."""
    script: list[dict[str, Any]] = [START, speak(1.3, (ADA, BEN), pace=0), {"do": "stop"}, {"do": "close"}]
    if phase == "close":  # with the session still running
        del script[2]
    begin = [step["do"] for step in script].index(phase)
    steps = (OPEN, *script[:begin], die_at("", number=number), *script[begin:])
    async with recorder(data_dir, *steps, **BORDERS) as child:
        code = await child.ended()
    if code == 0:
        return False
    assert code == -signal.SIGKILL, child.errors
    await assert_finished_by_itself(data_dir, child, promoted_before=True)
    return True


@pytest.mark.parametrize("phase", ["start", "stop", "close"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_at_changes_of_the_disk(tmp_path: Path, phase: str, seed: int) -> None:
    numbers = random.Random(seed).sample(range(1, 90), 6)
    two_at_a_time = asyncio.Semaphore(2)

    async def one(number: int) -> bool:
        async with two_at_a_time:
            try:
                return await killed_at_step(tmp_path / str(number) / "data", phase, number)
            except Exception as error:
                raise AssertionError(f"after a kill at step {number} of {phase}") from error

    assert sum(await asyncio.gather(*map(one, numbers))) >= len(numbers) / 2


async def test_right_after_the_start(data_dir: Path) -> None:
    async with recorder(data_dir, OPEN, START, {"do": "wait"}) as child:
        await child.waits()
        await child.killed()
    await assert_finished_by_itself(data_dir, child)


async def test_while_paused(data_dir: Path) -> None:
    script = (OPEN, START, speak(0.8, (ADA, BEN)), {"do": "pause"}, speak(0.3, (ADA,), recorded=False), {"do": "wait"})
    async with recorder(data_dir, *script, **BORDERS) as child:
        await child.waits()
        await child.killed()
    await assert_finished_by_itself(data_dir, child)


async def test_after_a_pause(data_dir: Path) -> None:
    pause = ({"do": "pause"}, speak(0.3, (ADA,), recorded=False), {"do": "resume"})
    script = (OPEN, START, speak(0.8, (ADA, BEN)), *pause, speak(30, (ADA, BEN)))
    async with recorder(data_dir, *script, **BORDERS) as child:
        await child.did("resume")
        await child.has_pushed(samples(1.2))
        await child.killed()
    await assert_finished_by_itself(data_dir, child)


async def test_notes_and_pauses(data_dir: Path) -> None:
    """They are there when they were told as stored, and the meeting is as long as what is known of it."""
    pause = ({"do": "pause"}, {"do": "resume"})
    script = (OPEN, START, speak(0.8, (ADA,)), {"do": "note", "text": "Budget"}, *pause, speak(0.4, (ADA,)))
    async with recorder(data_dir, *script, {"do": "pause"}, {"do": "wait"}, **BORDERS) as child:
        await child.waits()
        await child.killed()
    await assert_finished_by_itself(data_dir, child)
    async with ServicesManager(quick_settings(data_dir)) as services:
        (note,) = await services.sql_recording_service.get_notes_for_meeting(MEETING)
        meeting, pauses = await stored(services, MarkKind.PAUSED)
    assert (note["text"], note["at_ms"]) == ("Budget", 800)
    assert [(mark.at_sample, mark.sample_count) for mark in pauses] == [(samples(0.8), 0), (samples(1.2), 0)]
    assert meeting.duration_samples == samples(1.2)


async def test_amid_transcodes(data_dir: Path, unreliable: UnreliableFfmpeg) -> None:
    unreliable.hold()
    script = (OPEN, START, speak(2, (ADA, BEN), pace=0), {"do": "wait"})
    async with recorder(data_dir, *script, ffmpeg_path=str(unreliable.path), **BORDERS) as child:
        await child.waits()
        await soon(lambda: len(unreliable.calls) >= 2)
        await child.killed()
    unreliable.hold(False)
    await assert_finished_by_itself(data_dir, child)
    await soon(lambda: not unreliable.living)


async def test_the_recovering_process_is_killed_as_well(data_dir: Path) -> None:
    async with recorder(data_dir, OPEN, START, speak(2, SPEAKERS, pace=0), {"do": "wait"}, **BORDERS) as first:
        await first.waits()
        await first.killed()
    for number in (3, 12, 20, 30, 45):
        async with recorder(data_dir, die_at("", number=number), OPEN, *RECOVER, **BORDERS) as child:
            if await child.ended() == 0:
                break
    await assert_finished_by_itself(data_dir, first)


async def test_a_chunk_is_not_given_up_because_recorders_died(data_dir: Path, unreliable: UnreliableFfmpeg) -> None:
    unreliable.hold()
    held: dict[str, Any] = {"ffmpeg_path": str(unreliable.path), **BORDERS}
    async with recorder(data_dir, OPEN, START, speak(0.7, (ADA,), pace=0), {"do": "wait"}, **held) as first:
        await first.waits()
        await soon(lambda: unreliable.calls)
        await first.killed()
    for _ in range(4):
        calls = len(unreliable.calls)
        async with recorder(data_dir, OPEN, *RECOVER, **held) as child:
            await soon(lambda before=calls: len(unreliable.calls) > before)  # type: ignore[misc]
            await child.killed()
    unreliable.hold(False)
    await assert_finished_by_itself(data_dir, first)
    await soon(lambda: not unreliable.living)


async def test_the_silence_between_pushes_is_kept(data_dir: Path) -> None:
    """One speaker is silent for less than a chunk, the other for several."""
    gaps = ({"do": "skip", "user": ADA, "to_ms": 1000}, {"do": "skip", "user": BEN, "to_ms": 3000})
    script = (OPEN, START, speak(0.7, (ADA, BEN), pace=0), *gaps, speak(0.7, (ADA, BEN), pace=0), {"do": "wait"})
    async with recorder(data_dir, *script, **BORDERS) as child:
        await child.waits()
        await child.killed()
    said_samples, until = samples(0.7), {ADA: samples(1), BEN: samples(3)}
    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
        expected = {
            user: joined(
                voice(user, 0, said_samples),
                silence(goes_on - said_samples),
                voice(user, said_samples, said_samples),
            )
            for user, goes_on in until.items()
        }
        session = max(map(len, expected.values()))
        for user, said_and_unsaid in expected.items():
            sound = joined(said_and_unsaid, silence(session - len(said_and_unsaid)))
            heard = played(track_of(recording, user)["path"])
            assert len(heard) == len(sound)
            assert (heard - sound).std() < 0.05 * sound.std()
            assert not differences(heard[: said_samples - samples(0.05)], sound)
            assert not differences(heard[until[user] + samples(0.05) :], sound[until[user] + samples(0.05) :])


async def test_lossless_masters_are_whole(data_dir: Path) -> None:
    keep: dict[str, Any] = {"keep_master": True, **BORDERS}
    async with recorder(data_dir, OPEN, START, speak(30, (ADA, BEN)), **keep) as child:
        await child.has_pushed(samples(1.7))
        await child.killed()
    async with ServicesManager(quick_settings(data_dir, **keep)) as services:
        recording = await the_recording(services)
        for user, pushed in child.pushed.items():
            master = track_of(recording, user)["master_path"]
            assert master is not None
            heard = played(master)
            assert len(heard) >= pushed
            assert (heard == voice(user, 0, len(heard))).all()
        await assert_tidy(data_dir)
