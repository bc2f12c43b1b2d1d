import pytest

from tests.audio.programs import WatchedFfmpeg


@pytest.fixture
def ffmpeg() -> WatchedFfmpeg:
    return WatchedFfmpeg()
