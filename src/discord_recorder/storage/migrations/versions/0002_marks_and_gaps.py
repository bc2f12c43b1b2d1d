"""What happened to a meeting on its clock, and what is known of its gaps."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"

_NEW_COLUMNS: dict[str, dict[str, type[sa.Integer | sa.Text]]] = {
    "meetings": {"duration_samples": sa.Integer, "packets": sa.Text},
    "temp_recordings": {"stretches": sa.Text},
    "recordings": {"manifest_key": sa.Text, "duration_samples": sa.Integer},
    "recording_tracks": {
        "heard_samples": sa.Integer,
        "lost_samples": sa.Integer,
        "concealed_samples": sa.Integer,
        "undecryptable_samples": sa.Integer,
        "longest_gap_samples": sa.Integer,
        "mix_gains": sa.Text,
    },
}


def upgrade() -> None:
    """Make the table of marks; what earlier versions recorded has no durations, counters and gaps."""
    op.create_table(
        "marks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("meeting_id", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("track", sa.String(20)),
        sa.Column("at_sample", sa.Integer, nullable=False),
        sa.Column("sample_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("wall_at", sa.DateTime, nullable=False),
        sa.Column("wall_ms", sa.Integer, nullable=False, server_default="0"),
        sa.Column("reason", sa.Text),
        sa.Column("user_id", sa.String(20)),
        sa.Column("text", sa.Text),
    )
    op.create_index("ix_marks_place", "marks", ["meeting_id", "at_sample"])
    for table, columns in _NEW_COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind))


def downgrade() -> None:
    """Drop what was added."""
    for table, columns in _NEW_COLUMNS.items():
        for name in columns:
            op.drop_column(table, name)
    op.drop_table("marks")
