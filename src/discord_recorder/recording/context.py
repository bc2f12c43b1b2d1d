"""What the parts of one running recorder share; made once by the services, handed to each part's constructor."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.config import Settings
from discord_recorder.ids import MeetingId
from discord_recorder.recording.clock import Clock
from discord_recorder.recording.ownership import ProcessRegistry
from discord_recorder.storage.database import Database
from discord_recorder.storage.files import RecordingStore
from discord_recorder.storage.records import Track


@dataclass(frozen=True, kw_only=True)
class Context:
    """Collaborators of the recording domain."""

    settings: Settings
    clock: Clock
    database: Database
    store: RecordingStore
    ffmpeg: Ffmpeg
    registry: ProcessRegistry
    encoders: asyncio.Semaphore = field(repr=False)
    """Bounds how many FFmpeg runs go on at once, whatever they are for."""

    @property
    def owner(self) -> str:
        """This recorder's id in `owner` columns."""
        return self.registry.own_id

    def meeting_folder(self, meeting_id: MeetingId) -> Path:
        """Where a meeting's chunks in work are."""
        return self.settings.temp_dir / meeting_id

    def track_folder(self, meeting_id: MeetingId, track: Track) -> Path:
        """Where a track's chunks in work are."""
        return self.meeting_folder(meeting_id) / track

    def temp_file(self, key: str) -> Path:
        """The file that a `source_key` or `mp3_key` names."""
        return self.settings.temp_dir / key

    def temp_key(self, file: Path) -> str:
        """How rows name a file of the temp folder, so that the data directory can be moved."""
        return file.relative_to(self.settings.temp_dir).as_posix()
