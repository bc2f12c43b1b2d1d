import asyncio
import os
import subprocess
import sys
import textwrap
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from discord_recorder import (
    DiscordRecorderManagerService,
    FfmpegNotFoundError,
    MeetingExistsError,
    ServicesClosedError,
    ServicesManager,
    Settings,
    StorageError,
    get_services_manager,
)
from discord_recorder.services import manager as manager_module
from discord_recorder.services.manager import open_catalog
from tests.audio.signals import snr_db, to_pcm, tone
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
    BOB,
    CHANNEL,
    MEETING,
    OpenServices,
    chunks_of,
    quick_settings,
    recording_of,
    sound_of,
    started,
    stopped,
)
from tests.support.waiting import until

SOURCE = Path(manager_module.__file__).parents[2]


def folder_names(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


class TestOneOfTheProcess:
    @pytest.fixture(autouse=True)
    def _fresh_process(self, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
        monkeypatch.setattr(manager_module._Process, "manager", None)
        monkeypatch.setenv("DISCORD_RECORDER_DATA_DIR", str(data_dir))

    def test_can_be_had_before_any_event_loop_runs(self, data_dir: Path) -> None:
        services = get_services_manager()
        assert isinstance(services.discord_recorder_service, DiscordRecorderManagerService)
        assert get_services_manager() is services
        assert services.settings.data_dir == data_dir
        assert not data_dir.exists(), "nothing starts before the first use"

        async def use() -> None:
            assert get_services_manager() is services
            assert await services.discord_recorder_service.list_active_sessions() == []
            await services.aclose()

        asyncio.run(use())
        assert get_services_manager() is not services

    async def test_a_new_one_after_it_was_closed(self) -> None:
        first = get_services_manager()
        await first.aclose()
        second = get_services_manager()
        assert second is not first
        with pytest.raises(ServicesClosedError, match=r"call get_services_manager\(\) again"):
            await first.sql_recording_service.list_recordings()
        assert await second.sql_recording_service.list_recordings() == []
        await second.aclose()

    def test_a_new_one_after_its_event_loop_ended(self) -> None:
        async def use() -> ServicesManager:
            services = get_services_manager()
            assert await services.sql_recording_service.list_recordings() == []
            await services.aclose()
            return services

        assert asyncio.run(use()) is not asyncio.run(use())

    def test_it_is_not_for_two_event_loops(self, settings: Settings) -> None:
        services = ServicesManager(settings)

        async def use() -> None:
            await services.sql_recording_service.list_recordings()

        async def use_elsewhere() -> None:
            with pytest.raises(ServicesClosedError, match="belongs to another event loop"):
                await asyncio.to_thread(asyncio.run, use())
            await services.aclose()

        async def use_here_and_elsewhere() -> None:
            await use()
            await use_elsewhere()

        asyncio.run(use_here_and_elsewhere())


class TestStarting:
    async def test_the_first_use_starts_it_once(self, settings: Settings) -> None:
        async with aclosing(ServicesManager(settings)) as services:
            await asyncio.gather(*(services.sql_recording_service.list_recordings() for _ in range(10)))
            assert len(folder_names(settings.run_dir, "*.lock")) == 1

    async def test_a_start_that_failed_can_be_tried_again(self, tmp_path: Path, data_dir: Path) -> None:
        program = tmp_path / "my-ffmpeg"
        services = ServicesManager(quick_settings(data_dir, ffmpeg_path=str(program)))
        with pytest.raises(FfmpegNotFoundError, match=r"my-ffmpeg.*DISCORD_RECORDER_FFMPEG_PATH"):
            await services.start()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        await services.start()
        await services.aclose()

    async def test_a_data_directory_that_cannot_be_written(self, data_dir: Path) -> None:
        data_dir.with_name("file").touch()
        async with aclosing(ServicesManager(quick_settings(data_dir.with_name("file") / "data"))) as services:
            with pytest.raises(StorageError, match=r"data cannot be written .*DISCORD_RECORDER_DATA_DIR"):
                await services.start()
            data_dir.with_name("file").unlink()
            await services.start()

    async def test_a_failed_start_leaves_nothing(self, settings: Settings) -> None:
        settings.data_dir.mkdir()
        settings.database_file.write_bytes(b"this is no database" * 100)
        files_before = open_files()
        services = ServicesManager(settings)
        with pytest.raises(Exception, match="is not an SQLite database"):
            await services.start()
        assert folder_names(settings.run_dir, "*.lock") == []
        assert open_files() <= files_before
        await services.aclose()


def open_files() -> int:
    return psutil.Process().num_fds()


async def record_something(services: ServicesManager) -> None:
    session = await started(services, title="Stand-up")
    await session.push_audio_data(to_pcm(tone(100_000)))
    await session.push_audio_data(to_pcm(tone(60_000)), user_id=BOB)


class TestClosing:
    async def test_leaks_nothing(self, settings: Settings) -> None:
        async with ServicesManager(settings):
            pass  # so that the threads of the event loop's pool are there
        threads_and_files, others = open_files(), set(psutil.Process().children())
        for number in range(3):
            async with ServicesManager(settings) as services:
                session = await started(services, meeting_id=f"{number:016d}")
                await session.push_audio_data(to_pcm(tone(100_000)))
                await session.push_audio_data(to_pcm(tone(70_000)), user_id=BOB)
                if number:
                    await stopped(services, f"{number:016d}")
        assert open_files() <= threads_and_files
        assert folder_names(settings.run_dir, "*.lock") == []
        assert folder_names(settings.temp_dir) == []
        assert set(psutil.Process().children()) <= others

    async def test_a_live_session_is_promoted(self, settings: Settings) -> None:
        async with ServicesManager(settings) as services:
            await record_something(services)
        assert list(services.discord_recorder_service.sessions) == []
        async with open_catalog(settings) as catalog:
            (recording,) = await catalog.get_recordings_for_meeting(MEETING)
            meeting = await catalog.get_meeting(MEETING)
        assert (recording["status"], recording["recovered"]) == ("complete", False)
        assert len(sound_of(recording)) == 100_000
        assert meeting is not None
        assert (meeting["status"], meeting["end_reason"]) == ("completed", "the recorder was shut down")

    async def test_what_takes_too_long_is_left_to_the_next_start(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.hold()
        async with open_services(ffmpeg_path=str(unreliable.path), shutdown_grace_seconds=0.2) as services:
            await record_something(services)
        assert unreliable.living == []
        unreliable.hold(False)
        async with open_services() as services:
            assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
            recording = await recording_of(services)
        assert recording["status"] == "complete"
        assert recording["title"] == "Stand-up"
        assert len(sound_of(recording)) == 100_000

    async def test_a_stop_that_waits_does_not_hold_it_up(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.hold()
        async with open_services(
            ffmpeg_path=str(unreliable.path), shutdown_grace_seconds=0.2, transcode_wait_seconds=300
        ) as services:
            await record_something(services)
            stopping = asyncio.create_task(services.discord_recorder_service.stop_session(CHANNEL))
            await until(lambda: not services.discord_recorder_service.sessions[CHANNEL].is_recording)
        assert await stopping is True
        assert unreliable.living == []
        unreliable.hold(False)
        async with open_services() as services:
            assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
            assert (await recording_of(services))["status"] == "complete"

    async def test_twice_at_once_and_without_a_start(self, settings: Settings) -> None:
        services = ServicesManager(settings)
        await services.aclose()
        assert not settings.data_dir.exists()
        async with ServicesManager(settings) as services:
            await record_something(services)
            await asyncio.gather(services.aclose(), services.aclose())
        async with open_catalog(settings) as catalog:
            assert len(await catalog.list_recordings()) == 1

    async def test_use_after_it(self, settings: Settings) -> None:
        async with ServicesManager(settings) as services:
            session = await started(services)
        for call in (
            services.discord_recorder_service.start_session(CHANNEL),
            services.discord_recorder_service.stop_session(CHANNEL),
            services.sql_recording_service.list_recordings(),
        ):
            with pytest.raises(ServicesClosedError):
                await call
        with pytest.raises(Exception, match="has been stopped"):
            await session.push_audio_data(bytes(4))


class TestTwoOnOneDataDirectory:
    async def test_one_session_a_channel(self, open_services: OpenServices) -> None:
        async with open_services() as one, open_services() as two:
            both = [one.discord_recorder_service, two.discord_recorder_service]
            assert sorted(await asyncio.gather(*(service.start_session(CHANNEL) for service in both * 3))) == [
                *[False] * 5,
                True,
            ]
            assert sum(len(service.sessions) for service in both) == 1

    async def test_one_start_a_meeting_id(self, open_services: OpenServices) -> None:
        async with open_services() as one, open_services() as two:
            starts = [
                services.discord_recorder_service.start_session(channel, MEETING)
                for channel, services in enumerate([one, two, one, two], start=1)
            ]
            results = await asyncio.gather(*starts, return_exceptions=True)
        assert results.count(True) == 1
        assert [type(result) for result in results if result is not True] == [MeetingExistsError] * 3

    async def test_they_share_the_work_and_the_results(self, open_services: OpenServices) -> None:
        signal = tone(480_000)
        async with open_services() as one, open_services() as two:
            session = await started(one)
            await session.push_audio_data(to_pcm(signal))
            assert await two.discord_recorder_service.stop_session(CHANNEL) is False, "it is not this one's"
            await stopped(one)
            recording = await recording_of(two)
        assert snr_db(signal, sound_of(recording)) > 30

    async def test_a_living_ones_meeting_is_not_recovered(self, open_services: OpenServices) -> None:
        async with open_services() as one:
            session = await started(one)
            await session.push_audio_data(to_pcm(tone(10_000)))
            async with open_services() as two:
                await two.discord_recorder_service.cleanup_old_temp_recordings_once(0)
            await session.push_audio_data(to_pcm(tone(10_000)))
            recording = await stopped(one)
        assert recording["recovered"] is False
        assert len(sound_of(recording)) == 20_000

    async def test_opened_at_the_same_moment(self, open_services: OpenServices) -> None:
        for _ in range(3):
            async with open_services() as one, open_services() as two:
                assert await asyncio.gather(
                    *(service.sql_recording_service.list_recordings() for service in (one, two))
                ) == [[], []]


def run_program(program: str, *arguments: str, cwd: Path, **environment: Path) -> list[str]:
    """Run Python source in a process of its own; the lines that it prints."""
    variables = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(SOURCE),
        **{k: str(v) for k, v in environment.items()},
    }
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


class TestLeftWithoutClosing:
    PROGRAM = """\
        import asyncio
        from discord_recorder import get_services_manager

        async def forget_to_close() -> None:
            recorder = get_services_manager().discord_recorder_service
            await recorder.start_session(1, "0123456789abcdef", user_id=2)
            await recorder.sessions[1].push_audio_data(bytes(range(240)) * 2000)

        async def go_on() -> None:
            services = get_services_manager()
            recorder = services.discord_recorder_service
            print(await recorder.start_session(1, user_id=2))
            await recorder.wait_until_ended("0123456789abcdef", 60)
            (recording,) = await services.sql_recording_service.get_recordings_for_meeting("0123456789abcdef")
            print(recording["status"], recording["recovered"], recording["duration_ms"])
            await services.aclose()

        asyncio.run(forget_to_close())
        asyncio.run(go_on())
    """

    def test_the_next_event_loop_finishes_it(self, tmp_path: Path, data_dir: Path) -> None:
        printed = run_program(self.PROGRAM, cwd=tmp_path, DISCORD_RECORDER_DATA_DIR=data_dir)
        assert printed == ["True", "complete True 2500"]


class TestWhereItWrites:
    PROGRAM = """\
        import asyncio, sys
        from discord_recorder import ServicesManager, Settings

        async def main() -> None:
            settings = Settings(
                data_dir=sys.argv[1], keep_master=True, flush_interval_seconds=0.5, disk_warn_mib=0, disk_stop_mib=0
            )
            async with ServicesManager(settings) as services:
                recorder = services.discord_recorder_service
                await recorder.start_session(1, user_id=2)
                for user in (2, 3):
                    await recorder.sessions[1].push_audio_data(bytes(range(250)) * 1000, user_id=user)
                await recorder.stop_session(1)
                assert len((await services.sql_recording_service.list_recordings())[0]["tracks"]) == 3
                await recorder.cleanup_old_temp_recordings_once()

        asyncio.run(main())
    """

    def test_only_in_the_data_directory(self, tmp_path: Path) -> None:
        folders = {name: tmp_path / name for name in ("cwd", "home", "tmp", "config")}
        for folder in folders.values():
            folder.mkdir()
        data_dir = tmp_path / "data"
        run_program(
            self.PROGRAM,
            str(data_dir),
            cwd=folders["cwd"],
            HOME=folders["home"],
            TMPDIR=folders["tmp"],
            TEMP=folders["tmp"],
            XDG_CONFIG_HOME=folders["config"],
            XDG_CACHE_HOME=folders["config"],
        )
        assert {name: folder_names(folder) for name, folder in folders.items()} == {name: [] for name in folders}
        assert folder_names(tmp_path) == sorted([*folders, "data"])
        assert folder_names(data_dir) == ["recorder.sqlite3", "recordings", "run", "temp"]

    async def test_a_data_directory_of_any_name(self, tmp_path: Path) -> None:
        async with ServicesManager(quick_settings(tmp_path / "ü %d 100% 'x' # ? & \\ $HOME -y")) as services:
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(60_000)))
            await session.push_audio_data(to_pcm(tone(60_000)), user_id=BOB)
            recording = await stopped(services)
        assert {len(sound_of(recording, user)) for user in (ALICE, BOB, None)} == {60_000}

    async def test_recordings_elsewhere(self, tmp_path: Path, open_services: OpenServices) -> None:
        async with open_services(
            storage_url=f"file://{tmp_path}/shelf", database_url=f"sqlite:///{tmp_path}/my.db"
        ) as services:
            session = await started(services)
            await session.push_audio_data(to_pcm(tone(60_000)))
            recording = await stopped(services)
        assert recording["path"] == f"{tmp_path}/shelf/{MEETING}/{ALICE}.mp3"
        assert len(sound_of(recording)) == 60_000
        assert (tmp_path / "my.db").exists()


async def test_the_data_directory_can_be_moved(tmp_path: Path) -> None:
    async with ServicesManager(quick_settings(tmp_path / "here")) as services:
        await record_something(services)
    (tmp_path / "here").rename(tmp_path / "there")
    async with ServicesManager(quick_settings(tmp_path / "there")) as services:
        recording = await recording_of(services)
        assert recording["path"].startswith(str(tmp_path / "there"))
        assert len(sound_of(recording)) == 100_000
        assert await chunks_of(services) == []


async def test_the_log(services: ServicesManager, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "discord_recorder"):
        await services.logging_service.info("a %s")
        await services.logging_service.warning("b")
        await services.logging_service.error("c")
    logged = [(r.name, r.levelname, r.getMessage()) for r in caplog.records if r.name == "discord_recorder"]
    assert logged == [
        ("discord_recorder", "INFO", "a %s"),
        ("discord_recorder", "WARNING", "b"),
        ("discord_recorder", "ERROR", "c"),
    ]
