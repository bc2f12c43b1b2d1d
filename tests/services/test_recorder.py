import asyncio
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from discord_recorder import (
    DiscordSessionHandler,
    InvalidIdError,
    MeetingActiveError,
    MeetingExistsError,
    MeetingNotFoundError,
    ServicesManager,
    StorageError,
    generate_16_char_uuid,
)
from tests.audio.signals import to_pcm, tone
from tests.support.clock import START, FakeClock
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
    BOB,
    CHANNEL,
    GUILD,
    MEETING,
    OpenServices,
    chunks_of,
    recording_of,
    sound_of,
    started,
    stopped,
)
from tests.support.waiting import until

STATUS_KEYS = {
    "meeting_id",
    "channel_id",
    "guild_id",
    "user_id",
    "is_recording",
    "is_paused",
    "started_at",
    "duration_ms",
    "total_chunks",
    "chunk_statuses",
    "buffer_size_bytes",
    "tracks",
}


class TestStarting:
    @pytest.mark.parametrize("channel_id", [CHANNEL, str(CHANNEL)])
    async def test_ids_may_be_int_or_text_anywhere(self, services: ServicesManager, channel_id: int | str) -> None:
        recorder = services.discord_recorder_service
        assert await recorder.start_session(channel_id, MEETING, str(ALICE), GUILD) is True
        spellings: list[int | str] = [CHANNEL, str(CHANNEL)]
        for same in spellings:
            assert same in recorder.sessions
            assert recorder.sessions.get(same) is recorder.sessions[channel_id]
            status = await recorder.get_session_status(same)
            assert status is not None
            assert (status["channel_id"], status["user_id"]) == (str(CHANNEL), str(ALICE))
            assert await recorder.pause_session(same) is True
            assert await recorder.resume_session(same) is True
        session = recorder.sessions[CHANNEL]
        await session.push_audio_data(to_pcm(tone(1000)), user_id=BOB)
        await session.push_audio_data(to_pcm(tone(1000)), user_id=str(BOB))
        assert await recorder.stop_session(channel_id) is True
        assert len(sound_of(await recording_of(services), BOB)) == 2000

    async def test_a_channel_has_one_session(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        assert await recorder.start_session(str(CHANNEL)) is False
        assert recorder.sessions[CHANNEL] is session
        assert len(await services.sql_recording_service.list_meetings()) == 1
        assert await recorder.start_session(CHANNEL + 1) is True
        await recorder.stop_session(CHANNEL)
        assert await recorder.start_session(CHANNEL) is True
        assert [str(channel) for channel in recorder.sessions] == [str(CHANNEL + 1), str(CHANNEL)]

    async def test_of_concurrent_starts_one_succeeds(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        spellings: list[int | str] = [CHANNEL, str(CHANNEL)] * 3
        results = await asyncio.gather(*(recorder.start_session(channel) for channel in spellings))
        assert sorted(results) == [*[False] * 5, True]
        assert len(recorder.sessions) == 1
        assert len(await services.sql_recording_service.list_meetings()) == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"channel_id": "general"}, "'general' is not a channel id: Discord ids are whole numbers"),
            ({"channel_id": 0}, "0 is not a channel id"),
            ({"channel_id": None}, "None is not a channel id"),
            ({"user_id": "@ada"}, "'@ada' is not a user id"),
            ({"user_id": -1}, "-1 is not a user id"),
            ({"guild_id": 1.5}, "1.5 is not a guild id"),
            ({"meeting_id": "ABC"}, "'ABC' is not a meeting id: it takes exactly 16 characters of 0-9 and a-z"),
            ({"meeting_id": ""}, "'' is not a meeting id"),
            ({"meeting_id": "../../../../etc/"}, "is not a meeting id"),
            ({"meeting_id": 1234567890123456}, "1234567890123456 is not a meeting id"),
        ],
    )
    async def test_malformed_ids(self, services: ServicesManager, arguments: dict[str, Any], message: str) -> None:
        recorder = services.discord_recorder_service
        with pytest.raises(InvalidIdError, match=re.escape(message)):
            await recorder.start_session(arguments.pop("channel_id", CHANNEL), **arguments)
        assert list(recorder.sessions) == []
        assert await services.sql_recording_service.list_meetings() == []
        assert await recorder.start_session(CHANNEL) is True

    async def test_a_meeting_id_is_used_once(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        for channel in (CHANNEL + 1, CHANNEL + 2):
            with pytest.raises(MeetingExistsError, match=f"{MEETING} was used before"):
                await recorder.start_session(channel, MEETING)
        assert list(recorder.sessions.values()) == [session]
        await session.push_audio_data(to_pcm(tone(1000)))
        recording = await stopped(services)
        with pytest.raises(MeetingExistsError, match=r"generate_16_char_uuid\(\)"):
            await recorder.start_session(CHANNEL, MEETING)
        assert await recording_of(services) == recording
        assert await recorder.start_session(CHANNEL) is True

    async def test_an_id_is_made_when_none_is_given(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        for channel in (1, 2):
            assert await recorder.start_session(channel)
        ids = [session.meeting_id for session in recorder.sessions.values()]
        assert ids[0] != ids[1]
        assert all(re.fullmatch("[0-9a-f]{16}", made) for made in ids)

    async def test_title_and_names_are_kept_with_the_recording(self, services: ServicesManager) -> None:
        session = await started(services, title="Stand-up <&> ü")
        await session.set_speaker_name(ALICE, "Ada")
        await session.push_audio_data(to_pcm(tone(1000)))
        await session.push_audio_data(to_pcm(tone(1000)), user_id=BOB)
        await session.set_speaker_name(BOB, "Bob")
        session.set_speaker_name(str(BOB), "Ben")  # not awaited
        status = await services.discord_recorder_service.get_session_status(CHANNEL)
        assert status is not None
        assert {track["user_id"]: track["name"] for track in status["tracks"]} == {str(ALICE): "Ada", str(BOB): "Ben"}
        recording = await stopped(services)
        assert recording["title"] == "Stand-up <&> ü"
        assert {track["user_id"]: track["name"] for track in recording["tracks"]} == {
            str(ALICE): "Ada",
            str(BOB): "Ben",
            None: None,
        }

    async def test_a_name_needs_a_user(self, services: ServicesManager) -> None:
        session = await started(services)
        with pytest.raises(InvalidIdError, match="'Ada' is not a user id"):
            await session.set_speaker_name("Ada", "Ada")

    async def test_a_handler_class_that_fails_leaves_nothing(self, services: ServicesManager) -> None:
        class Broken(DiscordSessionHandler):
            def __init__(self, **arguments: Any) -> None:
                super().__init__(**arguments)
                raise RuntimeError("no microphone")

        recorder = services.discord_recorder_service
        with pytest.raises(RuntimeError, match="no microphone"):
            await recorder.start_session(CHANNEL, MEETING, session_handler_class=Broken)
        assert await recorder.start_session(CHANNEL, MEETING) is True

    async def test_a_start_that_is_given_up_leaves_the_channel_free(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        await recorder.list_active_sessions()
        for turns in range(25):
            starting = asyncio.create_task(recorder.start_session(CHANNEL))
            for _ in range(turns):
                await asyncio.sleep(0.0005)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await recorder.stop_session(CHANNEL)
            assert await recorder.start_session(CHANNEL) is True, f"after {turns} turns"
            await recorder.stop_session(CHANNEL)

    async def test_a_full_disk_is_told_at_once(self, open_services: OpenServices) -> None:
        async with open_services(disk_warn_mib=10**9, disk_stop_mib=10**9) as services:
            with pytest.raises(StorageError, match=r"The disk is full: .*Make room, or choose another"):
                await services.discord_recorder_service.start_session(CHANNEL, MEETING)
            assert await services.sql_recording_service.list_meetings() == []

    async def test_a_nearly_full_disk_is_warned_of(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(disk_warn_mib=10**9, clock=clock) as services:
            session = await started(services)
            await session.tick()
            status = await services.discord_recorder_service.get_session_status(CHANNEL)
            assert status is not None
            assert status["is_recording"] is True
            (warning,) = status["warnings"]
            assert re.match(r"Only \d+ MiB are free in .*Recording ends at 0", warning)


class TestStatus:
    async def test_none_without_a_session(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        assert await recorder.get_session_status(CHANNEL) is None
        assert await recorder.list_active_sessions() == []
        await started(services)
        await recorder.stop_session(CHANNEL)
        assert await recorder.get_session_status(CHANNEL) is None
        assert await recorder.list_active_sessions() == []

    async def test_of_a_new_session(self, open_services: OpenServices, clock: FakeClock) -> None:
        async with open_services(clock=clock) as services:
            await started(services, title="Stand-up")
            status = await services.discord_recorder_service.get_session_status(CHANNEL)
        assert status is not None
        assert set(status) >= STATUS_KEYS
        assert status == {
            "meeting_id": MEETING,
            "channel_id": str(CHANNEL),
            "guild_id": str(GUILD),
            "user_id": str(ALICE),
            "title": "Stand-up",
            "is_recording": True,
            "is_paused": False,
            "started_at": START,
            "duration_ms": 0,
            "total_chunks": 0,
            "chunk_statuses": {"queued": 0, "in_progress": 0, "done": 0, "failed": 0},
            "buffer_size_bytes": 0,
            "dropped_bytes": 0,
            "notes": 0,
            "warnings": [],
            "tracks": [],
            "packets": {"received": 0, "stored": 0, "plain": 0, "parked": 0, "dropped": {}, "kernel_dropped": 0},
            "events": [],
        }

    async def test_counts_every_byte_that_is_in_no_sealed_chunk(
        self, open_services: OpenServices, clock: FakeClock
    ) -> None:
        async with open_services(clock=clock) as services:
            recorder = services.discord_recorder_service
            session = await started(services)

            async def seen() -> tuple[int, int, int]:
                status = await recorder.get_session_status(CHANNEL)
                assert status is not None
                return status["buffer_size_bytes"], status["total_chunks"], status["duration_ms"]

            await session.push_audio_data(bytes(4801))
            assert await seen() == (4801, 0, 25)
            await session.push_audio_data(bytes(4802), user_id=BOB)
            assert await seen() == (9603, 0, 25)
            await session.push_audio_data(bytes(192_000))
            assert await seen() == (9603, 1, 1025)
            await recorder.pause_session(CHANNEL)
            await session.push_audio_data(bytes(1000))
            assert await seen() == (0, 3, 1025)

    async def test_chunk_statuses(self, open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
        async with open_services(
            ffmpeg_path=str(unreliable.path), transcode_workers=1, transcode_attempts=1
        ) as services:
            recorder = services.discord_recorder_service

            async def counts() -> dict[str, int]:
                status = await recorder.get_session_status(CHANNEL)
                assert status is not None
                assert status["total_chunks"] == sum(status["chunk_statuses"].values())  # type: ignore[arg-type]
                return dict(status["chunk_statuses"])  # type: ignore[arg-type]

            unreliable.hold()
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(48_000)))
            await until(lambda: unreliable.calls)
            await session.push_audio_data(to_pcm(tone(96_000)))
            assert await counts() == {"queued": 2, "in_progress": 1, "done": 0, "failed": 0}
            unreliable.hold(False)
            assert await recorder.wait_for_pending_transcodes(MEETING)
            assert await counts() == {"queued": 0, "in_progress": 0, "done": 3, "failed": 0}
            unreliable.fail_always()
            await session.push_audio_data(to_pcm(tone(48_000)))
            assert await recorder.wait_for_pending_transcodes(MEETING)
            assert await counts() == {"queued": 0, "in_progress": 0, "done": 3, "failed": 1}

    async def test_tracks(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(bytes(4 * 4800))
        await session.push_audio_data(bytes(4 * 4800), user_id=BOB, at_ms=500)
        status = await services.discord_recorder_service.get_session_status(CHANNEL)
        assert status is not None
        assert [(track["user_id"], track["name"], track["duration_ms"]) for track in status["tracks"]] == [
            (str(ALICE), None, 100),
            (str(BOB), None, 600),
        ]
        assert (status["packets"]["received"], status["events"]) == (0, [])
        assert status["duration_ms"] == 600

    async def test_a_list_of_all(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        for channel in (1, 2, 3):
            await recorder.start_session(channel)
        await recorder.stop_session(2)
        listed = await recorder.list_active_sessions()
        assert [status["channel_id"] for status in listed] == ["1", "3"]
        assert listed[0] == await recorder.get_session_status(1)

    async def test_sessions_of_no_channel(self, services: ServicesManager) -> None:
        sessions = services.discord_recorder_service.sessions
        await started(services)
        wrong: Any
        for wrong in ("general", None, 1.5, 0, CHANNEL + 1, ""):
            assert sessions.get(wrong) is None
            assert wrong not in sessions
        assert len(sessions) == 1


class TestPausing:
    async def test_without_a_session(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        for act in (recorder.pause_session, recorder.resume_session, recorder.stop_session):
            assert await act(CHANNEL) is False
            assert await act(str(CHANNEL)) is False
            with pytest.raises(InvalidIdError):
                await act("general")

    async def test_what_callers_see(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        await started(services)

        async def seen() -> tuple[bool, bool, str]:
            status = await recorder.get_session_status(CHANNEL)
            meeting = await services.sql_recording_service.get_meeting(MEETING)
            assert status is not None
            assert meeting is not None
            return status["is_recording"], status["is_paused"], meeting["status"]

        assert await recorder.resume_session(CHANNEL) is True, "it is recording already"
        assert await seen() == (True, False, "recording")
        for _ in range(2):
            assert await recorder.pause_session(CHANNEL) is True
            assert await seen() == (False, True, "paused")
        for _ in range(2):
            assert await recorder.resume_session(CHANNEL) is True
            assert await seen() == (True, False, "recording")

    async def test_a_paused_session_can_be_stopped(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(1000)))
        await services.discord_recorder_service.pause_session(CHANNEL)
        assert len(sound_of(await stopped(services))) == 1000


class TestStopping:
    async def test_promotes_in_one_step(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(150_000)))
        await session.push_audio_data(to_pcm(tone(50_000)), user_id=BOB)
        recording = await stopped(services)
        assert await chunks_of(services) == []
        assert list(services.settings.temp_dir.iterdir()) == []
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        assert (meeting["status"], meeting["end_reason"], meeting["error"]) == ("completed", "stopped", None)
        assert recording["status"] == "complete"
        assert await services.discord_recorder_service.stop_session(CHANNEL) is False

    async def test_without_any_audio(self, services: ServicesManager) -> None:
        await started(services)
        assert await services.discord_recorder_service.stop_session(CHANNEL) is True
        assert await services.sql_recording_service.get_recordings_for_meeting(MEETING) == []
        meeting = await services.sql_recording_service.get_meeting(MEETING)
        assert meeting is not None
        assert (meeting["status"], meeting["end_reason"]) == ("completed", "stopped")

    async def test_a_second_caller_joins_the_first(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(100_000)))
        assert await asyncio.gather(*(recorder.stop_session(CHANNEL) for _ in range(3))) == [True] * 3
        assert (await recording_of(services))["status"] == "complete"

    async def test_a_caller_that_gives_up_does_not_stop_the_stop(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(100_000)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await recorder.stop_session(CHANNEL)
        await recorder.stop_session(CHANNEL)
        assert await recorder.wait_until_ended(MEETING, 60)
        assert (await recording_of(services))["status"] == "complete"

    async def test_all_at_once(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        ids = {channel: generate_16_char_uuid() for channel in range(1, 6)}
        for channel, meeting_id in ids.items():
            await recorder.start_session(channel, meeting_id, user_id=ALICE)
            await recorder.sessions[channel].push_audio_data(to_pcm(tone(10_000 * channel)))
        assert await asyncio.gather(*(recorder.stop_session(channel) for channel in ids)) == [True] * 5
        for channel, meeting_id in ids.items():
            assert len(sound_of(await recording_of(services, meeting_id))) == 10_000 * channel

    async def test_at_the_limit_it_goes_on_by_itself(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.hold()
        async with open_services(ffmpeg_path=str(unreliable.path), transcode_wait_seconds=0.1) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(100_000)))
            assert await recorder.stop_session(CHANNEL) is True
            assert CHANNEL not in recorder.sessions
            assert await recorder.start_session(CHANNEL), "the channel is free again"
            meeting = await services.sql_recording_service.get_meeting(MEETING)
            assert meeting is not None
            assert meeting["status"] == "processing"
            assert await services.sql_recording_service.get_recordings_for_meeting(MEETING) == []
            assert await recorder.wait_until_ended(MEETING, 0.05) is False
            unreliable.hold(False)
            assert await recorder.wait_until_ended(MEETING, 60) is True
            assert len(sound_of(await recording_of(services))) == 100_000
            assert await chunks_of(services) == []


class TestWaiting:
    async def test_nothing_is_pending(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        assert await recorder._wait_for_pending_transcodes(MEETING) is True
        assert await recorder._wait_for_pending_transcodes(meeting_id=MEETING, max_wait_seconds=0) is True
        with pytest.raises(InvalidIdError):
            await recorder._wait_for_pending_transcodes("?")

    async def test_until_it_is_or_until_the_limit(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.hold()
        async with open_services(ffmpeg_path=str(unreliable.path)) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(96_000)))
            assert await recorder._wait_for_pending_transcodes(MEETING, max_wait_seconds=0) is False
            assert await recorder._wait_for_pending_transcodes(MEETING, 0.05) is False
            waiting = asyncio.create_task(recorder._wait_for_pending_transcodes(MEETING))
            unreliable.hold(False)
            assert await waiting is True
            assert {chunk["transcode_status"] for chunk in await chunks_of(services)} == {"done"}

    async def test_for_a_meeting_that_nobody_knows(self, services: ServicesManager) -> None:
        with pytest.raises(MeetingNotFoundError, match="There is no meeting"):
            await services.discord_recorder_service.wait_until_ended(MEETING, 1)


class TestDeleting:
    async def test_everything_goes(self, open_services: OpenServices) -> None:
        async with open_services(keep_master=True) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(10_000)))
            await session.push_audio_data(to_pcm(tone(10_000)), user_id=BOB)
            await stopped(services)
            await recorder.delete_meeting(MEETING)
            assert await services.sql_recording_service.get_recordings_for_meeting(MEETING) == []
            assert await services.sql_recording_service.get_meeting(MEETING) is None
            assert list(services.settings.recordings_dir.iterdir()) == []
            assert list(services.settings.temp_dir.iterdir()) == []
            with pytest.raises(MeetingNotFoundError):
                await recorder.delete_meeting(MEETING)
            assert await recorder.start_session(CHANNEL, MEETING) is True

    async def test_not_what_is_live(self, services: ServicesManager) -> None:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(10_000)))
        with pytest.raises(MeetingActiveError, match="still recording"):
            await services.discord_recorder_service.delete_meeting(MEETING)
        assert len(sound_of(await stopped(services))) == 10_000


async def test_moments_are_aware_and_in_order(services: ServicesManager) -> None:
    session = await started(services)
    await session.push_audio_data(to_pcm(tone(10_000)))
    recording = await stopped(services)
    assert recording["started_at"].utcoffset() == timedelta(0)
    assert recording["started_at"] < recording["ended_at"] <= datetime.now(recording["ended_at"].tzinfo)
