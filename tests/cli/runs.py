"""Runs of the program: in this process for speed, in one of their own where signals and pipes are the point."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from typer.testing import CliRunner, Result

from discord_recorder.cli.app import app

T = TypeVar("T")

MEETING = "abc123xyz7890def"
UNKNOWN = "0123456789abcdef"

DEADLINE_SECONDS = 45.0
"""How long anything may take; nothing does unless it is broken."""

ENVIRONMENT = {
    "DISCORD_RECORDER_FLUSH_INTERVAL_SECONDS": "2",
    "DISCORD_RECORDER_TRANSCODE_BACKOFF_SECONDS": "0.01",
    "DISCORD_RECORDER_DISK_WARN_MIB": "0",
    "DISCORD_RECORDER_DISK_STOP_MIB": "0",
    "FORCE_COLOR": None,
    "TTY_COMPATIBLE": None,
}


def write_wav(path: Path, pcm: bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 48_000, 0, "NONE", ""))
        file.writeframes(pcm)
    return path


class Cli:
    """The program with the settings of a test."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.env: dict[str, str | None] = {**ENVIRONMENT, "DISCORD_RECORDER_DATA_DIR": str(data_dir)}

    def run(self, *args: object, stdin: str | None = None) -> Result:
        """Run it in this process."""
        result = CliRunner(env=self.env).invoke(app, [str(arg) for arg in args], input=stdin, catch_exceptions=False)
        assert "Traceback" not in result.output
        return result

    def ok(self, *args: object) -> Result:
        """Run it, and see it succeed in silence."""
        result = self.run(*args)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result

    def json(self, *args: object) -> Any:
        """What it prints for scripts."""
        return json.loads(self.ok(*args, "--json").stdout)

    def failed(self, *args: object, code: int = 1) -> str:
        """Run it, see it fail, and give what it says on stderr."""
        result = self.run(*args)
        assert result.exit_code == code, result.output
        return result.stderr

    def refused(self, *args: object) -> str:
        """Run it, see it fail with one line and no result; gives the line without its mark."""
        result = self.run(*args)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        [line] = result.stderr.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    @contextmanager
    def process(self, *args: object, stdin: int = subprocess.DEVNULL) -> Iterator["Process"]:
        """Run it in a process of its own, which is dead when the block ends."""
        environment = {name: value for name, value in ({**os.environ, **self.env}).items() if value is not None}
        with Process([str(arg) for arg in args], environment, stdin=stdin) as process:
            yield process

    def on_a_terminal(self, *args: object) -> tuple[str, str]:
        """Run it with stderr on a terminal: what it prints to stdout, and what the terminal is sent."""
        ours, theirs = pty.openpty()
        environment = {name: value for name, value in ({**os.environ, **self.env}).items() if value is not None}
        with Process([str(arg) for arg in args], environment, theirs) as run:
            os.close(theirs)
            shown = bytearray()
            with suppress(OSError):  # the last one to hold it has closed it
                while block := os.read(ours, 4096):
                    shown += block
            os.close(ours)
            code, stdout, _ = run.result()
        assert code == 0
        return stdout, shown.decode()

    @staticmethod
    def succeed(*command: object) -> None:
        """Run something else."""
        subprocess.run([str(part) for part in command], check=True)


class Process:
    """The program in a process of its own."""

    def __init__(
        self,
        args: list[str],
        environment: Mapping[str, str],
        stderr: int = subprocess.PIPE,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "discord_recorder", *args],
            env={**environment, "PYTHONPATH": path},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal, Ctrl-C's unless told otherwise, to it alone."""
        self._process.send_signal(number)

    def type(self, line: str) -> None:
        """Type a line; its stdin has to be a pipe."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def read_line(self) -> str:
        """Its next line on stdout."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def read_error_line(self) -> str:
        """Its next line on stderr."""
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def read_json(self) -> Any:
        """The object that it prints first on stdout, while it runs on."""
        assert self._process.stdout is not None
        lines = iter(self._process.stdout.readline, "")
        text = ""
        for line in lines:
            text += line
            if line == "}\n":
                return json.loads(text)
        raise AssertionError(f"it ended without a result: {text}")

    def run_unread(self) -> tuple[int, str]:
        """Wait for its end without reading its stdout, of which nobody holds the other end: exit code, stderr."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdout.close()
        stderr = self._process.stderr.read()
        return self._process.wait(DEADLINE_SECONDS), stderr

    def result(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout, stderr."""
        stdout, stderr = self._process.communicate(timeout=DEADLINE_SECONDS)
        return self._process.returncode, stdout, stderr

    def until(self, condition: Callable[[], T]) -> T:
        """Wait until the answer is true, as long as it runs."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            if answer := condition():
                return answer
            assert self._process.poll() is None, f"it ended: {self._process.communicate()}"
            time.sleep(0.01)
        raise AssertionError("it did not come that far")
