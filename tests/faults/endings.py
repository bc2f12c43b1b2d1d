"""How a meeting has to end, whatever happened to it: one recording that holds all that was said, and no leftovers."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from discord_recorder import ServicesManager
from discord_recorder.services.sql_recording import MeetingDict, RecordingDict
from tests.audio.signals import Samples
from tests.faults.deadlines import known, soon
from tests.faults.voices import assert_sounds, joined, mixed, silence, voice
from tests.support.manifests import heard, read_manifest
from tests.support.recorder import MEETING


async def ended(services: ServicesManager, meeting_id: str = MEETING) -> MeetingDict:
    """Wait until a meeting is completed or failed, by itself."""

    async def meeting() -> MeetingDict | None:
        found = await services.sql_recording_service.get_meeting(meeting_id)
        assert found is not None, f"there is no meeting {meeting_id}"
        return found if found["status"] in ("completed", "failed") else None

    return await known(meeting)


async def the_recording(services: ServicesManager, meeting_id: str = MEETING) -> RecordingDict:
    """The one recording of a meeting, after its end; every file is what its row says, and no other is beside it."""
    meeting = await ended(services, meeting_id)
    assert meeting["status"] == "completed", meeting
    (recording,) = await services.sql_recording_service.get_recordings_for_meeting(meeting_id)
    assert_files_match(recording)
    return recording


def assert_files_match(recording: RecordingDict) -> None:
    """The files of a recording are exactly those that its rows and its manifest tell of, byte for byte."""
    for track in recording["tracks"]:
        data = Path(track["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == track["sha256"], track["path"]
        assert len(data) == track["size_bytes"]
    named = {Path(path) for track in recording["tracks"] for path in (track["path"], track["master_path"]) if path}
    read_manifest(recording)
    assert set(Path(recording["path"]).parent.iterdir()) == named | {Path(recording["path"]).parent / "manifest.json"}


def lengths(recording: RecordingDict) -> dict[int, int]:
    """Samples of each speaker's track up to the end of what is heard, as the manifest tells them."""
    parts = read_manifest(recording)["tracks"]
    return {int(part["user_id"]): max(end for _, end in heard(part)) for part in parts if part["user_id"] is not None}


def assert_holds(recording: RecordingDict, expected: Mapping[int, Samples]) -> None:
    """Each speaker's track is exactly this, then silent to the session's end, and the mix of several is their sum."""
    files = {track["user_id"]: track["path"] for track in recording["tracks"]}
    session = max(map(len, expected.values()))
    speakers = {str(user) for user in expected}
    assert set(files) == (speakers | {None} if len(speakers) > 1 else speakers)
    for user, sound in expected.items():
        assert_sounds(files[str(user)], joined(sound, silence(session - len(sound))))
    if None in files:
        assert_sounds(files[None], mixed(expected.values()))


def assert_holds_voices(recording: RecordingDict, pushed: Mapping[int, int]) -> None:
    """Each speaker's voice from its beginning: all that is known to be accepted, and at most one more push of each."""
    stored = lengths(recording)
    assert set(stored) >= set(pushed)
    for user, count in stored.items():
        assert 0 <= count - pushed.get(user, 0) <= MOST_IN_FLIGHT_SAMPLES, (user, count, pushed)
    assert_holds(recording, {user: voice(user, 0, count) for user, count in stored.items()})


async def assert_tidy(data_dir: Path) -> None:
    """Nothing is left in the temp folder, or will be in a moment."""
    await soon(lambda: not any(folders or files for _, folders, files in os.walk(data_dir / "temp")))


MOST_IN_FLIGHT_SAMPLES = 4800
"""The longest piece that the children push: what they were killed in may be stored or not."""
