"""Kill -9 while voices come from a voice channel: at most 200 ms of them is lost, and it finishes by itself."""

import asyncio
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from discord_recorder import ServicesManager
from discord_recorder.audio.opus_reader import read_ogg_opus
from discord_recorder.services.sql_recording import RecordingDict
from tests.faults.children import Recorder, recorder
from tests.faults.endings import assert_tidy, lengths, the_recording
from tests.faults.live_voices import FRAME, frame, heard, packets
from tests.faults.voices import ADA, BEN, RATE, SPEAKERS, played, samples
from tests.support.recorder import MEETING, quick_settings, track_of

OPEN: dict[str, Any] = {"do": "open"}
START: dict[str, Any] = {"do": "start", "meeting": MEETING}
MOST_LOST_SAMPLES = RATE // 5


def hear(seconds: float, users: tuple[int, ...]) -> dict[str, Any]:
    return {"do": "hear", "seconds": seconds, "users": list(users)}


async def assert_recorded(data_dir: Path, child: Recorder, *, handler: str | None = None) -> None:
    """All but the last moment of what each speaker was heard to say is in the recording, at its place."""
    halved = handler == "halving"
    places = {event["heard"]: event["at_sample"] for event in child.events if "heard" in event}
    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
        assert recording["recovered"]
        await assert_tidy(data_dir)
    ends = lengths(recording)
    for user, told in child.pushed.items():
        if handler is None:
            assert_is_master(recording, user, places[user])
        else:
            assert track_of(recording, user)["master_path"] is None
        sound = played(track_of(recording, user)["path"])[places[user] : ends[user]]
        assert told - MOST_LOST_SAMPLES <= len(sound) <= told + 2 * FRAME, f"{told} were heard, {len(sound)} recorded"
        wanted = heard(user, len(sound) // FRAME)[: len(sound)]
        for at in range(FRAME, len(wanted) - 4800, 4800):
            here, there = sound[at : at + 4800], wanted[at : at + 4800]
            level = (here * there).sum() / (there**2).sum()
            is_from_journal = at + 4800 > told - RATE // 2  # what the override had not dealt with, perhaps
            levels = [0.5, 1.0] if halved and is_from_journal else [0.5] if halved else [1.0]
            assert min(abs(level - each) for each in levels) < 0.05, f"at {at}: {level}"
            assert np.std(here - level * there) < 0.1 * np.std(there), f"at {at}"


def assert_is_master(recording: RecordingDict, user: int, place: int) -> None:
    """The Opus beside an MP3 is as long as the recording, and holds the voice's packets from the first one on."""
    master = track_of(recording, user)["master_path"]
    assert master is not None
    stream = read_ogg_opus(Path(master).read_bytes())
    length = max(len(played(track["path"])) for track in recording["tracks"])
    assert abs(stream.end_sample - length) <= FRAME
    said = set(packets(user))
    stored = [packet for packet in stream.packets if packet.opus in said]
    assert abs(stored[0].at_sample - place) <= 60
    assert [packet.opus for packet in stored] == [frame(user, number, 0).opus for number in range(len(stored))]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_at_a_random_instant(data_dir: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with recorder(data_dir, OPEN, START, hear(30, SPEAKERS)) as child:
        await child.has_pushed(samples(chance.uniform(0.3, 2.6)))
        await asyncio.sleep(chance.uniform(0, 0.05))  # the instant of death, not a wait for a state
        await child.killed()
    await assert_recorded(data_dir, child)


@pytest.mark.parametrize("handler", ["halving", "hanging"])
async def test_with_an_override(data_dir: Path, handler: str) -> None:
    start = {**START, "handler": handler}
    async with recorder(data_dir, OPEN, start, hear(30, (ADA, BEN))) as child:
        await child.has_pushed(samples(1.7))
        await child.killed()
    await assert_recorded(data_dir, child, handler=handler)


async def test_while_the_file_is_new(data_dir: Path) -> None:
    async with recorder(data_dir, OPEN, START, hear(30, (ADA,))) as child:
        await child.has_pushed(FRAME)
        await child.killed()
    async with ServicesManager(quick_settings(data_dir)) as services:
        assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
        await assert_tidy(data_dir)
