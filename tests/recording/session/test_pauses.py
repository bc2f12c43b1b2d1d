"""Pauses: what becomes of session time and of what comes meanwhile, measured in the final files and the database."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar

import pytest

from discord_recorder import DiscordSessionHandler, ServicesManager
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.storage.records import MarkKind
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.sink import GapReason, Segment
from tests.audio.signals import dbfs, snr_db, to_pcm, tone
from tests.recording.live_frames import RATE, Sender, by_arrival, tone_packets
from tests.recording.live_sound import ALICE_HERTZ, BOB_HERTZ, assert_heard, balanced
from tests.support.clock import START, FakeClock
from tests.support.marks import stored, stored_marks
from tests.support.recorder import ALICE, BOB, CHANNEL, OpenServices, sound_of, started, stopped
from tests.support.waiting import until


def hear(live: LiveCapture, *streams: Iterable[OpusFrame]) -> None:
    """Frames whose arrival is in monotonic time, which is 0 at the session's start."""
    for batch in by_arrival(*streams):
        for frame in batch:
            live.ledger.received += 1
            live.ledger.tally(frame.user_id).stored += 1
        live.on_frames(batch)


def between(frames: Iterable[OpusFrame], start: float, end: float) -> list[OpusFrame]:
    return [frame for frame in frames if start <= frame.arrived < end]


class Passing(DiscordSessionHandler):
    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        await super().push_audio_data(pcm_data)


class Waiting(DiscordSessionHandler):
    """Hands nothing on until it may."""

    go: ClassVar[asyncio.Event]

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await self.go.wait()
        await super().push_audio_data(pcm_data)


