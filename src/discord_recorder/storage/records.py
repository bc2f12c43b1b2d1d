"""Rows as values: what the queries give and take."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NewType

from discord_recorder.ids import MeetingId

Track = NewType("Track", str)
"""Key of a track in its meeting, and its folder: the speaker's user id, `unknown`, or `mix`."""

UNKNOWN_TRACK: Final = Track("unknown")
"""Track of audio that was pushed without any user id."""

MIX_TRACK: Final = Track("mix")
"""Track that sums all speakers."""


class TranscodeStatus(StrEnum):
    """Where a chunk is on its way from source to MP3."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    DONE = "done"
    FAILED = "failed"


class MeetingStatus(StrEnum):
    """Where a meeting is on its way to a recording."""

    RECORDING = "recording"
    PAUSED = "paused"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class MarkKind(StrEnum):
    """What a mark says happened at its place on the session clock."""

    CONNECTED = "connected"
    """A connection to a voice server began."""
    DISCONNECTED = "disconnected"
    """Nothing was heard of anybody, for the reason given."""
    PAUSED = "paused"
    """The session was paused: of no length where the pause stopped session time."""
    NOTE = "note"
    """Somebody marked the moment with a text."""
    UNDECRYPTABLE = "undecryptable"
    """Audio of a track could not be decrypted."""
    OPTED_OUT = "opted_out"
    """The speaker of a track did not want to be recorded."""
    LOST = "lost"
    """Audio of a track that was sent did not come."""
    ENDED = "ended"
    """The voice connection was over."""


LIVE: Final = (MeetingStatus.RECORDING, MeetingStatus.PAUSED)
"""The statuses of a meeting that has a session."""


class RecordingStatus(StrEnum):
    """Whether a recording holds everything that was captured."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


class TrackKind(StrEnum):
    """One speaker, or the sum of all."""

    SPEAKER = "speaker"
    MIX = "mix"


def user_of(track: Track) -> str | None:
    """The user id of a speaker's track; None for the unknown speaker and the mix."""
    return None if track in (UNKNOWN_TRACK, MIX_TRACK) else track


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """One recorded call."""

    id: MeetingId
    channel_id: str
    guild_id: str | None
    user_id: str | None
    title: str | None
    status: MeetingStatus
    end_reason: str | None
    error: str | None
    owner: str | None
    recovered: bool
    paused_dropped_bytes: int
    started_at: datetime
    ended_at: datetime | None
    duration_samples: int | None = None
    """Length of the session, known when it has ended."""
    packets: str | None = None
    """JSON: what became of the packets of a live call, as far as it was stored."""

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> "Meeting":
        """From a `meetings` row."""
        return cls(**{**row, "status": MeetingStatus(row["status"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened to a meeting, at a place on its clock; of the whole session where no track is named."""

    kind: MarkKind
    at_sample: int
    """Session time, in samples."""
    wall_at: datetime
    """When it began."""
    sample_count: int = 0
    """How much session time it covers."""
    wall_ms: int = 0
    """How long it took, as far as that is known; of a pause it is not what `sample_count` tells."""
    track: Track | None = None
    reason: str | None = None
    user_id: str | None = None
    """Whose note it is."""
    text: str | None = None
    """What the note says."""
    id: int | None = None
    """Of its row; None for one that has none yet."""

    @property
    def end_sample(self) -> int:
        """Session time, in samples, at which it ends."""
        return self.at_sample + self.sample_count

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> "Mark":
        """From a `marks` row."""
        names = cls.__dataclass_fields__
        return cls(**{**{name: row[name] for name in names}, "kind": MarkKind(row["kind"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChunk:
    """A sealed chunk that has no row yet."""

    meeting_id: MeetingId
    track: Track
    guild_id: str | None
    start_sample: int
    sample_count: int
    preroll_samples: int
    source_key: str
    mp3_key: str

    @property
    def end_sample(self) -> int:
        """Session time, in samples, at which the chunk ends."""
        return self.start_sample + self.sample_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk(NewChunk):
    """A `temp_recordings` row: one chunk and the state of its transcode."""

    id: int
    transcode_status: TranscodeStatus
    attempts: int
    owner: str | None
    lease_expires_at: float | None
    not_before: float
    error: str | None
    created_at: datetime
    completed_at: datetime | None
    sha256: str | None
    cleaned: bool
    stretches: str | None = None
    """JSON: where something is heard, and what is lost, in samples of session time; None until the chunk is DONE."""

    @property
    def is_in_recording(self) -> bool:
        """Whether its MP3 was put into the recording, and it is kept for its source only."""
        return self.transcode_status is TranscodeStatus.DONE and self.sha256 is None

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> "Chunk":
        """From a `temp_recordings` row."""
        return cls(**{**row, "transcode_status": TranscodeStatus(row["transcode_status"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingTrack:
    """One file of a recording."""

    track: Track
    kind: TrackKind
    name: str | None
    key: str
    master_key: str | None
    samples: int
    size_bytes: int
    sha256: str
    heard_samples: int | None = None
    lost_samples: int | None = None
    concealed_samples: int | None = None
    """Of the lost ones, those that are concealed rather than silent."""
    undecryptable_samples: int | None = None
    longest_gap_samples: int | None = None
    mix_gains: str | None = None
    """JSON: how much louder the mix has it, from which frame on; None where speakers are not levelled."""

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> "RecordingTrack":
        """From a `recording_tracks` row."""
        names = cls.__dataclass_fields__
        return cls(**{**{name: row[name] for name in names}, "kind": TrackKind(row["kind"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a meeting was promoted to; `main` is the file to play first: the mix, or the only speaker."""

    id: int
    meeting_id: MeetingId
    guild_id: str | None
    channel_id: str
    user_id: str | None
    title: str | None
    status: RecordingStatus
    recovered: bool
    started_at: datetime
    ended_at: datetime
    tracks: tuple[RecordingTrack, ...]
    manifest_key: str | None = None
    duration_samples: int | None = None

    @property
    def keys(self) -> list[str]:
        """The storage keys of all its files."""
        named = [key for track in self.tracks for key in (track.key, track.master_key)]
        return [key for key in (*named, self.manifest_key) if key]

    @property
    def main(self) -> RecordingTrack:
        """The mix where there is one, else the longest track."""
        mixes = [track for track in self.tracks if track.kind is TrackKind.MIX]
        return mixes[0] if mixes else max(self.tracks, key=lambda track: track.samples)

    @classmethod
    def from_row(cls, row: Mapping[Any, Any], tracks: tuple[RecordingTrack, ...]) -> "Recording":
        """From a `recordings` row and its tracks."""
        return cls(**{**row, "status": RecordingStatus(row["status"])}, tracks=tracks)
