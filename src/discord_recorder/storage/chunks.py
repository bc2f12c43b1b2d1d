"""Queries on `temp_recordings`: the single truth of every transcode. Each works in the transaction it is given."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from discord_recorder.ids import MeetingId
from discord_recorder.storage.records import Chunk, MeetingStatus, NewChunk, TranscodeStatus
from discord_recorder.storage.stretches import Stretches
from discord_recorder.storage.tables import meetings, temp_recordings

_PENDING = (TranscodeStatus.QUEUED, TranscodeStatus.IN_PROGRESS)
_table = temp_recordings
_NEW_COLUMNS = tuple(NewChunk.__dataclass_fields__)

# Statements of every chunk's way are made once: making one costs more than running it.

_ADD = (
    insert(_table)
    .on_conflict_do_nothing(index_elements=["meeting_id", "track", "start_sample"])
    .returning(*_table.columns)
)

_PENDING_OF_MEETING = (
    select(_table.c.id)
    .where(and_(_table.c.meeting_id == bindparam("meeting"), _table.c.transcode_status.in_(_PENDING)))
    .limit(1)
)

_DUE = or_(
    and_(_table.c.transcode_status == TranscodeStatus.QUEUED, _table.c.not_before <= bindparam("now")),
    and_(_table.c.transcode_status == TranscodeStatus.IN_PROGRESS, _table.c.lease_expires_at <= bindparam("now")),
)

_CLAIM = (
    update(_table)
    .where(
        and_(
            _table.c.id.in_(
                select(_table.c.id).where(_DUE).order_by(_table.c.id).limit(bindparam("at_most")).scalar_subquery()
            ),
            _DUE,
        )
    )
    .values(
        transcode_status=TranscodeStatus.IN_PROGRESS,
        owner=bindparam("new_owner"),
        lease_expires_at=bindparam("lease_until"),
        attempts=_table.c.attempts + 1,
    )
    .returning(*_table.columns)
)

_DUE_AT = case(
    (_table.c.transcode_status == TranscodeStatus.QUEUED, _table.c.not_before), else_=_table.c.lease_expires_at
)
_NEXT_DUE = select(func.min(_DUE_AT)).where(_table.c.transcode_status.in_(_PENDING))

_DONE = (
    update(_table)
    .where(
        and_(
            _table.c.id == bindparam("claimed_id"),
            _table.c.transcode_status == TranscodeStatus.IN_PROGRESS,
            _table.c.owner == bindparam("claimed_by"),
            _table.c.attempts == bindparam("attempt"),
        )
    )
    .values(
        transcode_status=TranscodeStatus.DONE,
        owner=None,
        lease_expires_at=None,
        sha256=bindparam("sha256_of_mp3"),
        stretches=bindparam("stretches_of_chunk"),
        completed_at=bindparam("done_at"),
        error=None,
    )
)


def add(tx: Connection, new: Sequence[NewChunk], created_at: datetime) -> list[Chunk]:
    """Insert sealed chunks as QUEUED and give their rows; one whose place is taken already is passed over."""
    if not new:
        return []
    rows = [
        {name: getattr(chunk, name) for name in _NEW_COLUMNS}
        | {"transcode_status": TranscodeStatus.QUEUED, "created_at": created_at}
        for chunk in new
    ]
    return [Chunk.from_row(made) for row in rows for made in tx.execute(_ADD, row).mappings()]


def of_meeting(tx: Connection, meeting_id: MeetingId, *statuses: TranscodeStatus, from_id: int = 0) -> list[Chunk]:
    """A meeting's chunks (in those statuses if any are named) in the order of track and session time."""
    query = select(_table).where(and_(_table.c.meeting_id == meeting_id, _table.c.id >= from_id))
    if statuses:
        query = query.where(_table.c.transcode_status.in_(statuses))
    rows = tx.execute(query.order_by(_table.c.track, _table.c.start_sample))
    return [Chunk.from_row(row) for row in rows.mappings()]


def since(tx: Connection, meeting_id: MeetingId, from_id: int, also: Sequence[int]) -> list[Chunk]:
    """A meeting's chunks from that id on, and those of the other ids, in the order of track and session time."""
    of_interest = or_(_table.c.id >= from_id, _table.c.id.in_(also))
    query = select(_table).where(and_(_table.c.meeting_id == meeting_id, of_interest))
    rows = tx.execute(query.order_by(_table.c.track, _table.c.start_sample))
    return [Chunk.from_row(row) for row in rows.mappings()]


