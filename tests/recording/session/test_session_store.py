"""What the database knows of a session beside its chunks, while it goes on and afterwards."""

import json

import pytest
from sqlalchemy import Connection

from discord_recorder import DatabaseError, ServicesManager
from discord_recorder.ids import MeetingId
from discord_recorder.recording.session import mark_log, session_store
from discord_recorder.recording.session.mark_log import Unstored
from discord_recorder.storage.records import MarkKind
from discord_recorder.voice.counters import Outcome
from discord_recorder.voice.sink import Ended, EndReason, GapReason, Segment
from tests.recording.live_frames import RATE, Sender, hear_all, tone_packets
from tests.support.clock import FakeClock
from tests.support.marks import stored, stored_marks
from tests.support.recorder import ALICE, BOB, CHANNEL, OpenServices, started, stopped
from tests.support.waiting import until


async def test_what_happens_to_the_connection_is_stored_as_it_happens(
    open_services: OpenServices, clock: FakeClock
) -> None:
    async with open_services(clock=clock) as services:
        session = await started(services)
        live = session.go_live()
        clock.advance(2)
        live.on_segment(Segment(number=1, channel_id=CHANNEL, started=0.5))
        live.on_gap(1.0, 1.5, GapReason.DEAF)
        await session.tick()

        async def number() -> int:
            return len(await stored_marks(services))

        await until(number)
        live.on_ended(Ended(reason=EndReason.REMOVED))
        await until(lambda: not services.discord_recorder_service.sessions)
        meeting, found = await stored(services)
    assert [(mark.kind.value, mark.at_sample, mark.sample_count, mark.reason, mark.text) for mark in found] == [
        ("connected", 24_000, 0, None, str(CHANNEL)),
        ("disconnected", 48_000, 24_000, GapReason.DEAF.value, None),
        ("ended", 96_000, 0, EndReason.REMOVED.value, None),
    ]
    assert (meeting.duration_samples, meeting.end_reason) == (2 * RATE, EndReason.REMOVED.value)


async def test_packet_counters_are_stored_from_time_to_time_and_at_the_end(
    open_services: OpenServices, clock: FakeClock
) -> None:
    async with open_services(clock=clock, flush_interval_seconds=60) as services:
        session = await started(services)
        live = session.go_live()
        hear_all(live, Sender(ALICE, 1).says(tone_packets(0.5), 0.5), Sender(BOB, 2).says(tone_packets(0.1), 0.5))
        live.ledger.tally(BOB).withdraw(Outcome.LATE)
        await clock.pass_by(5, step=0.5)
        assert (await stored(services))[0].packets is None
        await clock.pass_by(10, step=0.5)

        async def packets() -> str | None:
            return (await stored(services))[0].packets

        so_far = json.loads(await until(packets))
        assert (so_far["call"]["received"], so_far["call"]["stored"]) == (40, 39)
        assert so_far["tracks"][str(BOB)] == {
            "received": 10,
            "stored": 9,
            "plain": 0,
            "parked": 0,
            "dropped": {"late": 1},
        }
        live.ledger.add_kernel_dropped(7)
        await stopped(services)
        meeting, _ = await stored(services)
    in_the_end = json.loads(str(meeting.packets))
    assert in_the_end == {**so_far, "call": {**so_far["call"], "kernel_dropped": 7}}


async def test_a_session_whose_disk_breaks_has_its_length(
    services: ServicesManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await started(services)
    await session.push_audio_data(bytes(4 * RATE))
    await session.add_note("Budget")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.pwrite", full)
        with pytest.raises(Exception, match="No space left"):
            await session.push_audio_data(bytes(4 * RATE))
    await until(lambda: not services.discord_recorder_service.sessions)
    meeting, (note,) = await stored(services)
    assert (meeting.duration_samples, note.at_sample) == (RATE, RATE)


async def test_what_cannot_be_stored_is_tried_again(
    services: ServicesManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session_store, "RETRY_SECONDS", 0.01)
    session = await started(services)
    write, failures = mark_log.write, 0

    def failing(tx: Connection, meeting_id: MeetingId, unstored: Unstored) -> list[int]:
        nonlocal failures
        failures += 1
        if failures <= 3:
            raise DatabaseError("the disk is full")
        return write(tx, meeting_id, unstored)

    monkeypatch.setattr(mark_log, "write", failing)
    await session.add_note("Budget")

    async def notes() -> int:
        return len(await stored_marks(services, MarkKind.NOTE))

    assert await until(notes) == 1
    assert failures == 4
    assert "it is tried again" in caplog.text
