"""A recorder in a folder of the test's own, and shorthand for what nearly every test does with it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol

from discord_recorder import DiscordSessionHandler, ServicesManager, Settings
from discord_recorder.recording.clock import Clock
from discord_recorder.services.sql_recording import RecordingDict, TempRecordingDict, TrackDict
from tests.audio.signals import Samples, played

CHANNEL: Final = 123456789
MEETING: Final = "abc123xyz7890def"
ALICE: Final = 111111111111111111
BOB: Final = 222222222222222222
GUILD: Final = 333333333333333333

QUICK: Final[dict[str, Any]] = {
    "flush_interval_seconds": 1.0,
    "transcode_backoff_seconds": 0.01,
    "transcode_workers": 2,
    "disk_warn_mib": 0,
    "disk_stop_mib": 0,
}
"""Settings for quick tests that do not depend on how full the disk is."""


def quick_settings(data_dir: Path, **values: Any) -> Settings:
    """Settings of a recorder in that folder; short chunks, no pauses."""
    return Settings(**{**QUICK, "data_dir": data_dir, **values})


class OpenServices(Protocol):
    """The type of the fixture `open_services`."""

    def __call__(
        self, *, clock: Clock | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[ServicesManager]: ...


async def started(services: ServicesManager, **arguments: Any) -> DiscordSessionHandler:
    """Start the session of `MEETING` in `CHANNEL`, with Alice as its user."""
    given: dict[str, Any] = {"meeting_id": MEETING, "user_id": ALICE, "guild_id": GUILD, **arguments}
    assert await services.discord_recorder_service.start_session(CHANNEL, **given)
    return services.discord_recorder_service.sessions[CHANNEL]


async def stopped(services: ServicesManager, meeting_id: str = MEETING) -> RecordingDict:
    """Stop the session in `CHANNEL` and give its recording."""
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    return await recording_of(services, meeting_id)


async def recording_of(services: ServicesManager, meeting_id: str = MEETING) -> RecordingDict:
    """The one recording of a meeting."""
    (recording,) = await services.sql_recording_service.get_recordings_for_meeting(meeting_id)
    return recording


async def chunks_of(services: ServicesManager, meeting_id: str = MEETING) -> list[TempRecordingDict]:
    """The rows of a meeting's chunks."""
    return await services.sql_recording_service.get_temp_recordings_for_meeting(meeting_id)


def track_of(recording: RecordingDict, user_id: int | None) -> TrackDict:
    """The track of a speaker; of the mix for None."""
    wanted = None if user_id is None else str(user_id)
    (track,) = (track for track in recording["tracks"] if track["user_id"] == wanted)
    return track


def sound_of(recording: RecordingDict, user_id: int | None = ALICE) -> Samples:
    """What a player plays of a track."""
    return played(Path(track_of(recording, user_id)["path"]))


def bytes_of(path: str) -> bytes:
    """What is in a file."""
    return Path(path).read_bytes()


def exists(path: str) -> bool:
    """Whether a file is there."""
    return Path(path).exists()


Push = Callable[[bytes], Awaitable[None]]


async def push_in_pieces(push: Push, pcm: bytes, piece_bytes: int) -> None:
    """Push PCM piece by piece."""
    for start in range(0, len(pcm), piece_bytes):
        await push(pcm[start : start + piece_bytes])