class TestLive:
    """Alice speaks, pauses for breath and goes on after the pause; Bob speaks all through it."""

    async def hold(self, services: ServicesManager, clock: FakeClock, handler: type[DiscordSessionHandler]) -> None:
        """A call with a pause from 2 s to 9 s of wall time."""
        recorder = services.discord_recorder_service
        session = await started(services, session_handler_class=handler)
        live = session.go_live()
        alice, bob = Sender(ALICE, 1), Sender(BOB, 2, runs_on=False)
        first, second = alice.says(tone_packets(1.0, ALICE_HERTZ), 0.5), alice.says(tone_packets(1.0, ALICE_HERTZ), 9.5)
        through = bob.says(tone_packets(9.2, BOB_HERTZ), 1.0)
        await until(lambda: clock.sleeping)
        hear(live, first, between(through, 0, 1.95))
        clock.advance(2)
        assert await recorder.pause_session(CHANNEL)
        hear(live, between(through, 1.95, 5))  # the first of them came before the pause, and are told now
        clock.advance(5)
        assert session.duration_samples >= 2 * RATE
        hear(live, between(through, 5, 8.9))
        clock.advance(2)
        assert await recorder.resume_session(CHANNEL)
        hear(live, second, between(through, 8.9, 99))  # the first of them came in the pause, and are told now
        clock.advance(3)
        live.ledger.check()
        assert session.dropped_bytes == 0
        assert live.ledger.counts().dropped == {"paused": len(between(through, 2, 9))}

    @pytest.mark.parametrize("handler", [DiscordSessionHandler, Passing])
    async def test_it_is_cut_out_of_all_tracks_alike(
        self, open_services: OpenServices, clock: FakeClock, handler: type[DiscordSessionHandler]
    ) -> None:
        async with open_services(clock=clock) as services:
            await self.hold(services, clock, handler)
            recording = await stopped(services)
            meeting, (pause,) = await stored(services, MarkKind.PAUSED)
        assert_heard(sound_of(recording, ALICE), [(0.5, 1.5), (2.5, 3.5)], ALICE_HERTZ)
        (first, last) = (round(1.1 * RATE), round(3.1 * RATE))
        assert dbfs(sound_of(recording, BOB)[first:last]) > -20
        assert len(sound_of(recording, BOB)) >= 3.2 * RATE - 1200
        assert (pause.at_sample, pause.sample_count, pause.wall_ms) == (2 * RATE, 0, 7000)
        assert pause.wall_at == START + timedelta(seconds=2)
        assert meeting.duration_samples == 5 * RATE

    async def test_it_is_silence_where_session_time_runs_on(
        self, open_services: OpenServices, clock: FakeClock
    ) -> None:
        async with open_services(clock=clock, pause_keeps_time=True) as services:
            await self.hold(services, clock, DiscordSessionHandler)
            recording = await stopped(services)
            meeting, (pause,) = await stored(services, MarkKind.PAUSED)
        assert_heard(sound_of(recording, ALICE), [(0.5, 1.5), (9.5, 10.5)], ALICE_HERTZ)
        bob = sound_of(recording, BOB)  # whose encoder was in the middle of something when the pause ended
        assert_heard(bob[: 5 * RATE], [(1.0, 2.0)], BOB_HERTZ)
        assert dbfs(bob[round(2.1 * RATE) : round(8.9 * RATE)]) < -80
        assert dbfs(bob[round(9.1 * RATE) : round(10.1 * RATE)]) > -20
        assert (pause.at_sample, pause.sample_count, pause.wall_ms) == (2 * RATE, 7 * RATE, 7000)
        assert meeting.duration_samples == 12 * RATE

    async def test_as_the_very_first_thing_and_many_times(self, open_services: OpenServices, clock: FakeClock) -> None:
        """Alice speaks without end through three pauses of a second; each leaves out what was said in it."""
        async with open_services(clock=clock) as services:
            recorder = services.discord_recorder_service
            live = (await started(services)).go_live()
            frames = Sender(ALICE).says(tone_packets(6.0, ALICE_HERTZ), 0.01)
            for second in range(6):
                for _ in range(2):
                    act = recorder.pause_session if second % 2 == 0 else recorder.resume_session
                    assert await act(CHANNEL)
                hear(live, between(frames, second, second + 1))
                clock.advance(1)
            assert await recorder.resume_session(CHANNEL)
            recording = await stopped(services)
            meeting, pauses = await stored(services, MarkKind.PAUSED)
        assert_heard(sound_of(recording), [(0.0, 3.0)], ALICE_HERTZ)  # nothing is missing at the seams
        assert [(pause.at_sample, pause.wall_ms) for pause in pauses] == [(n * RATE, 1000) for n in range(3)]
        assert meeting.duration_samples == round(3.01 * RATE), "to the end of the last frame"
        balanced(live)

    async def test_stopped_while_paused(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            live = (await started(services)).go_live()
            hear(live, Sender(ALICE).says(tone_packets(1.0, ALICE_HERTZ), 0.5))
            clock.advance(2)
            await services.discord_recorder_service.pause_session(CHANNEL)
            clock.advance(60)
            recording = await stopped(services)
            meeting, (pause,) = await stored(services, MarkKind.PAUSED)
        assert_heard(sound_of(recording), [(0.5, 1.5)], ALICE_HERTZ)
        assert (meeting.duration_samples, pause.at_sample, pause.wall_ms) == (2 * RATE, 2 * RATE, 60_000)

    async def test_how_long_it_is_so_far_is_stored_while_it_lasts(
        self, open_services: OpenServices, clock: FakeClock
    ) -> None:
        async with open_services(clock=clock, flush_interval_seconds=10) as services:
            await started(services)
            await services.discord_recorder_service.pause_session(CHANNEL)

            async def has_lasted(ms: int) -> bool:
                (pause,) = await stored_marks(services)
                return pause.wall_ms >= ms

            assert not await has_lasted(1)
            await clock.pass_by(25, step=0.5)
            await until(lambda: has_lasted(20_000))

    async def test_the_voice_connection_in_a_pause(self, open_services: OpenServices, clock: FakeClock) -> None:
        """It is lost, and comes again: the marks are where session time stands still."""
        async with open_services(clock=clock) as services:
            live = (await started(services)).go_live()
            live.on_segment(Segment(number=1, channel_id=CHANNEL, started=0.0))
            clock.advance(1)
            await services.discord_recorder_service.pause_session(CHANNEL)
            clock.advance(5)
            await services.discord_recorder_service.resume_session(CHANNEL)
            clock.advance(1)
            live.on_gap(0.5, 6.5, GapReason.CONNECTION_LOST)
            live.on_segment(Segment(number=2, channel_id=CHANNEL, started=6.5))
            assert await services.discord_recorder_service.stop_session(CHANNEL)
            meeting, found = await stored(services)
        places = [(mark.kind.value, mark.at_sample / RATE, mark.sample_count / RATE, mark.wall_ms) for mark in found]
        assert places == [
            ("connected", 0.0, 0.0, 0),
            ("disconnected", 0.5, 1.0, 6000),
            ("paused", 1.0, 0.0, 5000),
            ("connected", 1.5, 0.0, 0),
        ]
        assert found[1].wall_at == START + timedelta(seconds=0.5)
        assert meeting.duration_samples == 2 * RATE

    async def test_a_pause_whose_caller_is_cancelled_ends_with_the_next_resume(
        self, open_services: OpenServices, clock: FakeClock
    ) -> None:
        """Cancelled while what came before waits for the override."""
        async with open_services(clock=clock) as services:
            Waiting.go = asyncio.Event()
            session = await started(services, session_handler_class=Waiting)
            live = session.go_live()
            frames = Sender(ALICE).says(tone_packets(1.0, ALICE_HERTZ), 0.5, then_silence=False)
            hear(live, frames[:25])
            pausing = asyncio.create_task(services.discord_recorder_service.pause_session(CHANNEL))
            await until(lambda: session.is_paused)
            pausing.cancel()
            await asyncio.wait([pausing])
            assert await services.discord_recorder_service.resume_session(CHANNEL)
            Waiting.go.set()
            hear(live, frames[25:])
            recording = await stopped(services)
        assert_heard(sound_of(recording), [(0.5, 1.5)], ALICE_HERTZ)


class TestPushed:
    """Pushes are contiguous from session time 0, whatever the wall clock says."""

    async def push(self, services: ServicesManager, clock: FakeClock) -> None:
        """Alice speaks for a second, Bob for half of it; a pause of a second; then each goes on for half a second."""
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(RATE, hertz=ALICE_HERTZ)))
        await session.push_audio_data(to_pcm(tone(RATE // 2, hertz=BOB_HERTZ)), user_id=BOB)
        assert await services.discord_recorder_service.pause_session(CHANNEL)
        clock.advance(1)
        assert await services.discord_recorder_service.resume_session(CHANNEL)
        for user, hertz in ((ALICE, ALICE_HERTZ), (BOB, BOB_HERTZ)):
            for _ in range(2):
                await session.push_audio_data(to_pcm(tone(RATE // 4, hertz=hertz)), user_id=user)

    async def test_they_go_on_where_they_were(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            await self.push(services, clock)
            recording = await stopped(services)
            meeting, (pause,) = await stored(services)
        assert snr_db(tone(3 * RATE // 2, hertz=ALICE_HERTZ), sound_of(recording, ALICE)) > 20
        assert snr_db(tone(RATE, hertz=BOB_HERTZ), sound_of(recording, BOB)[:RATE]) > 20
        assert (pause.at_sample, pause.sample_count, pause.wall_ms) == (RATE, 0, 1000)
        assert meeting.duration_samples == 3 * RATE // 2

    async def test_or_later_by_the_pause(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock, pause_keeps_time=True) as services:
            await self.push(services, clock)
            recording = await stopped(services)
            meeting, (pause,) = await stored(services)
        for user, hertz, begins in ((ALICE, ALICE_HERTZ, RATE), (BOB, BOB_HERTZ, RATE // 2)):
            sound = sound_of(recording, user)
            assert dbfs(sound[begins + 1200 : begins + RATE - 1200]) < -80
            assert snr_db(tone(begins, hertz=hertz), sound[:begins]) > 20
            assert snr_db(tone(RATE // 2, hertz=hertz), sound[begins + RATE : begins + 3 * RATE // 2]) > 15
        assert (pause.at_sample, pause.sample_count, pause.wall_ms) == (RATE, RATE, 1000)
        assert meeting.duration_samples == 5 * RATE // 2

    async def test_a_place_that_is_named_is_kept(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock, pause_keeps_time=True) as services:
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(RATE)))
            await services.discord_recorder_service.pause_session(CHANNEL)
            clock.advance(5)
            await services.discord_recorder_service.resume_session(CHANNEL)
            await session.push_audio_data(to_pcm(tone(RATE)), at_ms=1500)
            await session.push_audio_data(to_pcm(tone(RATE)))
            assert len(sound_of(await stopped(services))) == 3.5 * RATE


async def test_the_length_of_a_session_that_nobody_pushed_to(services: ServicesManager) -> None:
    await started(services)
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    meeting, found = await stored(services)
    assert (meeting.duration_samples, meeting.packets, found) == (0, None, [])
