"""Handler classes that override `push_audio_data` in a live call: whatever they do, no received audio is lost."""

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from discord_recorder import DiscordSessionHandler, ServicesManager
from discord_recorder.recording.live import override_track
from discord_recorder.recording.live.capture import LiveCapture
from tests.audio.opus_signals import reference
from tests.audio.signals import FULL_SCALE, Samples, snr_db
from tests.recording.live_frames import RATE, Sender, hear, hear_all, tone_packets
from tests.support.recorder import (
    ALICE,
    BOB,
    OpenServices,
    chunks_of,
    sound_of,
    started,
    stopped,
)
from tests.support.waiting import until

START = 0.5


def quieter(pcm: bytes) -> bytes:
    return (np.frombuffer(pcm, "<i2") // 2).astype("<i2").tobytes()


class Working(DiscordSessionHandler):
    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        await super().push_audio_data(quieter(pcm_data))


class Raising(DiscordSessionHandler):
    """Raises for half of the frames, for some of them after it has handed on a part."""

    calls: ClassVar[int] = 0

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        type(self).calls += 1
        if self.calls % 4 == 0:
            raise ValueError("no")
        if self.calls % 4 == 1:
            await super().push_audio_data(pcm_data[:1001])
            raise KeyError("half way")
        await super().push_audio_data(pcm_data)


class Hanging(DiscordSessionHandler):
    """Never returns from some frames."""

    calls: ClassVar[int] = 0

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        type(self).calls += 1
        if self.calls in (10, 20):
            await asyncio.Event().wait()
        await super().push_audio_data(pcm_data)


class Waiting(DiscordSessionHandler):
    """Keeps all frames but the first in hand until the test says so."""

    calls: ClassVar[int] = 0
    go_on: ClassVar[asyncio.Event]

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        type(self).calls += 1
        if self.calls > 1:
            await self.go_on.wait()
        await super().push_audio_data(pcm_data)


class Stubborn(DiscordSessionHandler):
    """Hangs, and does not let itself be cancelled until the test says so; then it hands on what is out of date."""

    release: ClassVar[asyncio.Event]
    late_error: ClassVar[list[Exception]]

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue
        try:
            await super().push_audio_data(pcm_data, user_id=ALICE)
        except Exception as error:
            self.late_error.append(error)


class Slow(DiscordSessionHandler):
    """Slower than real time."""

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await asyncio.sleep(0.03)
        await super().push_audio_data(pcm_data)


class Gate(DiscordSessionHandler):
    """Throws every other tenth of a second away."""

    async def push_audio_data(  # type: ignore[override]
        self, pcm_data: bytes, *, at_ms: float | None = None
    ) -> None:
        if at_ms is not None and int(at_ms // 100) % 2 == 0:
            await super().push_audio_data(pcm_data, at_ms=at_ms)


class TooMuch(DiscordSessionHandler):
    """Hands on more than it gets."""

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await super().push_audio_data(pcm_data * 2)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine too, an override takes too long only when a test says what is too long."""
    monkeypatch.setattr(override_track, "CALL_SECONDS", 100.0)
    monkeypatch.setattr(override_track, "LAG_SECONDS", 100.0)


async def live_session(
    services: ServicesManager, handler: type[DiscordSessionHandler]
) -> tuple[DiscordSessionHandler, LiveCapture]:
    session = await started(services, session_handler_class=handler)
    return session, session.go_live()


def expected(packets: list[bytes], at: float = START) -> Samples:
    """What is recorded of packets when nothing is done to them."""
    return np.concatenate([np.zeros((round(at * RATE), 2)), reference(packets) / FULL_SCALE])


def journals(data_dir: Path) -> list[Path]:
    return list(data_dir.rglob("*.journal"))


def assert_same(sound: Samples, wanted: Samples) -> None:
    assert abs(len(sound) - len(wanted)) < 1200
    count = min(len(sound), len(wanted))
    assert snr_db(wanted[:count], sound[:count]) > 20


async def test_what_it_hands_on_is_recorded(services: ServicesManager, data_dir: Path) -> None:
    _, live = await live_session(services, Working)
    alice, bob = tone_packets(2.5, 500), tone_packets(2.0, 1300)
    hear_all(
        live,
        Sender(ALICE, 1).says(alice, START, then_silence=False),
        Sender(BOB, 2).says(bob, 1.0, then_silence=False),
    )
    recording = await stopped(services)
    assert_same(sound_of(recording, ALICE), expected(alice) / 2)
    assert_same(sound_of(recording, BOB), expected(bob, 1.0) / 2)
    assert live.ledger.counts().stored == len(alice) + len(bob)
    assert not journals(data_dir)


async def test_opus_is_stored_first_and_deleted_when_the_result_has_its_row(
    services: ServicesManager, data_dir: Path
) -> None:
    Waiting.calls, Waiting.go_on = 0, asyncio.Event()
    session, live = await live_session(services, Waiting)
    packets = tone_packets(0.4)
    hear_all(live, Sender(ALICE).says(packets, START, then_silence=False))
    live.flush()
    (journal,) = journals(data_dir)
    assert journal.read_bytes().startswith(b"OggS")
    await until(lambda: session.duration_ms and Waiting.calls >= 2)
    await session.flush()
    assert journals(data_dir), "a frame is in hand"
    Waiting.go_on.set()
    await stopped(services)
    assert not journals(data_dir)


async def test_while_the_call_goes_on_journals_go_as_well(services: ServicesManager, data_dir: Path) -> None:
    session, live = await live_session(services, Working)
    hear_all(live, Sender(ALICE).says(tone_packets(4.2), START, then_silence=False))
    live.flush()
    await until(lambda: not live.open_tracks())

    async def few() -> bool:
        await session.tick()
        return len(journals(data_dir)) <= 2  # of five: those of the audio that is in no row yet

    await until(few)
    assert len(await chunks_of(services)) >= 4
    await stopped(services)


@pytest.mark.parametrize("handler", [Raising, Hanging])
async def test_what_it_does_not_deal_with_is_recorded_as_it_came(
    services: ServicesManager,
    handler: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    data_dir: Path,
) -> None:
    if handler is Hanging:
        monkeypatch.setattr(override_track, "CALL_SECONDS", 0.05)
    handler.calls = 0
    _, live = await live_session(services, handler)
    packets = tone_packets(2.0)
    hear_all(live, Sender(ALICE).says(packets, START, then_silence=False))
    assert_same(sound_of(await stopped(services)), expected(packets))
    causes = [record.getMessage() for record in caplog.records if "as it came" in record.getMessage()]
    assert len(causes) == len(set(causes)) == (2 if handler is Raising else 1)
    assert not journals(data_dir)


async def test_one_that_cannot_be_cancelled_is_not_called_again(
    services: ServicesManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(override_track, "CALL_SECONDS", 0.05)
    monkeypatch.setattr(override_track, "CANCEL_SECONDS", 0.05)
    Stubborn.release, Stubborn.late_error = asyncio.Event(), []
    _, live = await live_session(services, Stubborn)
    packets = tone_packets(1.0)
    hear_all(live, Sender(ALICE).says(packets, START, then_silence=False))
    await until(lambda: not live.open_tracks())
    Stubborn.release.set()
    await until(lambda: Stubborn.late_error)
    assert_same(sound_of(await stopped(services)), expected(packets))
    assert "recorded as it came" in str(Stubborn.late_error[0])


async def test_one_that_is_too_slow_is_passed_by(
    services: ServicesManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(override_track, "LAG_SECONDS", 0.2)
    _, live = await live_session(services, Slow)
    packets = tone_packets(3.0)
    hear_all(live, Sender(ALICE).says(packets, START, then_silence=False))
    await until(lambda: not live.open_tracks())
    assert any("behind" in record.getMessage() for record in caplog.records)
    assert_same(sound_of(await stopped(services)), expected(packets))


async def test_a_stop_does_not_wait_for_a_slow_one(services: ServicesManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(override_track, "CALL_SECONDS", 0.1)
    _, live = await live_session(services, Slow)
    packets = tone_packets(4.0)
    hear_all(live, Sender(ALICE).says(packets, START, then_silence=False))
    assert_same(sound_of(await stopped(services)), expected(packets))


async def test_what_it_throws_away_stays_away(services: ServicesManager) -> None:
    _, live = await live_session(services, Gate)
    packets = tone_packets(2.0)
    hear_all(live, Sender(ALICE).says(packets, START, then_silence=False))
    sound, wanted = sound_of(await stopped(services)), expected(packets)
    for tenth in range(6, 24):
        piece = slice(tenth * 4800 + 1000, tenth * 4800 + 3800)
        if tenth % 2:
            assert np.abs(sound[piece]).max(initial=0) < 0.05
        else:
            assert snr_db(wanted[piece], sound[piece]) > 15


async def test_one_that_hands_on_too_much_does_not_end_the_recording(services: ServicesManager) -> None:
    _, live = await live_session(services, TooMuch)
    packets = tone_packets(1.0)
    hear_all(live, Sender(ALICE).says(packets, START, then_silence=False))
    recording = await stopped(services)
    assert len(sound_of(recording)) == round((START + 2.0) * RATE)


async def test_overtaken_frames_come_to_it_in_order(services: ServicesManager) -> None:
    _, live = await live_session(services, Working)
    packets = tone_packets(1.0)
    frames = Sender(ALICE).says(packets, START, then_silence=False)
    for at in range(0, 50, 5):
        for n in (0, 2, 1, 4, 3):
            hear(live, [frames[at + n]])
    assert_same(sound_of(await stopped(services)), expected(packets) / 2)
    assert live.ledger.counts().dropped_total == 0


async def test_what_came_before_a_pause_is_recorded(services: ServicesManager) -> None:
    session, live = await live_session(services, Slow)
    packets = tone_packets(1.0)
    frames = Sender(ALICE).says(packets, START, then_silence=False)
    hear_all(live, frames[:25])
    await session.pause()
    hear_all(live, frames[25:])
    assert session.dropped_bytes == 0
    assert live.ledger.counts().dropped == {"paused": 25}
    assert_same(sound_of(await stopped(services)), expected(packets[:25]))


async def test_the_gap_of_a_silence_is_kept(services: ServicesManager) -> None:
    _, live = await live_session(services, Working)
    alice = Sender(ALICE)
    first, second = tone_packets(0.5), tone_packets(0.5)
    hear_all(live, alice.says(first, START), alice.says(second, 5.0, then_silence=False))
    sound = sound_of(await stopped(services))
    assert_same(sound[: round(1.0 * RATE)], expected(first) / 2)
    assert np.abs(sound[round(1.2 * RATE) : round(4.9 * RATE)]).max() < 0.01
    assert_same(sound[round(5.02 * RATE) :], (reference(second) / FULL_SCALE / 2)[960:])


async def test_closing_without_a_stop_leaves_nothing_running(
    open_services: OpenServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(override_track, "CALL_SECONDS", 0.05)
    async with open_services() as services:
        _, live = await live_session(services, Hanging)
        Hanging.calls = 9
        hear_all(live, Sender(ALICE).says(tone_packets(0.2), START))
