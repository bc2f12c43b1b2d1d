"""Fixtures for all tests. Every test runs without the settings of the machine, and fails when it leaves a task."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from discord_recorder import ServicesManager, Settings
from discord_recorder.config import ENV_PREFIX
from discord_recorder.recording.clock import Clock
from discord_recorder.recording.session import flush_loop
from discord_recorder.recording.tracks import sealing
from tests.support.clock import FakeClock
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.leaks import leaked_tasks, unhandled_errors
from tests.support.recorder import OpenServices, quick_settings

if TYPE_CHECKING:
    from discord_recorder.simulator.server import Simulator
    from tests.support.simulator import Scene

# Nothing depends on the speed of the machine, and a recorder may serve many examples.
hypothesis.settings.register_profile(
    "recorder",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("recorder")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts programs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which those that tests start do not inherit


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what is imported by now need not be looked through after every test (see `unhandled_errors`)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
async def _nothing_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    with unhandled_errors() as errors:
        yield
        assert not await leaked_tasks(before), "the test left tasks"
    assert not errors


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where the recorder of the test works."""
    return tmp_path / "data"


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    """Quick settings in the test's own data directory."""
    return quick_settings(data_dir)


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[ServicesManager]:
    """A running recorder."""
    async with ServicesManager(settings) as manager:
        yield manager


@pytest.fixture
def open_services(data_dir: Path) -> OpenServices:
    """Opens recorders on the test's data directory: `async with open_services(clock=..., setting=...) as services`."""

    def open_one(*, clock: Clock | None = None, **settings: Any) -> AbstractAsyncContextManager[ServicesManager]:
        return ServicesManager(quick_settings(data_dir, **settings), clock=clock)

    return open_one


@pytest.fixture
def clock() -> FakeClock:
    """Time that the test moves."""
    return FakeClock()


@pytest.fixture
def unreliable(tmp_path: Path) -> UnreliableFfmpeg:
    """An FFmpeg that fails or waits on demand; pass `ffmpeg_path=str(unreliable.path)`."""
    return UnreliableFfmpeg(tmp_path / "unreliable")


@pytest.fixture
def chunks_as_on_a_fast_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine too, a push that filled a chunk returns when the chunk has its row, and no chunk ends before.

    Only a test with a clock of its own sees chunks that the clock ended.
    """
    monkeypatch.setattr(sealing, "PATIENCE_SECONDS", 100.0)
    if "clock" not in request.fixturenames:
        monkeypatch.setattr(flush_loop, "SEAL_GRACE", 1000.0)


@pytest.fixture
async def simulator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator["Simulator"]:
    """A running simulated Discord, to which discord.py is pointed."""
    from discord_recorder.simulator.server import Simulator  # noqa: PLC0415 - other tests need not wait for it
    from tests.support.pointing import point_discord_py  # noqa: PLC0415

    async with Simulator() as simulator:
        point_discord_py(monkeypatch, simulator)
        yield simulator


@pytest.fixture
def scene(simulator: "Simulator") -> "Scene":
    """A guild with people, channels and a bot in that Discord."""
    from tests.support.simulator import Scene  # noqa: PLC0415

    return Scene(simulator)
