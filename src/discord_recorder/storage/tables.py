"""The SQL tables, as SQLAlchemy Core sees them; `migrations/` makes them."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: aware in Python, without zone in SQL."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store in UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Give back aware."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata: Final = MetaData()

meetings: Final = Table(
    "meetings",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("channel_id", String(20), nullable=False),
    Column("guild_id", String(20)),
    Column("user_id", String(20)),
    Column("title", Text),
    Column("status", String(16), nullable=False),
    Column("end_reason", Text),
    Column("error", Text),
    Column("owner", Text),
    Column("recovered", Boolean, nullable=False, server_default=false()),
    Column("paused_dropped_bytes", Integer, nullable=False, server_default="0"),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("duration_samples", Integer),
    Column("packets", Text),
    Index("ix_meetings_status", "status"),
)

speakers: Final = Table(
    "speakers",
    metadata,
    Column("meeting_id", String(16), primary_key=True),
    Column("track", String(20), primary_key=True),
    Column("name", Text),
)

marks: Final = Table(
    "marks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("meeting_id", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("track", String(20)),
    Column("at_sample", Integer, nullable=False),
    Column("sample_count", Integer, nullable=False, server_default="0"),
    Column("wall_at", UtcDateTime, nullable=False),
    Column("wall_ms", Integer, nullable=False, server_default="0"),
    Column("reason", Text),
    Column("user_id", String(20)),
    Column("text", Text),
    Index("ix_marks_place", "meeting_id", "at_sample"),
)

deletions: Final = Table(
    "deletions",
    metadata,
    Column("meeting_id", String(16), primary_key=True),
)

temp_recordings: Final = Table(
    "temp_recordings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("meeting_id", String(16), nullable=False),
    Column("track", String(20), nullable=False),
    Column("guild_id", String(20)),
    Column("start_sample", Integer, nullable=False),
    Column("sample_count", Integer, nullable=False),
    Column("preroll_samples", Integer, nullable=False),
    Column("source_key", Text, nullable=False),
    Column("mp3_key", Text, nullable=False),
    Column("transcode_status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("lease_expires_at", Float),
    Column("not_before", Float, nullable=False, server_default="0"),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    Column("sha256", String(64)),
    Column("cleaned", Boolean, nullable=False, server_default=false()),
    Column("stretches", Text),
    UniqueConstraint("meeting_id", "track", "start_sample", name="uq_temp_recordings_place"),
    Index("ix_temp_recordings_status", "transcode_status", "not_before"),
)

recordings: Final = Table(
    "recordings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("meeting_id", String(16), nullable=False, unique=True),
    Column("guild_id", String(20)),
    Column("channel_id", String(20), nullable=False),
    Column("user_id", String(20)),
    Column("title", Text),
    Column("status", String(16), nullable=False),
    Column("recovered", Boolean, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=False),
    Column("manifest_key", Text),
    Column("duration_samples", Integer),
)

recording_tracks: Final = Table(
    "recording_tracks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("recording_id", Integer, ForeignKey("recordings.id", ondelete="CASCADE"), nullable=False),
    Column("track", String(20), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("name", Text),
    Column("key", Text, nullable=False),
    Column("master_key", Text),
    Column("samples", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("heard_samples", Integer),
    Column("lost_samples", Integer),
    Column("concealed_samples", Integer),
    Column("undecryptable_samples", Integer),
    Column("longest_gap_samples", Integer),
    Column("mix_gains", Text),
    UniqueConstraint("recording_id", "track", name="uq_recording_tracks_track"),
)
