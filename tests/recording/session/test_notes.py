from datetime import timedelta
from typing import Any

import pytest

from discord_recorder import InvalidIdError, InvalidNoteError, ServicesManager, SessionEndedError, UserError
from tests.audio.signals import to_pcm, tone
from tests.recording.live_frames import RATE
from tests.support.clock import START, FakeClock
from tests.support.recorder import ALICE, BOB, CHANNEL, MEETING, OpenServices, started, stopped


async def test_they_mark_the_moment(open_services: OpenServices, clock: FakeClock) -> None:
    """Of a live call it is session time, also in a pause; the text comes back as it was, and outlives promotion."""
    async with open_services(clock=clock) as services:
        recorder, sql = services.discord_recorder_service, services.sql_recording_service
        session = await started(services)
        session.go_live()
        await session.push_audio_data(to_pcm(tone(RATE)))
        clock.advance(2)
        assert await recorder.add_note(CHANNEL, "  Budget:\n20 % 🎉 ") is True
        assert len(await sql.get_notes_for_meeting(MEETING)) == 1, "stored when it returns"
        await recorder.pause_session(CHANNEL)
        clock.advance(5)
        assert await recorder.add_note(str(CHANNEL), "x" * 2000, user_id=BOB)
        await recorder.resume_session(CHANNEL)
        clock.advance(1)
        await session.add_note("Wages", str(ALICE))
        status = await recorder.get_session_status(CHANNEL)
        await stopped(services)
        notes = await sql.get_notes_for_meeting(MEETING)
    assert status is not None
    assert status["notes"] == 3
    assert [(note["at_ms"], note["wall_at"], note["user_id"]) for note in notes] == [
        (2000, START + timedelta(seconds=2), None),
        (2000, START + timedelta(seconds=7), str(BOB)),
        (3000, START + timedelta(seconds=8), str(ALICE)),
    ]
    assert [note["text"] for note in notes] == ["Budget:\n20 % 🎉", "x" * 2000, "Wages"]
    assert {note["meeting_id"] for note in notes} == {MEETING}
    assert len({note["id"] for note in notes}) == 3


async def test_where_audio_is_pushed_they_stand_at_the_end_of_the_longest_track(services: ServicesManager) -> None:
    session = await started(services)
    await session.push_audio_data(to_pcm(tone(RATE)))
    await session.push_audio_data(to_pcm(tone(RATE // 2)), user_id=BOB)
    await session.add_note("Budget")
    (note,) = await services.sql_recording_service.get_notes_for_meeting(MEETING)
    assert note["at_ms"] == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("x" * 2001, "2001 characters; it takes at most 2000"),
        ("half a \ud83d", "surrogate"),
        (None, "NoneType; it takes a str"),
        (b"Budget", "bytes; it takes a str"),
    ],
)
async def test_wrong_texts(services: ServicesManager, text: Any, message: str) -> None:
    recorder = services.discord_recorder_service
    with pytest.raises(InvalidNoteError, match=message):
        await recorder.add_note(CHANNEL, text)
    session = await started(services)
    for add in (recorder.add_note(CHANNEL, text), session.add_note(text)):
        with pytest.raises(InvalidNoteError, match=message) as caught:
            await add
        assert isinstance(caught.value, UserError)
    assert await services.sql_recording_service.get_notes_for_meeting(MEETING) == []


async def test_wrong_ids(services: ServicesManager) -> None:
    session = await started(services)
    with pytest.raises(InvalidIdError, match="is not a channel id"):
        await services.discord_recorder_service.add_note("general", "Budget")
    with pytest.raises(InvalidIdError, match="is not a user id"):
        await session.add_note("Budget", "Ada")
    with pytest.raises(InvalidIdError):
        await services.sql_recording_service.get_notes_for_meeting("x")


async def test_without_a_session(services: ServicesManager) -> None:
    recorder = services.discord_recorder_service
    assert await recorder.add_note(CHANNEL, "Budget") is False
    session = await started(services)
    await recorder.stop_session(CHANNEL)
    assert await recorder.add_note(CHANNEL, "Budget") is False
    with pytest.raises(SessionEndedError, match="has been stopped"):
        await session.add_note("Budget")
    assert await services.sql_recording_service.get_notes_for_meeting(MEETING) == []


async def test_they_go_with_their_meeting(services: ServicesManager) -> None:
    session = await started(services)
    await session.add_note("Budget")
    await services.discord_recorder_service.stop_session(CHANNEL)
    assert len(await services.sql_recording_service.get_notes_for_meeting(MEETING)) == 1
    await services.discord_recorder_service.delete_meeting(MEETING)
    assert await services.sql_recording_service.get_notes_for_meeting(MEETING) == []
