"""discord-recorder: records Discord voice channels and never loses audio.

The public names. See the README for how they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

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
    InvalidNoteError,
    MeetingActiveError,
    MeetingExistsError,
    MeetingNotFoundError,
    NotAudioError,
    ServicesClosedError,
    SessionEndedError,
    SettingsError,
    StorageError,
    UserError,
    VoiceChannelError,
    VoiceConnectionError,
)
from discord_recorder.ids import generate_16_char_uuid
from discord_recorder.version import __version__

if TYPE_CHECKING:
    from discord_recorder.config import Settings
    from discord_recorder.recording.session.handler import DiscordSessionHandler
    from discord_recorder.services.manager import ServicesManager, get_services_manager
    from discord_recorder.services.recorder import DiscordRecorderManagerService
    from discord_recorder.storage.records import TranscodeStatus

_LOADED_WHEN_USED: Final = {
    "DiscordRecorderManagerService": "discord_recorder.services.recorder",
    "DiscordSessionHandler": "discord_recorder.recording.session.handler",
    "ServicesManager": "discord_recorder.services.manager",
    "Settings": "discord_recorder.config",
    "TranscodeStatus": "discord_recorder.storage.records",
    "get_services_manager": "discord_recorder.services.manager",
}
"""Names whose modules take a second to load, all together, and that `discord-recorder --help` does not need."""

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
    "InvalidNoteError",
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
    "VoiceChannelError",
    "VoiceConnectionError",
    "__version__",
    "generate_16_char_uuid",
    "get_services_manager",
]


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LOADED_WHEN_USED[name]), name)


def __dir__() -> list[str]:
    return __all__