def count_by_status(tx: Connection, meeting_id: MeetingId) -> dict[TranscodeStatus, int]:
    """How many chunks of a meeting are in each status; every status is there."""
    query = (
        select(_table.c.transcode_status, func.count())
        .where(_table.c.meeting_id == meeting_id)
        .group_by(_table.c.transcode_status)
    )
    counts = {TranscodeStatus(status): number for status, number in tx.execute(query)}
    return {status: counts.get(status, 0) for status in TranscodeStatus}


def is_pending(tx: Connection, meeting_id: MeetingId) -> bool:
    """True when the meeting has chunks QUEUED or IN_PROGRESS."""
    return tx.execute(_PENDING_OF_MEETING, {"meeting": meeting_id}).first() is not None


def claim(tx: Connection, *, owner: str, now: float, lease_until: float, limit: int) -> list[Chunk]:
    """Take up to `limit` due chunks, oldest first: QUEUED ones, and those whose owner's lease has ended.

    The update repeats the conditions of the choice, so a chunk that another worker took meanwhile is left alone.
    """
    values = {"now": now, "new_owner": owner, "lease_until": lease_until, "at_most": limit}
    rows = tx.execute(_CLAIM, values).mappings().all()
    return sorted((Chunk.from_row(row) for row in rows), key=lambda chunk: chunk.id)


def next_due(tx: Connection) -> float | None:
    """When the next chunk becomes due (seconds since the epoch), None when none is pending."""
    value = tx.execute(_NEXT_DUE).scalar_one()
    return None if value is None else float(value)


def done(tx: Connection, chunk: Chunk, sha256: str, stretches: Stretches, completed_at: datetime) -> bool:
    """Set a chunk to DONE; False when the job is not this owner's any more (then nothing changes)."""
    claimed = {"claimed_id": chunk.id, "claimed_by": chunk.owner, "attempt": chunk.attempts}
    result = {"sha256_of_mp3": sha256, "stretches_of_chunk": stretches.to_json(), "done_at": completed_at}
    return tx.execute(_DONE, claimed | result).rowcount == 1


def settle(tx: Connection, chunk: Chunk, /, **values: Any) -> bool:
    """End an attempt with these values; False when the job is not this owner's any more (then nothing changes)."""
    statement = update(_table).where(_still_claimed(chunk)).values(owner=None, lease_expires_at=None, **values)
    return (tx.execute(statement)).rowcount == 1


def renew(tx: Connection, claimed: Sequence[Chunk], lease_until: float) -> None:
    """Set new leases on the chunks whose attempt is still the one that was claimed."""
    for chunk in claimed:
        tx.execute(update(_table).where(_still_claimed(chunk)).values(lease_expires_at=lease_until))


def mark_cleaned(tx: Connection, chunk_ids: Sequence[int]) -> None:
    """Note that the sources of these chunks are deleted."""
    tx.execute(update(_table).where(_table.c.id.in_(chunk_ids)).values(cleaned=True))


def keep_sources(tx: Connection, chunk_ids: Sequence[int], now: datetime) -> None:
    """Note that the MP3s of these DONE chunks are in the recording, and only their sources are still of use.

    For the cleanup they are as old as each other from now on: it takes all of them or none.
    """
    for start in range(0, len(chunk_ids), 500):
        some = _table.c.id.in_(chunk_ids[start : start + 500])
        tx.execute(update(_table).where(some).values(sha256=None, created_at=now))


def requeue_dead(tx: Connection, alive: Iterable[str]) -> int:
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
    return (tx.execute(statement)).rowcount


def retry_failed(tx: Connection, meeting_id: MeetingId) -> int:
    """Queue a meeting's FAILED chunks with fresh attempts; how many."""
    statement = (
        update(_table)
        .where(and_(_table.c.meeting_id == meeting_id, _table.c.transcode_status == TranscodeStatus.FAILED))
        .values(transcode_status=TranscodeStatus.QUEUED, attempts=0, not_before=0, error=None, completed_at=None)
    )
    return (tx.execute(statement)).rowcount


def remove(tx: Connection, chunk_ids: Sequence[int]) -> None:
    """Delete rows; their files go after the commit."""
    for start in range(0, len(chunk_ids), 500):
        tx.execute(delete(_table).where(_table.c.id.in_(chunk_ids[start : start + 500])))


def outdated(tx: Connection, created_before: datetime) -> list[Chunk]:
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
    return [Chunk.from_row(row) for row in (tx.execute(query.order_by(_table.c.id))).mappings()]


def _still_claimed(chunk: Chunk) -> ColumnElement[bool]:
    """The condition that a chunk is in the attempt in which it was claimed, and nobody took it over."""
    return and_(
        _table.c.id == chunk.id,
        _table.c.transcode_status == TranscodeStatus.IN_PROGRESS,
        _table.c.owner == chunk.owner,
        _table.c.attempts == chunk.attempts,
    )
