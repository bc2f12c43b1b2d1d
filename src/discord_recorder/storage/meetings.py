"""Queries on meetings and their speakers; each works in the transaction it is given."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, and_, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from discord_recorder.ids import MeetingId
from discord_recorder.storage import marks
from discord_recorder.storage.records import LIVE, Meeting, MeetingStatus, Track
from discord_recorder.storage.tables import deletions, meetings, speakers


def add(tx: Connection, meeting: Meeting) -> bool:
    """Insert a new meeting; False when its id was used before."""
    values = {column.name: getattr(meeting, column.name) for column in meetings.columns}
    result = tx.execute(insert(meetings).values(**values).on_conflict_do_nothing(index_elements=["id"]))
    return result.rowcount == 1


def get(tx: Connection, meeting_id: MeetingId) -> Meeting | None:
    """The meeting of that id."""
    row = (tx.execute(select(meetings).where(meetings.c.id == meeting_id))).mappings().one_or_none()
    return None if row is None else Meeting.from_row(row)


def find(
    tx: Connection, *statuses: MeetingStatus, channel_id: str | None = None, owner: str | None = None
) -> list[Meeting]:
    """Meetings in any of the statuses, oldest first; of one channel or one owner if given."""
    query = select(meetings).where(meetings.c.status.in_(statuses)).order_by(meetings.c.started_at)
    if channel_id is not None:
        query = query.where(meetings.c.channel_id == channel_id)
    if owner is not None:
        query = query.where(meetings.c.owner == owner)
    return [Meeting.from_row(row) for row in (tx.execute(query)).mappings()]


def change(tx: Connection, meeting_id: MeetingId, /, **values: Any) -> None:
    """Set columns of a meeting."""
    tx.execute(update(meetings).where(meetings.c.id == meeting_id).values(**values))


def take_over(tx: Connection, meeting: Meeting, owner: str) -> bool:
    """Make `owner` the owner if it still is the one that was read; False when somebody else was faster."""
    same_owner = meetings.c.owner.is_(None) if meeting.owner is None else meetings.c.owner == meeting.owner
    unfinished = meetings.c.status.in_((*LIVE, MeetingStatus.PROCESSING))
    statement = update(meetings).where(and_(meetings.c.id == meeting.id, same_owner, unfinished)).values(owner=owner)
    return (tx.execute(statement)).rowcount == 1


def disown(tx: Connection, owner: str) -> None:
    """Give up all meetings of an owner that leaves in good order."""
    tx.execute(update(meetings).where(meetings.c.owner == owner).values(owner=None))


def remove(tx: Connection, meeting_id: MeetingId) -> None:
    """Forget a meeting, its speakers and its marks."""
    marks.remove(tx, meeting_id)
    tx.execute(delete(speakers).where(speakers.c.meeting_id == meeting_id))
    tx.execute(delete(meetings).where(meetings.c.id == meeting_id))


def note_deletion(tx: Connection, meeting_id: MeetingId) -> None:
    """Remember that files of a deleted meeting may still be there; only they, not the meeting, are remembered."""
    tx.execute(insert(deletions).values(meeting_id=meeting_id).on_conflict_do_nothing())


def forget_deletions(tx: Connection, meeting_ids: Iterable[MeetingId]) -> None:
    """The files of these deleted meetings are gone as well."""
    tx.execute(delete(deletions).where(deletions.c.meeting_id.in_(list(meeting_ids))))


def deleted(tx: Connection) -> set[MeetingId]:
    """Deleted meetings of which files may still be there."""
    return {MeetingId(row[0]) for row in tx.execute(select(deletions.c.meeting_id))}


def ids(tx: Connection) -> dict[MeetingId, MeetingStatus]:
    """Every known meeting and its status."""
    rows = tx.execute(select(meetings.c.id, meetings.c.status))
    return {MeetingId(meeting_id): MeetingStatus(status) for meeting_id, status in rows}


def name_speakers(tx: Connection, meeting_id: MeetingId, names: Mapping[Track, str | None]) -> None:
    """Set display names; None only makes the speaker known and keeps a name it has."""
    for track, name in names.items():
        statement = insert(speakers).values(meeting_id=meeting_id, track=track, name=name)
        key = ["meeting_id", "track"]
        if name is None:
            statement = statement.on_conflict_do_nothing(index_elements=key)
        else:
            statement = statement.on_conflict_do_update(index_elements=key, set_={"name": name})
        tx.execute(statement)


def speaker_names(tx: Connection, meeting_id: MeetingId) -> dict[Track, str | None]:
    """Display names of all speakers of a meeting that were heard or named."""
    rows = tx.execute(select(speakers.c.track, speakers.c.name).where(speakers.c.meeting_id == meeting_id))
    return {Track(track): name for track, name in rows}


def unowned(tx: Connection, alive: Iterable[str]) -> list[Meeting]:
    """Unfinished meetings whose owner is none of the `alive` ones, oldest first."""
    orphaned = or_(meetings.c.owner.is_(None), meetings.c.owner.not_in(list(alive)))
    query = select(meetings).where(and_(meetings.c.status.in_((*LIVE, MeetingStatus.PROCESSING)), orphaned))
    return [Meeting.from_row(row) for row in (tx.execute(query.order_by(meetings.c.started_at))).mappings()]
