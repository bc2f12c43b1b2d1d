"""Calls, and what is heard of them in the files of their recordings: the wire's losses, and nothing else."""

from pathlib import Path

import pytest

from discord_recorder.simulator.server import Simulator
from tests.listening import scenes
from tests.listening.scenes import Scene
from tests.listening.talk import MAX_MISALIGNMENT_MS, recorded_talk
from tests.support.tone_code import RATE
from tests.support.verdict import Verdict, judge, misalignment_ms

SURE_MS = 100.0
"""How well it has to be known when a pause was."""


@pytest.mark.parametrize(
    "scene",
    [
        scenes.plain,
        scenes.bad_network,
        scenes.comings_and_goings,
        scenes.resumed,
        scenes.session_lost,
        scenes.moved,
    ],
)
async def test_what_was_said_is_heard(simulator: Simulator, data_dir: Path, scene: Scene) -> None:
    async with recorded_talk(simulator, data_dir) as talk:
        toll = await scene(talk)
        recording = await talk.finish()
        judged = talk.judged(recording)
    for talker in talk.talkers:
        mix, lost = judged.mix[talker.user.name], toll.lost.get(talker, set())
        for track in judged.files_of(talker):
            missing = set(track.missing)
            assert missing - lost <= toll.may_miss(talker)  # what is made up for a lost frame may sound like it
            assert track.is_clean, track
        assert mix.missing == []
        assert mix.is_clean, mix
    most_ms = MAX_MISALIGNMENT_MS + talk.late_ms
    assert judged.misalignment_ms <= most_ms
    for verdict in (*judged.tracks.values(), *judged.masters.values(), *judged.mix.values()):
        assert verdict.worst_offset_ms <= most_ms


async def test_a_pause_takes_its_time_out_of_the_session(simulator: Simulator, data_dir: Path) -> None:
    """What was said meanwhile is not heard; what came after it follows at once, and everybody is in step."""
    for number in range(5):
        async with recorded_talk(simulator, data_dir / str(number)) as talk:
            await scenes.paused(talk)
            hearings = talk.hearings(await talk.finish())
        (pause,) = talk.pauses
        if pause.unsure_ms < SURE_MS:
            break
    else:
        pytest.fail("the machine stood still each time, and nobody knows when the pauses were")
    after: list[Verdict] = []
    for talker in talk.talkers:
        hearing, parts = hearings[talker.user.name], talk.parts(talker, pause)
        assert all(len(part) > 20 for part in parts)
        verdicts = [judge(hearing, talker.number, part) for part in parts]
        assert [len(verdict.missing) for verdict in verdicts] == [0, len(parts[1]), 0]
        assert all(verdict.is_clean for verdict in verdicts)
        assert verdicts[0].worst_offset_ms <= MAX_MISALIGNMENT_MS + talk.late_ms
        assert verdicts[2].worst_offset_ms <= MAX_MISALIGNMENT_MS + talk.late_ms + pause.unsure_ms / 2
        after.append(verdicts[2])
    assert misalignment_ms(after) <= MAX_MISALIGNMENT_MS + talk.late_ms


async def test_all_files_last_as_long_as_the_session(simulator: Simulator, data_dir: Path) -> None:
    async with recorded_talk(simulator, data_dir) as talk:
        ada, ben = talk.add("Ada"), talk.add("Ben")
        await talk.gather(ada, ben)
        await ada.say(0.4)
        await ben.say(0.2)
        await ada.say(0.3)
        hearings = talk.hearings(await talk.finish())
        session = talk.live.duration_samples
    assert len(hearings) == 3
    assert all(abs(hearing.samples - session) <= RATE / 50 for hearing in hearings.values())
