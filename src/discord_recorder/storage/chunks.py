"""Queries on `temp_recordings`: the single truth of every transcode. Each works in the transaction it is given."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from discord_recorder.ids import MeetingId
from discord_recorder.storage.records import Chunk, MeetingStatus, NewChunk, TranscodeStatus
from discord_recorder.storage.tables import meetings, temp_recordings

_PENDING = (TranscodeStatus.QUEUED, TranscodeStatus.IN_PROGRESS)
_table = temp_recordings
_NEW_COLUMNS = tuple(NewChunk.__dataclass_fields__)


async def add(tx: AsyncConnection, new: Sequence[NewChunk], created_at: datetime) -> list[Chunk]:
    """Insert sealed chunks as QUEUED and give their rows; one whose place is taken already is passed over."""
    if not new:
        return []
    rows = [
        {name: getattr(chunk, name) for name in _NEW_COLUMNS}
        | {"transcode_status": TranscodeStatus.QUEUED, "created_at": created_at}
        for chunk in new
    ]
    place = ["meeting_id", "track", "start_sample"]
    statement = insert(_table).on_conflict_do_nothing(index_elements=place).returning(*_table.columns)
    found: list[Chunk] = []
    for row in rows:
        found += [Chunk.from_row(made) for made in (await tx.execute(statement.values(**row))).mappings()]
    return found


async def of_meeting(
    tx: AsyncConnection, meeting_id: MeetingId, *statuses: TranscodeStatus, from_id: int = 0
) -> list[Chunk]:
    """A meeting's chunks (in those statuses if any are named) in the order of track and session time."""
    query = select(_table).where(and_(_table.c.meeting_id == meeting_id, _table.c.id >= from_id))
    if statuses:
        query = query.where(_table.c.transcode_status.in_(statuses))
    rows = await tx.execute(query.order_by(_table.c.track, _table.c.start_sample))
    return [Chunk.from_row(row) for row in rows.mappings()]


async def count_by_status(tx: AsyncConnection, meeting_id: MeetingId) -> dict[TranscodeStatus, int]:
    """How many chunks of a meeting are in each status; every status is there."""
    query = (
        select(_table.c.transcode_status, func.count())
        .where(_table.c.meeting_id == meeting_id)
        .group_by(_table.c.transcode_status)
    )
    counts = {TranscodeStatus(status): number for status, number in await tx.execute(query)}
    return {status: counts.get(status, 0) for status in TranscodeStatus}


async def pending_meetings(tx: AsyncConnection) -> set[MeetingId]:
    """Meetings that have chunks QUEUED or IN_PROGRESS."""
    query = select(_table.c.meeting_id).where(_table.c.transcode_status.in_(_PENDING)).distinct()
    return {MeetingId(row[0]) for row in await tx.execute(query)}


async def claim(tx: AsyncConnection, *, owner: str, now: float, lease_until: float, limit: int) -> list[Chunk]:
    """Take up to `limit` due chunks, oldest first: QUEUED ones, and those whose owner's lease has ended.

    The update repeats the conditions of the choice, so a chunk that another worker took meanwhile is left alone.
    """
    due = or_(
        and_(_table.c.transcode_status == TranscodeStatus.QUEUED, _table.c.not_before <= now),
        and_(_table.c.transcode_status == TranscodeStatus.IN_PROGRESS, _table.c.lease_expires_at <= now),
    )
    chosen = select(_table.c.id).where(due).order_by(_table.c.id).limit(limit).scalar_subquery()
    statement = (
        update(_table)
        .where(and_(_table.c.id.in_(chosen), due))
        .values(
            transcode_status=TranscodeStatus.IN_PROGRESS,
            owner=owner,
            lease_expires_at=lease_until,
            attempts=_table.c.attempts + 1,
        )
        .returning(*_table.columns)
    )
    rows = (await tx.execute(statement)).mappings().all()
    return sorted((Chunk.from_row(row) for row in rows), key=lambda chunk: chunk.id)


