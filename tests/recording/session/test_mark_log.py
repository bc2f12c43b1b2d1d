from datetime import timedelta

import pytest

from discord_recorder.recording.session import mark_log
from discord_recorder.recording.session.mark_log import MarkLog, write
from discord_recorder.recording.session.session_time import SessionTime
from discord_recorder.storage import marks
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import Mark, MarkKind
from tests.recording.conftest import NewContext
from tests.support.clock import START, FakeClock
from tests.support.rows import ALICE_TRACK, BOB_TRACK, MEETING_ID

RATE = 48_000


class Book:
    """A log with the clocks and the database that it works with."""

    def __init__(self, database: Database, clock: FakeClock, *, runs_on: bool = False) -> None:
        self.time = SessionTime(clock.monotonic(), runs_on=runs_on)
        self.log = MarkLog(MEETING_ID, clock, self.time)
        self.database = database

    async def store(self) -> list[Mark]:
        unstored = self.log.unstored()
        self.log.was_stored(unstored, await self.database.write(write, MEETING_ID, unstored))
        return await self.database.read(marks.of_meeting, MEETING_ID)


@pytest.fixture
async def book(new_context: NewContext, clock: FakeClock) -> Book:
    database = new_context().database
    await database.open()
    return Book(database, clock)


async def test_each_is_stored_once(book: Book, clock: FakeClock) -> None:
    clock.advance(2)
    assert book.log.note(96_000, "Budget", "1001")
    first = await book.store()
    book.log.disconnected(0.5, 1.5, "why")
    assert book.log.note(96_000, "Wages", None)
    found = await book.store()
    assert await book.store() == found
    assert [(mark.kind, mark.at_sample, mark.sample_count, mark.wall_ms) for mark in found] == [
        ("disconnected", 24_000, 48_000, 1000),
        ("note", 96_000, 0, 0),
        ("note", 96_000, 0, 0),
    ]
    assert found[0].wall_at == START + timedelta(seconds=0.5)
    assert found[1] == first[0]
    assert book.log.notes == 2


async def test_what_changes_while_it_is_stored_is_stored_again(book: Book, clock: FakeClock) -> None:
    book.log.begin_pause(480)
    clock.advance(3)
    book.log.lengthen_pause()
    unstored = book.log.unstored()
    clock.advance(4)
    assert book.log.end_pause() == 0
    book.log.was_stored(unstored, await book.database.write(write, MEETING_ID, unstored))
    (pause,) = await book.database.read(marks.of_meeting, MEETING_ID)
    assert pause.wall_ms == 3000
    (pause,) = await book.store()
    assert (pause.at_sample, pause.sample_count, pause.wall_ms, pause.wall_at) == (480, 0, 7000, START)


async def test_a_stretch_grows_where_the_next_one_touches_it(book: Book, clock: FakeClock) -> None:
    clock.advance(1)
    log = book.log
    log.stretch(MarkKind.UNDECRYPTABLE, ALICE_TRACK, 960, 960, reason="no key")
    log.stretch(MarkKind.UNDECRYPTABLE, BOB_TRACK, 960, 960, reason="no key")
    log.stretch(MarkKind.UNDECRYPTABLE, ALICE_TRACK, 1920, 960, reason="no key")
    await book.store()
    log.stretch(MarkKind.UNDECRYPTABLE, ALICE_TRACK, 2880, 960, reason="no key")
    log.stretch(MarkKind.UNDECRYPTABLE, ALICE_TRACK, 1920, 960, reason="no key")
    log.stretch(MarkKind.UNDECRYPTABLE, ALICE_TRACK, 4800, 960, reason="no key")
    log.stretch(MarkKind.LOST, ALICE_TRACK, 5760, 960)
    found = [(mark.kind, mark.track, mark.at_sample, mark.sample_count) for mark in await book.store()]
    assert found == [
        ("undecryptable", ALICE_TRACK, 960, 2880),
        ("undecryptable", BOB_TRACK, 960, 960),
        ("undecryptable", ALICE_TRACK, 4800, 960),
        ("lost", ALICE_TRACK, 5760, 960),
    ]
    assert (await book.store())[0].wall_at == START + timedelta(milliseconds=20)


async def test_memory_is_bounded(book: Book, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(mark_log, "MAX_WAITING", 3)
    assert [book.log.note(number, "Budget", None) for number in range(5)] == [True] * 3 + [False] * 2
    book.log.begin_pause(0)
    assert book.log.end_pause() == 0
    assert book.log.notes == 3
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert len(await book.store()) == 3
    assert book.log.note(7, "Wages", None)


async def test_the_status_remembers_the_last_events(book: Book, clock: FakeClock) -> None:
    clock.advance(9000)
    for number in range(300):
        book.log.connected(float(number), number, 55)
    book.log.ended(400.0, "left the channel")
    events = book.log.events()
    assert len(events) == 200
    assert (events[0]["at_ms"], events[0]["channel_id"]) == (101_000, "55")
    assert events[-1] == {
        "kind": "ended",
        "at_ms": 400_000,
        "ends_ms": None,
        "channel_id": None,
        "reason": "left the channel",
    }
