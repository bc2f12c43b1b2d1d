"""Who may speak, and where: a stage, people who are muted and come back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from discord_recorder.simulator.server import Simulator
from discord_recorder.voice import connection, health
from tests.e2e.call import Call, Person, recorded_call
from tests.support.waiting import until


@pytest.fixture
async def stage(simulator: Simulator, data_dir: Path) -> AsyncIterator[Call]:
    """Ada and Ben on a stage with the recording bot; all of them in the audience."""

    def on_stage(call: Call) -> None:
        call.channel = simulator.add_stage_channel(call.guild, "Stage")

    async with recorded_call(simulator, data_dir, on_stage) as call:
        await call.ada.join()
        await call.ben.join()
        await call.record()
        yield call


def let_speak(call: Call, person: Person, *, speak: bool = True) -> None:
    """Take somebody from the audience onto the stage, or back."""
    state = call.guild.voice_states[person.id]
    call.simulator.voice_states.change(call.guild, replace(state, suppress=not speak))


async def test_a_stage_is_recorded_from_the_audience(stage: Call) -> None:
    """Without end-to-end encryption, and by a bot that may not speak itself."""
    ada, ben = stage.ada, stage.ben
    assert stage.guild.voice_states[stage.bot.id].suppress
    let_speak(stage, ada)
    await ada.say(0.6)
    await ben.say(0.3)  # in the audience: nobody hears that
    unheard = list(ben.spoken)
    let_speak(stage, ben)
    await ben.say(0.6)
    await stage.tail()
    assert not any(frame.encrypted for frame in (*ada.spoken, *ben.spoken))
    assert stage.missing(ada) == []
    assert stage.missing(ben) == unheard
    assert stage.counts().plain == 0  # nothing had to be let through
    assert await stage.gaps() == []
    recording = await stage.stop()
    assert {track["name"] for track in recording["tracks"]} == {"Ada", "Ben", None}


@pytest.fixture
def soon_suspicious(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deafness would be noticed in the course of a short test."""
    monkeypatch.setattr(health, "NOTICE_SECONDS", 1.5)
    monkeypatch.setattr(connection, "VOICE_STATES_SECONDS", 0.1)


@pytest.mark.usefixtures("soon_suspicious")
async def test_muted_in_mid_word_by_a_moderator(call: Call) -> None:
    """What the server does not forward is missing, in one piece; nothing else is, and nobody takes it for deafness."""
    ada, session = call.ada, call.server.session(call.bot.id, call.guild.id)
    ada.begin()
    await ada.said(25)
    await until(lambda: call.stored(ada))
    call.simulator.server_mute(ada.user, call.guild)
    await ada.said(125)
    call.simulator.server_mute(ada.user, call.guild, mute=False)
    await ada.said(25)
    await ada.end()
    await call.tail()
    sent, missing = ada.spoken, call.missing(ada)
    first = sent.index(missing[0])
    assert missing == sent[first : first + len(missing)]
    assert 100 <= len(missing) <= 130
    assert call.server.session(call.bot.id, call.guild.id) is session
    assert await call.gaps() == []
    await call.stop()


@pytest.mark.usefixtures("soon_suspicious")
async def test_muted_in_mid_word_by_themselves(call: Call) -> None:
    """Nothing is sent meanwhile and so nothing is missing, and what comes next is not pulled forward."""
    ada, session = call.ada, call.server.session(call.bot.id, call.guild.id)
    ada.begin()
    await ada.said(25)
    call.simulator.join(ada.user, call.channel, self_mute=True)
    ada.speaker.mute()
    before = ada.speaker.held_frames
    await until(lambda: ada.speaker.held_frames >= before + 100)
    ada.speaker.unmute()
    call.simulator.join(ada.user, call.channel)
    await ada.said(25)
    held = ada.speaker.held_frames - before
    await ada.end()
    await call.tail()
    assert call.missing(ada) == []
    assert max(after.at_sample - one.at_sample for one, after in pairwise(call.packets(ada))) > held * 960 / 2
    assert call.server.session(call.bot.id, call.guild.id) is session
    assert await call.gaps() == []
    await call.stop()
