import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from discord_recorder.ids import MeetingId
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.database import Database
from discord_recorder.storage.records import Chunk, MeetingStatus, NewChunk, TranscodeStatus
from discord_recorder.storage.stretches import Stretches
from tests.support.rows import ALICE_TRACK, BOB_TRACK, MEETING_ID, STARTED_AT, a_chunk, a_meeting

OTHER_MEETING = MeetingId("fedcba9876543210")
SPEECH = Stretches(heard=[(480_960, 500_000)], lost=[(481_920, 482_880)], concealed_samples=960)


async def added(database: Database, new: Sequence[NewChunk]) -> list[Chunk]:
    return await database.write(chunks.add, new, STARTED_AT)


async def claimed(database: Database, now: float = 1000.0, limit: int = 100, owner: str = "me") -> list[Chunk]:
    return await database.write(chunks.claim, owner=owner, now=now, lease_until=now + 60, limit=limit)


async def settled(database: Database, chunk: Chunk, status: TranscodeStatus, **values: Any) -> bool:
    return await database.write(lambda tx: chunks.settle(tx, chunk, transcode_status=status, **values))


async def everything(database: Database, meeting_id: MeetingId = MEETING_ID) -> list[Chunk]:
    return await database.read(chunks.of_meeting, meeting_id)


async def pending(database: Database, *meeting_ids: MeetingId) -> list[bool]:
    return [await database.read(chunks.is_pending, meeting_id) for meeting_id in meeting_ids]


class TestAdding:
    async def test_what_goes_in_comes_out(self, database: Database) -> None:
        new = [a_chunk(0), a_chunk(1), a_chunk(0, track=BOB_TRACK)]
        rows = await added(database, new)
        names = [field.name for field in dataclasses.fields(NewChunk)]
        assert [{name: getattr(row, name) for name in names} for row in rows] == [
            dataclasses.asdict(one) for one in new
        ]
        assert {(row.transcode_status, row.attempts, row.created_at) for row in rows} == {
            (TranscodeStatus.QUEUED, 0, STARTED_AT)
        }
        assert {(row.cleaned, row.sha256, row.owner, row.completed_at) for row in rows} == {(False, None, None, None)}
        assert await everything(database) == rows

    async def test_nothing(self, database: Database) -> None:
        assert await added(database, []) == []

    async def test_a_place_is_taken_once(self, database: Database) -> None:
        (first,) = await added(database, [a_chunk(0)])
        again = dataclasses.replace(a_chunk(0), source_key="else", sample_count=5)
        rows = await added(database, [again, a_chunk(1)])
        assert [row.start_sample for row in rows] == [480_000]
        assert (await everything(database))[0] == first

    async def test_in_order_of_track_and_time(self, database: Database) -> None:
        await added(database, [a_chunk(2, track=BOB_TRACK), a_chunk(1), a_chunk(0, track=BOB_TRACK), a_chunk(0)])
        assert [(row.track, row.start_sample) for row in await everything(database)] == [
            (ALICE_TRACK, 0),
            (ALICE_TRACK, 480_000),
            (BOB_TRACK, 0),
            (BOB_TRACK, 960_000),
        ]

    async def test_counts(self, database: Database) -> None:
        await added(database, [a_chunk(0), a_chunk(1), a_chunk(0, meeting_id=OTHER_MEETING)])
        await claimed(database, limit=1)
        unknown = MeetingId("0" * 16)
        assert await database.read(chunks.count_by_status, MEETING_ID) == {
            TranscodeStatus.QUEUED: 1,
            TranscodeStatus.IN_PROGRESS: 1,
            TranscodeStatus.DONE: 0,
            TranscodeStatus.FAILED: 0,
        }
        assert set((await database.read(chunks.count_by_status, unknown)).values()) == {0}
        assert await pending(database, MEETING_ID, OTHER_MEETING, unknown) == [True, True, False]


