"""Every error this package raises on purpose, in one tree.

The message is written for the person who reads it: what is wrong, and what to do about it. `UserError` marks the
errors that a caller or an operator can mend; everything else below `DiscordRecorderError` is the machine's or ours.
"""


class DiscordRecorderError(Exception):
    """Root of all errors raised by discord-recorder."""


class UserError(DiscordRecorderError):
    """The request itself cannot be served; the message says how to change it."""


class InvalidIdError(UserError, ValueError):
    """An id is not what Discord or this recorder hands out."""


class MeetingExistsError(UserError):
    """A meeting id was used before; recordings are never overwritten."""


class MeetingNotFoundError(UserError, LookupError):
    """No meeting of that id is known here."""


class MeetingActiveError(UserError):
    """The meeting is still being recorded or processed, so it cannot be changed yet."""


class InvalidAudioError(UserError, ValueError):
    """Pushed audio is not s16le PCM, or it was placed where audio already is."""


class InvalidNoteError(UserError, ValueError):
    """The text of a note is empty or too long."""


class SessionEndedError(UserError):
    """Audio was pushed to a session that has been stopped."""


class NotAudioError(UserError):
    """A file holds no audio that FFmpeg can read."""


class SettingsError(UserError, ValueError):
    """A setting has a value that is not allowed; the message names both."""


class ServicesClosedError(UserError):
    """The services manager was closed, or belongs to an event loop that has ended."""


class StorageError(DiscordRecorderError):
    """A file could not be written, read or removed."""


class DatabaseError(DiscordRecorderError):
    """The database cannot be used."""


class DatabaseBusyError(DatabaseError):
    """Another process held the database's write lock for longer than the busy time-out."""


class DatabaseTooNewError(DatabaseError, UserError):
    """The database was written by a newer version of discord-recorder."""


class FfmpegError(DiscordRecorderError):
    """FFmpeg ended with an error; the message carries the end of what it printed."""


class FfmpegNotFoundError(FfmpegError, UserError):
    """No FFmpeg program is where the settings say."""


class FfmpegTimeoutError(FfmpegError):
    """FFmpeg did not end within its time limit and was killed with all its children."""


class Mp3Error(DiscordRecorderError, ValueError):
    """Bytes that should be MPEG-1 Layer III frames are not."""


class OpusError(DiscordRecorderError, ValueError):
    """Bytes that should be an Opus packet are not."""


class OggError(DiscordRecorderError, ValueError):
    """Bytes that should be an Ogg Opus stream are not, or cannot become one."""


class VoiceError(DiscordRecorderError):
    """Something about a live voice connection went wrong."""


class ParseError(VoiceError, ValueError):
    """Bytes or fields from the network are not what they should be."""


class ForgedPacketError(ParseError):
    """A datagram did not come from our voice server, or was damaged: its authentication tag is wrong."""


class DaveError(VoiceError):
    """A frame was not opened or sealed by end-to-end encryption; `reason` is a `voice.dave.DaveFault`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class VoiceGatewayError(VoiceError):
    """The voice gateway said what the protocol does not allow; the connection has to be made anew."""


class VoiceGatewayTimeoutError(VoiceGatewayError):
    """The voice gateway did not answer in time."""


class VoiceConnectionError(VoiceError):
    """A voice channel could not be joined; the message says why."""


class VoiceChannelError(VoiceConnectionError, UserError):
    """A voice channel cannot be joined as things are; the message says what to change."""


class SimulatorError(UserError):
    """The simulated Discord does not have what was asked of it, or nobody could do that there."""


class ApiRefusalError(SimulatorError):
    """What Discord's REST API answers instead of doing what it was asked: an HTTP status, and Discord's own code."""

    def __init__(self, status: int, code: int, message: str, errors: object = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = errors
        """What is wrong with which field, in Discord's form."""


class VoiceRefusalError(DiscordRecorderError):
    """A client of the simulated voice gateway broke its rules; the connection is closed with `code`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class MlsError(DiscordRecorderError, ValueError):
    """A client of the simulated Discord sent MLS bytes that are malformed or that DAVE forbids."""
