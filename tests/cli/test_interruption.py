import errno
import os
import signal
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import psutil
import pytest

from tests.audio.signals import clicks, played, to_pcm, tone
from tests.cli.runs import DEADLINE_SECONDS, MEETING, Cli, Process
from tests.support.ffmpeg import UnreliableFfmpeg

PUSHED_SECONDS = 6


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A "file" of which the test decides how much there is to read."""
    path = tmp_path / "Ada.wav"
    os.mkfifo(path)
    return path


@contextmanager
def held_open(pipe: Path, process: Process) -> Iterator[int]:
    """The writing end, once the program reads from the other one."""

    def opened() -> int:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return 0  # nobody reads yet

    descriptor = process.until(opened)
    os.set_blocking(descriptor, True)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def a_recording_in_the_middle() -> bytes:
    """The first seconds of a WAV file that says it is an hour long."""
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 48_000, 0, "NONE", ""))
        writer.writeframes(b"")
    header = bytearray(file.getvalue())
    header[40:44] = (3600 * 192_000).to_bytes(4, "little")
    header[4:8] = (3600 * 192_000 + 36).to_bytes(4, "little")
    return bytes(header) + to_pcm(tone(PUSHED_SECONDS * 48_000, hertz=440))


def wait_until_recorded(cli: Cli, process: Process) -> None:
    """Until the third chunk of 2 s is there: its name says where it begins."""
    process.until(lambda: list(cli.data_dir.glob(f"temp/{MEETING}/1/{4 * 48_000:012}-*")))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_pushed_is_kept_and_finished(cli: Cli, pipe: Path, number: signal.Signals, code: int) -> None:
    with cli.process("ingest", pipe, "--meeting-id", MEETING) as process, held_open(pipe, process) as writer:
        os.write(writer, a_recording_in_the_middle())
        wait_until_recorded(cli, process)
        process.signal(number)
        exit_code, stdout, stderr = process.result()
    assert exit_code == code
    assert f"leave meeting {MEETING} in good order" in stderr
    assert f"are kept as meeting {MEETING}" in stderr
    assert f"export {MEETING} --to DIR" in stderr
    assert "Traceback" not in stderr
    assert str(cli.data_dir / "recordings" / MEETING / "1.mp3") in stdout
    [entry] = cli.json("recordings")
    assert (entry["status"], entry["meeting"]["recovered"]) == ("complete", False)
    assert 4000 <= entry["duration_ms"] <= PUSHED_SECONDS * 1000
    sound = played(Path(entry["recording"]["path"]))
    assert clicks(sound[4800:-4800], 440).max() < 0.01
    assert not list((cli.data_dir / "temp").glob("*/*/*"))


def test_a_live_meeting_can_be_looked_at_but_not_taken_away(cli: Cli, pipe: Path, tmp_path: Path) -> None:
    with cli.process("ingest", pipe, "--meeting-id", MEETING) as process, held_open(pipe, process) as writer:
        os.write(writer, a_recording_in_the_middle())
        wait_until_recorded(cli, process)
        assert cli.json("show", MEETING)["status"] == "recording"
        assert "in work: " in cli.ok("show", MEETING).stdout
        assert "1 meeting in work, none left behind" in cli.ok("doctor").stdout
        assert "no recording to export yet: it is recording" in cli.refused("export", MEETING, "--to", tmp_path)
        assert "is still recording" in cli.refused("delete", MEETING, "--yes")
        assert "another running recorder" in cli.refused("retry", MEETING)
        process.signal()
        assert process.result()[0] == 130
    assert cli.json("show", MEETING)["status"] == "complete"


def test_nothing_is_recorded_when_it_ends_before_the_files_are_proved(cli: Cli, pipe: Path) -> None:
    with cli.process("ingest", pipe) as process, held_open(pipe, process):
        process.signal()
        exit_code, stdout, stderr = process.result()
    assert (exit_code, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "error: interrupted by SIGINT"
    assert cli.json("recordings") == []


def test_the_second_time_ends_at_once_and_the_next_start_finishes(
    cli: Cli, pipe: Path, unreliable: UnreliableFfmpeg
) -> None:
    cli.env["DISCORD_RECORDER_FFMPEG_PATH"] = str(unreliable.path)
    with cli.process("ingest", pipe, "--meeting-id", MEETING) as process, held_open(pipe, process) as writer:
        os.write(writer, a_recording_in_the_middle())
        unreliable.hold()
        wait_until_recorded(cli, process)
        process.signal()
        assert process.read_error_line().startswith("Stopping")
        process.signal()
        exit_code, stdout, stderr = process.result()
    assert (exit_code, stdout) == (130, "")
    assert stderr == f"Left at once. The next start of discord-recorder finishes meeting {MEETING}.\n"
    unreliable.hold(False)
    wait_until_dead(unreliable)
    assert "A meeting was taken over" in cli.run("cleanup").stderr
    [entry] = cli.json("recordings")
    assert entry["status"] == "complete"
    assert entry["duration_ms"] >= 4000


def wait_until_dead(unreliable: UnreliableFfmpeg) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(psutil.pid_exists(pid) for pid in unreliable.living):
        assert time.monotonic() < deadline
        time.sleep(0.01)
