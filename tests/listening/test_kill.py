"""Kill -9 in mid-call, heard in the files of the recording that the next start makes of it."""

import random
from pathlib import Path

import pytest

from discord_recorder import ServicesManager
from tests.faults.children import recorder
from tests.faults.endings import the_recording
from tests.faults.voices import samples
from tests.listening.talk import MAX_MISALIGNMENT_MS
from tests.support.ear import Ear
from tests.support.recorder import MEETING, quick_settings, sound_of
from tests.support.tone_code import FRAME, RATE
from tests.support.verdict import Said, judge, misalignment_ms

USERS = (1, 2, 3)
LAST_FRAMES = 10
"""200 ms: what a death may cost."""


@pytest.mark.parametrize("seed", [1, 2])
async def test_at_most_the_last_moment_is_missing_and_the_rest_is_in_its_place(data_dir: Path, seed: int) -> None:
    steps = {"do": "open"}, {"do": "start", "meeting": MEETING}
    hear = {"do": "hear_codes", "seconds": 4, "users": list(USERS)}
    async with recorder(data_dir, *steps, hear) as child:
        await child.has_pushed(samples(random.Random(seed).uniform(0.7, 2.6)))
        await child.killed()
    (began,) = (event["codes_from_seconds"] * RATE for event in child.events if "codes_from_seconds" in event)
    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
    ear, verdicts = Ear(USERS), []
    for user, told in child.pushed.items():
        frames = told // FRAME
        said = [Said(frame, began + frame * FRAME) for frame in range(frames)]
        verdict = judge(ear.listen(sound_of(recording, user)), user, said)
        assert set(verdict.missing) <= set(range(frames - LAST_FRAMES, frames))
        assert verdict.is_clean, verdict
        verdicts.append(verdict)
    assert len(verdicts) == len(USERS)
    assert misalignment_ms(verdicts) <= MAX_MISALIGNMENT_MS
    assert max(verdict.worst_offset_ms for verdict in verdicts) <= MAX_MISALIGNMENT_MS
