"""First tables: meetings, speakers, temp recordings, recordings."""

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Make the tables of version 0.1."""
    op.create_table(
        "meetings",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("channel_id", sa.String(20), nullable=False),
        sa.Column("guild_id", sa.String(20)),
        sa.Column("user_id", sa.String(20)),
        sa.Column("title", sa.Text),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("end_reason", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("recovered", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("paused_dropped_bytes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("ended_at", sa.DateTime),
    )
    op.create_index("ix_meetings_status", "meetings", ["status"])
    op.create_table(
        "speakers",
        sa.Column("meeting_id", sa.String(16), primary_key=True),
        sa.Column("track", sa.String(20), primary_key=True),
        sa.Column("name", sa.Text),
    )
    op.create_table("deletions", sa.Column("meeting_id", sa.String(16), primary_key=True))
    op.create_table(
        "temp_recordings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("meeting_id", sa.String(16), nullable=False),
        sa.Column("track", sa.String(20), nullable=False),
        sa.Column("guild_id", sa.String(20)),
        sa.Column("start_sample", sa.Integer, nullable=False),
        sa.Column("sample_count", sa.Integer, nullable=False),
        sa.Column("preroll_samples", sa.Integer, nullable=False),
        sa.Column("source_key", sa.Text, nullable=False),
        sa.Column("mp3_key", sa.Text, nullable=False),
        sa.Column("transcode_status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.Text),
        sa.Column("lease_expires_at", sa.Float),
        sa.Column("not_before", sa.Float, nullable=False, server_default="0"),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("completed_at", sa.DateTime),
        sa.Column("sha256", sa.String(64)),
        sa.Column("cleaned", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.UniqueConstraint("meeting_id", "track", "start_sample", name="uq_temp_recordings_place"),
    )
    op.create_index("ix_temp_recordings_status", "temp_recordings", ["transcode_status", "not_before"])
    op.create_table(
        "recordings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("meeting_id", sa.String(16), nullable=False, unique=True),
        sa.Column("guild_id", sa.String(20)),
        sa.Column("channel_id", sa.String(20), nullable=False),
        sa.Column("user_id", sa.String(20)),
        sa.Column("title", sa.Text),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("recovered", sa.Boolean, nullable=False),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("ended_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "recording_tracks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("recording_id", sa.Integer, sa.ForeignKey("recordings.id", ondelete="CASCADE"), nullable=False),
        sa.Column("track", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("master_key", sa.Text),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.UniqueConstraint("recording_id", "track", name="uq_recording_tracks_track"),
    )


def downgrade() -> None:
    """Drop everything."""
    for table in ("recording_tracks", "recordings", "temp_recordings", "deletions", "speakers", "meetings"):
        op.drop_table(table)
