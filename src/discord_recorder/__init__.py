"""discord-recorder: records Discord voice channels and never loses audio.

The public names. See the README for how they are used.
"""

from discord_recorder.config import Settings
from discord_recorder.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseTooNewError,
    DiscordRecorderError,
    FfmpegError,
    FfmpegNotFoundError,
    FfmpegTimeoutError,
    InvalidAudioError,
    InvalidIdError,
    MeetingActiveError,
    MeetingExistsError,
    MeetingNotFoundError,
    NotAudioError,
    ServicesClosedError,
    SessionEndedError,
    SettingsError,
    StorageError,
    UserError,
)
from discord_recorder.ids import generate_16_char_uuid
from discord_recorder.recording.session import DiscordSessionHandler
from discord_recorder.services.manager import ServicesManager, get_services_manager
from discord_recorder.services.recorder import DiscordRecorderManagerService
from discord_recorder.storage.records import TranscodeStatus

__version__ = "0.1.0"

__all__ = [
    "DatabaseBusyError",
    "DatabaseError",
    "DatabaseTooNewError",
    "DiscordRecorderError",
    "DiscordRecorderManagerService",
    "DiscordSessionHandler",
    "FfmpegError",
    "FfmpegNotFoundError",
    "FfmpegTimeoutError",
    "InvalidAudioError",
    "InvalidIdError",
    "MeetingActiveError",
    "MeetingExistsError",
    "MeetingNotFoundError",
    "NotAudioError",
    "ServicesClosedError",
    "ServicesManager",
    "SessionEndedError",
    "Settings",
    "SettingsError",
    "StorageError",
    "TranscodeStatus",
    "UserError",
    "__version__",
    "generate_16_char_uuid",
    "get_services_manager",
]