async def next_due(tx: AsyncConnection) -> float | None:
    """When the next chunk becomes due (seconds since the epoch), None when none is pending."""
    due_at = case(
        (_table.c.transcode_status == TranscodeStatus.QUEUED, _table.c.not_before), else_=_table.c.lease_expires_at
    )
    query = select(func.min(due_at)).where(_table.c.transcode_status.in_(_PENDING))
    value = (await tx.execute(query)).scalar_one()
    return None if value is None else float(value)


async def settle(tx: AsyncConnection, chunk: Chunk, **values: Any) -> bool:
    """End an attempt with these values; False when the job is not this owner's any more (then nothing changes)."""
    statement = update(_table).where(_still_claimed(chunk)).values(owner=None, lease_expires_at=None, **values)
    return (await tx.execute(statement)).rowcount == 1


async def renew(tx: AsyncConnection, claimed: Sequence[Chunk], lease_until: float) -> None:
    """Set new leases on the chunks whose attempt is still the one that was claimed."""
    for chunk in claimed:
        await tx.execute(update(_table).where(_still_claimed(chunk)).values(lease_expires_at=lease_until))


async def mark_cleaned(tx: AsyncConnection, chunk_ids: Sequence[int]) -> None:
    """Note that the sources of these chunks are deleted."""
    await tx.execute(update(_table).where(_table.c.id.in_(chunk_ids)).values(cleaned=True))


async def requeue_dead(tx: AsyncConnection, alive: Iterable[str]) -> int:
    """Queue again what is IN_PROGRESS at an owner that is none of the `alive` ones; how many.

    The attempt does not count: that a recorder was killed, however often, says nothing against the chunk.
    """
    statement = (
        update(_table)
        .where(and_(_table.c.transcode_status == TranscodeStatus.IN_PROGRESS, _table.c.owner.not_in(list(alive))))
        .values(
            transcode_status=TranscodeStatus.QUEUED,
            owner=None,
            lease_expires_at=None,
            not_before=0,
            attempts=_table.c.attempts - 1,
        )
    )
    return (await tx.execute(statement)).rowcount


async def retry_failed(tx: AsyncConnection, meeting_id: MeetingId) -> int:
    """Queue a meeting's FAILED chunks with fresh attempts; how many."""
    statement = (
        update(_table)
        .where(and_(_table.c.meeting_id == meeting_id, _table.c.transcode_status == TranscodeStatus.FAILED))
        .values(transcode_status=TranscodeStatus.QUEUED, attempts=0, not_before=0, error=None, completed_at=None)
    )
    return (await tx.execute(statement)).rowcount


async def remove(tx: AsyncConnection, chunk_ids: Sequence[int]) -> None:
    """Delete rows; their files go after the commit."""
    for start in range(0, len(chunk_ids), 500):
        await tx.execute(delete(_table).where(_table.c.id.in_(chunk_ids[start : start + 500])))


async def outdated(tx: AsyncConnection, created_before: datetime) -> list[Chunk]:
    """Chunks that nothing will need: older than that, of meetings that ended (or are unknown), and not FAILED.

    A FAILED chunk is the only copy of its audio, so only `retry` or deleting the meeting removes it.
    """
    needed = select(meetings.c.id).where(meetings.c.status.not_in((MeetingStatus.COMPLETED, MeetingStatus.FAILED)))
    query = select(_table).where(
        and_(
            _table.c.created_at < created_before,
            _table.c.meeting_id.not_in(needed),
            _table.c.transcode_status != TranscodeStatus.FAILED,
        )
    )
    return [Chunk.from_row(row) for row in (await tx.execute(query.order_by(_table.c.id))).mappings()]


def _still_claimed(chunk: Chunk) -> ColumnElement[bool]:
    """The condition that a chunk is in the attempt in which it was claimed, and nobody took it over."""
    return and_(
        _table.c.id == chunk.id,
        _table.c.transcode_status == TranscodeStatus.IN_PROGRESS,
        _table.c.owner == chunk.owner,
        _table.c.attempts == chunk.attempts,
    )
