"""Queries on finished recordings and their tracks; each works in the transaction it is given."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, delete, insert, select, update

from discord_recorder.ids import MeetingId
from discord_recorder.storage.records import Meeting, Recording, RecordingStatus, RecordingTrack, Track
from discord_recorder.storage.tables import recording_tracks, recordings


def add(
    tx: Connection,
    meeting: Meeting,
    *,
    status: RecordingStatus,
    ended_at: datetime,
    tracks: Iterable[RecordingTrack],
    duration_samples: int | None = None,
    manifest_key: str | None = None,
) -> None:
    """Insert the recording of a meeting with all its tracks."""
    values = {
        name: getattr(meeting, name)
        for name in ("guild_id", "channel_id", "user_id", "title", "recovered", "started_at")
    }
    values |= {"duration_samples": duration_samples, "manifest_key": manifest_key}
    statement = insert(recordings).values(meeting_id=meeting.id, status=status, ended_at=ended_at, **values)
    recording_id = (tx.execute(statement.returning(recordings.c.id))).scalar_one()
    _add_tracks(tx, recording_id, tracks)


def replace_tracks(
    tx: Connection,
    recording: Recording,
    *,
    status: RecordingStatus,
    tracks: Sequence[RecordingTrack],
    dropped: Sequence[Track] = (),
) -> None:
    """Set a recording's status, and put new rows in the place of its tracks of the same keys and of dropped ones."""
    tx.execute(update(recordings).where(recordings.c.id == recording.id).values(status=status))
    replaced = [*dropped, *(track.track for track in tracks)]
    gone = and_(recording_tracks.c.recording_id == recording.id, recording_tracks.c.track.in_(replaced))
    tx.execute(delete(recording_tracks).where(gone))
    _add_tracks(tx, recording.id, tracks)


def find(
    tx: Connection,
    *,
    meeting_id: MeetingId | None = None,
    guild_id: str | None = None,
    channel_id: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[Recording]:
    """Recordings that match all given, newest first."""
    query = select(recordings).order_by(recordings.c.started_at.desc(), recordings.c.id.desc())
    for column, value in (("meeting_id", meeting_id), ("guild_id", guild_id), ("channel_id", channel_id)):
        if value is not None:
            query = query.where(recordings.c[column] == value)
    if limit is not None or offset:
        query = query.limit(-1 if limit is None else limit).offset(offset)
    rows = (tx.execute(query)).mappings().all()
    tracks: dict[int, list[RecordingTrack]] = {row["id"]: [] for row in rows}
    owned = select(recording_tracks).where(recording_tracks.c.recording_id.in_(tracks))
    for row in (tx.execute(owned.order_by(recording_tracks.c.id))).mappings():
        tracks[row["recording_id"]].append(RecordingTrack.from_row(row))
    return [Recording.from_row(row, tuple(tracks[row["id"]])) for row in rows]


def keys(tx: Connection) -> set[str]:
    """The storage keys that any recording names."""
    rows = [
        *tx.execute(select(recording_tracks.c.key, recording_tracks.c.master_key)),
        *tx.execute(select(recordings.c.manifest_key)),
    ]
    return {key for row in rows for key in row if key is not None}


def remove(tx: Connection, meeting_id: MeetingId) -> None:
    """Forget the recording of a meeting and its tracks."""
    tx.execute(delete(recordings).where(recordings.c.meeting_id == meeting_id))


def _add_tracks(tx: Connection, recording_id: int, tracks: Iterable[RecordingTrack]) -> None:
    names = RecordingTrack.__dataclass_fields__
    rows = [{name: getattr(track, name) for name in names} | {"recording_id": recording_id} for track in tracks]
    if rows:
        tx.execute(insert(recording_tracks), rows)
