import pytest

from discord_recorder.recording.finishing import finalizer


@pytest.fixture
def quick_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorders of this process look for abandoned meetings all the time."""
    monkeypatch.setattr(finalizer, "TAKE_OVER_SECONDS", 0.1)