class TestClaiming:
    async def test_oldest_first_up_to_the_limit(self, database: Database) -> None:
        await added(database, [a_chunk(n) for n in range(5)])
        first, second, third = [await claimed(database, limit=2) for _ in range(3)]
        assert [chunk.start_sample // 480_000 for chunk in first + second + third] == [0, 1, 2, 3, 4]
        assert {(c.transcode_status, c.owner, c.attempts, c.lease_expires_at) for c in first} == {
            (TranscodeStatus.IN_PROGRESS, "me", 1, 1060.0)
        }
        assert await claimed(database) == []

    async def test_not_before_its_pause_is_over(self, database: Database) -> None:
        await added(database, [a_chunk()])
        (chunk,) = await claimed(database)
        await settled(database, chunk, TranscodeStatus.QUEUED, not_before=1010.0)
        assert await claimed(database, now=1009.9) == []
        (again,) = await claimed(database, now=1010.0)
        assert again.attempts == 2

    async def test_taken_over_when_the_lease_ends(self, database: Database) -> None:
        await added(database, [a_chunk()])
        (dead,) = await claimed(database, owner="dead")
        assert await claimed(database, now=1059.9, owner="heir") == []
        (taken,) = await claimed(database, now=1060.0, owner="heir")
        assert (taken.id, taken.owner, taken.attempts) == (dead.id, "heir", 2)
        # the first owner was only slow: what it says does not count any more
        assert not await settled(database, dead, TranscodeStatus.DONE, sha256="dead")
        assert await settled(database, taken, TranscodeStatus.DONE, sha256="heir")
        assert (await everything(database))[0].sha256 == "heir"

    async def test_same_owner_twice_is_two_claims(self, database: Database) -> None:
        await added(database, [a_chunk()])
        (first,) = await claimed(database)
        (second,) = await claimed(database, now=2000.0)
        assert not await settled(database, first, TranscodeStatus.DONE)
        assert await settled(database, second, TranscodeStatus.DONE)
        assert not await settled(database, second, TranscodeStatus.FAILED), "it is settled already"

    @pytest.mark.parametrize("status", [TranscodeStatus.DONE, TranscodeStatus.FAILED])
    async def test_what_is_settled_is_not_claimed(self, database: Database, status: TranscodeStatus) -> None:
        await added(database, [a_chunk(), a_chunk(meeting_id=OTHER_MEETING)])
        assert await pending(database, MEETING_ID, OTHER_MEETING) == [True, True], "QUEUED"
        one, other = await claimed(database)
        assert await pending(database, MEETING_ID, OTHER_MEETING) == [True, True], "IN_PROGRESS"
        await settled(database, one, status)
        assert await pending(database, MEETING_ID, OTHER_MEETING) == [False, True]
        await settled(database, other, status)
        assert await claimed(database, now=1e12) == []
        assert await pending(database, MEETING_ID, OTHER_MEETING) == [False, False]

    async def test_concurrent_claimers_never_get_one_chunk_twice(
        self, database: Database, same_database: Database
    ) -> None:
        rows = await added(database, [a_chunk(n) for n in range(60)])
        taken: list[int] = []

        async def work(where: Database, owner: str) -> None:
            while got := await claimed(where, limit=3, owner=owner):
                taken.extend(chunk.id for chunk in got)

        await asyncio.gather(*(work(db, f"{n}") for n, db in enumerate([database, same_database] * 2)))
        assert sorted(taken) == [row.id for row in rows]

    async def test_a_claim_that_is_rolled_back_never_was(self, database: Database) -> None:
        await added(database, [a_chunk()])

        def crash(tx: Connection) -> None:
            assert chunks.claim(tx, owner="me", now=1000, lease_until=1060, limit=1)
            raise RuntimeError("crash")

        with pytest.raises(RuntimeError, match="crash"):
            await database.write(crash)
        (chunk,) = await claimed(database)
        assert chunk.attempts == 1


class TestDone:
    async def test_once_and_with_what_came_of_it(self, database: Database) -> None:
        await added(database, [a_chunk(0), a_chunk(1)])
        first, _ = await claimed(database)
        await settled(database, first, TranscodeStatus.QUEUED, error="it failed once")
        (again,) = await claimed(database)
        ended_at = STARTED_AT + timedelta(minutes=1)
        assert await database.write(chunks.done, again, "ab" * 32, SPEECH, ended_at)
        row, neighbour = await everything(database)
        assert row == dataclasses.replace(
            again,
            transcode_status=TranscodeStatus.DONE,
            owner=None,
            lease_expires_at=None,
            sha256="ab" * 32,
            completed_at=ended_at,
            error=None,
            stretches=SPEECH.to_json(),
        )
        assert Stretches.from_json(row.stretches or "") == SPEECH
        assert neighbour.transcode_status is TranscodeStatus.IN_PROGRESS
        assert not await database.write(chunks.done, again, "cd" * 32, SPEECH, STARTED_AT), "it is settled already"
        assert (await everything(database))[0] == row

    async def test_only_by_who_has_it_in_hand(self, database: Database) -> None:
        (queued,) = await added(database, [a_chunk()])
        (first,) = await claimed(database, now=1000.0, owner="me")
        (second,) = await claimed(database, now=2000.0, owner="me")
        (third,) = await claimed(database, now=3000.0, owner="heir")
        for chunk in (queued, first, second, dataclasses.replace(third, owner="me")):
            assert not await database.write(chunks.done, chunk, "00" * 32, SPEECH, STARTED_AT)
        assert await everything(database) == [third]
        assert await database.write(chunks.done, third, "11" * 32, SPEECH, STARTED_AT)


class TestAfterACrash:
    async def test_jobs_of_the_dead_are_queued_again(self, database: Database) -> None:
        await added(database, [a_chunk(n) for n in range(3)])
        await claimed(database, limit=1, owner="dead")
        (living,) = await claimed(database, limit=1, owner="alive")
        assert await database.write(chunks.requeue_dead, ["alive"]) == 1
        assert [chunk.id != living.id for chunk in await claimed(database)] == [True, True]


class TestRetrying:
    async def test_failed_ones_start_afresh(self, database: Database) -> None:
        await added(database, [a_chunk(0), a_chunk(1), a_chunk(0, meeting_id=OTHER_MEETING)])
        done, failed, others = await claimed(database)
        await settled(database, done, TranscodeStatus.DONE)
        for chunk in (failed, others):
            await settled(
                database, chunk, TranscodeStatus.FAILED, error="no", not_before=5000.0, completed_at=STARTED_AT
            )
        assert await database.write(chunks.retry_failed, MEETING_ID) == 1
        assert await database.write(chunks.retry_failed, MEETING_ID) == 0
        (again,) = await claimed(database)
        assert (again.id, again.attempts, again.error, again.completed_at) == (failed.id, 1, None, None)


class TestRemoving:
    async def test_any_number(self, database: Database) -> None:
        rows = await added(database, [a_chunk(n) for n in range(1001)])
        await database.write(chunks.remove, [row.id for row in rows[1:]])
        await database.write(chunks.remove, [])
        assert await everything(database) == rows[:1]

    @pytest.mark.parametrize(
        ("meeting_status", "chunk_status", "is_outdated"),
        [
            (MeetingStatus.RECORDING, TranscodeStatus.DONE, False),
            (MeetingStatus.PAUSED, TranscodeStatus.DONE, False),
            (MeetingStatus.PROCESSING, TranscodeStatus.DONE, False),
            (MeetingStatus.COMPLETED, TranscodeStatus.DONE, True),
            (MeetingStatus.FAILED, TranscodeStatus.DONE, True),
            (MeetingStatus.COMPLETED, TranscodeStatus.FAILED, False),
            (MeetingStatus.FAILED, TranscodeStatus.FAILED, False),
            (None, TranscodeStatus.DONE, True),
            (None, TranscodeStatus.FAILED, False),
        ],
    )
    async def test_only_what_nobody_needs_is_outdated(
        self,
        database: Database,
        meeting_status: MeetingStatus | None,
        chunk_status: TranscodeStatus,
        is_outdated: bool,
    ) -> None:
        await added(database, [a_chunk()])
        (chunk,) = await claimed(database)
        await settled(database, chunk, chunk_status)
        if meeting_status is not None:
            await database.write(meetings.add, a_meeting(status=meeting_status))
        assert await database.read(chunks.outdated, STARTED_AT) == [], "it is not older than that"
        found = await database.read(chunks.outdated, STARTED_AT + timedelta(seconds=1))
        assert [one.id for one in found] == ([chunk.id] if is_outdated else [])

    async def test_cleaned_sources(self, database: Database) -> None:
        first, second = await added(database, [a_chunk(0), a_chunk(1)])
        await database.write(chunks.mark_cleaned, [second.id])
        assert [row.cleaned for row in await everything(database)] == [False, True]
        assert first.id < second.id
