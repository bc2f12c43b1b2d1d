"""The queue hands every chunk to one worker at a time, again after a failure, and to another one after a death."""

import asyncio
from collections.abc import Sequence

from discord_recorder.recording.context import Context
from discord_recorder.recording.transcoding.queue import SqlTranscodeQueue, Transcoded
from discord_recorder.storage import chunks
from discord_recorder.storage.records import Chunk, NewChunk, TranscodeStatus
from discord_recorder.storage.stretches import Stretches
from tests.recording.conftest import NewContext
from tests.support.clock import START, FakeClock
from tests.support.rows import MEETING_ID, a_chunk


def transcoded(sha256: str) -> Transcoded:
    return Transcoded(sha256=sha256, stretches=Stretches(heard=[(0, 480)]))


async def enqueued(queue: SqlTranscodeQueue, context: Context, new: Sequence[NewChunk]) -> list[Chunk]:
    return await context.database.write(queue.enqueue, new)


async def rows(context: Context) -> list[Chunk]:
    return await context.database.read(chunks.of_meeting, MEETING_ID)


async def test_three_tries_with_longer_and_longer_pauses(context: Context, clock: FakeClock) -> None:
    queue = SqlTranscodeQueue(context)
    await enqueued(queue, context, [a_chunk()])
    for attempt, pause in [(1, 0.01), (2, 0.04)]:
        (chunk,) = await queue.claim(4)
        assert chunk.attempts == attempt
        await queue.failed(chunk, f"reason {attempt}")
        (row,) = await rows(context)
        assert (row.transcode_status, row.error, row.owner) == (TranscodeStatus.QUEUED, f"reason {attempt}", None)
        clock.advance(pause * 0.9)
        assert await queue.claim(4) == []
        clock.advance(pause * 0.1 + 1e-6)
    (chunk,) = await queue.claim(4)
    await queue.failed(chunk, "reason 3")
    (row,) = await rows(context)
    assert (row.transcode_status, row.error, row.attempts) == (TranscodeStatus.FAILED, "reason 3", 3)
    assert row.completed_at == context.clock.now()
    clock.advance(1e6)
    assert await queue.claim(4) == []


async def test_some_faults_are_for_good(context: Context) -> None:
    queue = SqlTranscodeQueue(context)
    await enqueued(queue, context, [a_chunk()])
    (chunk,) = await queue.claim(4)
    await queue.failed(chunk, "its source is gone", for_good=True)
    (row,) = await rows(context)
    assert (row.transcode_status, row.attempts) == (TranscodeStatus.FAILED, 1)


async def test_done(context: Context, clock: FakeClock) -> None:
    queue = SqlTranscodeQueue(context)
    await enqueued(queue, context, [a_chunk(0), a_chunk(1)])
    claimed = await queue.claim(4)
    clock.advance(5)
    assert await queue.done([(chunk, transcoded("ab" * 32)) for chunk in claimed]) == claimed
    assert {(r.transcode_status, r.sha256, r.owner, r.lease_expires_at) for r in await rows(context)} == {
        (TranscodeStatus.DONE, "ab" * 32, None, None)
    }
    assert {row.stretches for row in await rows(context)} == {'{"heard":[[0,480]],"lost":[],"concealed":0}'}
    assert {(row.completed_at - START).total_seconds() for row in await rows(context) if row.completed_at} == {5.0}


async def test_a_dead_workers_job_is_taken_over_when_its_lease_ends(
    context: Context, new_context: NewContext, clock: FakeClock
) -> None:
    slow, heir = SqlTranscodeQueue(context), SqlTranscodeQueue(new_context())
    await enqueued(slow, context, [a_chunk()])
    (lost,) = await slow.claim(4)
    clock.advance(context.settings.lease_seconds - 0.1)
    assert await heir.claim(4) == []
    clock.advance(0.1)
    (taken,) = await heir.claim(4)
    assert taken.id == lost.id
    assert taken.owner != lost.owner
    assert await slow.done([(lost, transcoded("00" * 32))]) == [], "it is too late"
    await slow.failed(lost, "I was slow")
    await slow.give_back([lost])
    assert (await rows(context))[0].owner == taken.owner
    assert await heir.done([(taken, transcoded("11" * 32))]) == [taken]
    assert (await rows(context))[0].sha256 == "11" * 32


async def test_a_lease_that_is_renewed_does_not_end(
    context: Context, new_context: NewContext, clock: FakeClock
) -> None:
    slow, other = SqlTranscodeQueue(context), SqlTranscodeQueue(new_context())
    await enqueued(slow, context, [a_chunk()])
    claimed = await slow.claim(4)
    for _ in range(5):
        clock.advance(context.settings.lease_seconds * 0.9)
        await slow.renew(claimed)
        assert await other.claim(4) == []
    clock.advance(context.settings.lease_seconds)
    (taken,) = await other.claim(4)
    await slow.renew(claimed)
    assert (await rows(context))[0].lease_expires_at == taken.lease_expires_at, "it is not slow's any more"


async def test_a_job_that_kills_its_workers_fails(context: Context, clock: FakeClock) -> None:
    queue = SqlTranscodeQueue(context)
    await enqueued(queue, context, [a_chunk(0), a_chunk(1)])
    for _ in range(context.settings.transcode_attempts):
        assert len(await queue.claim(1)) == 1
        clock.advance(context.settings.lease_seconds)
    assert [chunk.start_sample for chunk in await queue.claim(4)] == [480_000], "its neighbour goes on"
    failed, _ = await rows(context)
    assert failed.transcode_status is TranscodeStatus.FAILED
    assert "worker" in str(failed.error)


async def test_what_was_not_worked_on_is_given_back(context: Context) -> None:
    queue = SqlTranscodeQueue(context)
    await enqueued(queue, context, [a_chunk(n) for n in range(3)])
    claimed = await queue.claim(2)
    await queue.give_back(claimed)
    again = await queue.claim(4)
    assert [(chunk.start_sample // 480_000, chunk.attempts) for chunk in again] == [(0, 1), (1, 1), (2, 1)]


async def test_two_recorders_never_work_on_one_chunk(context: Context, new_context: NewContext) -> None:
    queues = [SqlTranscodeQueue(context), SqlTranscodeQueue(new_context())]
    made = await enqueued(queues[0], context, [a_chunk(n) for n in range(40)])
    worked_on: list[int] = []

    async def work(queue: SqlTranscodeQueue) -> None:
        while claimed := await queue.claim(3):
            worked_on.extend(chunk.id for chunk in claimed)
            await queue.done([(chunk, transcoded("00" * 32)) for chunk in claimed])

    await asyncio.gather(*(work(queue) for queue in queues * 2))
    assert sorted(worked_on) == [chunk.id for chunk in made]
