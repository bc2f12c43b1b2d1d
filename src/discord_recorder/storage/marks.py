"""Queries on marks: what happened to meetings on their clocks. Each works in the transaction it is given."""

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from discord_recorder.ids import MeetingId
from discord_recorder.storage.records import Mark, MarkKind
from discord_recorder.storage.tables import marks

_VALUES = tuple(name for name in Mark.__dataclass_fields__ if name != "id")

_ADD = insert(marks).returning(marks.c.id)

_LENGTHEN = (
    update(marks)
    .where(marks.c.id == bindparam("mark_id"))
    .values(sample_count=bindparam("samples"), wall_ms=bindparam("milliseconds"))
)


def add(tx: Connection, meeting_id: MeetingId, new: Iterable[Mark]) -> list[int]:
    """Insert marks; gives the ids of their rows, in the same order."""
    rows = [{name: getattr(mark, name) for name in _VALUES} | {"meeting_id": meeting_id} for mark in new]
    return [tx.execute(_ADD, row).scalar_one() for row in rows]


def lengthen(tx: Connection, mark_id: int, *, sample_count: int, wall_ms: int) -> None:
    """Set how long something that goes on has lasted so far."""
    tx.execute(_LENGTHEN, {"mark_id": mark_id, "samples": sample_count, "milliseconds": wall_ms})


def of_meeting(tx: Connection, meeting_id: MeetingId, *kinds: MarkKind) -> list[Mark]:
    """A meeting's marks (of those kinds if any are named) in the order of session time."""
    query = select(marks).where(marks.c.meeting_id == meeting_id)
    if kinds:
        query = query.where(marks.c.kind.in_(kinds))
    return [Mark.from_row(row) for row in tx.execute(query.order_by(marks.c.at_sample, marks.c.id)).mappings()]


def remove(tx: Connection, meeting_id: MeetingId) -> None:
    """Forget a meeting's marks."""
    tx.execute(delete(marks).where(marks.c.meeting_id == meeting_id))
