"""An FFmpeg that fails, waits and counts when a test says so, and is the real one otherwise."""

import shlex
import sys
from pathlib import Path
from typing import Final

import psutil

from discord_recorder.audio.ffmpeg import find_ffmpeg

FFMPEG: Final = find_ffmpeg(None)

BAD_PCM: Final = bytes.fromhex("deadbeefcafef00d")
"""Two samples that make `UnreliableFfmpeg` fail on the chunk that holds them, while it is told to."""

_PROGRAM: Final = """\
import os, pathlib, subprocess, sys, time

folder = pathlib.Path({folder!r})
feeding = "-nostdin" not in sys.argv
data = sys.stdin.buffer.read() if feeding else b""
with open(folder / "calls", "a") as calls:
    calls.write(f"{{os.getpid()}} {{len(data)}}\\n")
while (folder / "held").exists():
    time.sleep(0.01)
broken = [
    (folder / "down").exists(),
    (folder / "unmixable").exists() and "-filter_complex" in sys.argv,
    (folder / "deaf").exists() and "-af" in sys.argv,
    (folder / "lossy").exists() and "flac" in sys.argv,
    (folder / "broken").exists() and {bad!r} in data,
]
if any(broken):
    sys.exit("this chunk cannot be encoded")
sys.exit(subprocess.run([{ffmpeg!r}, *sys.argv[1:]], **({{"input": data}} if feeding else {{}})).returncode)
"""


class UnreliableFfmpeg:
    """A program at `path` that stands in for FFmpeg; every attribute takes effect with the next run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self.path = folder / "ffmpeg"
        program = folder / "program.py"
        program.write_text(_PROGRAM.format(folder=str(folder), bad=BAD_PCM, ffmpeg=FFMPEG))
        self.path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -SEI {shlex.quote(str(program))} "$@"\n')
        self.path.chmod(0o755)

    def fail_on_bad_pcm(self, yes: bool = True) -> None:
        """Fail on input that holds `BAD_PCM`."""
        self._set("broken", yes)

    def fail_always(self, yes: bool = True) -> None:
        """Fail on whatever it is given."""
        self._set("down", yes)

    def fail_on_mixing(self, yes: bool = True) -> None:
        """Fail when several tracks are to be added."""
        self._set("unmixable", yes)

    def fail_on_measuring(self, yes: bool = True) -> None:
        """Fail when loudness is to be measured."""
        self._set("deaf", yes)

    def fail_on_flac(self, yes: bool = True) -> None:
        """Fail when a lossless file is to be made."""
        self._set("lossy", yes)

    def hold(self, yes: bool = True) -> None:
        """Make runs wait, those that wait already included, until it is called with False."""
        self._set("held", yes)

    @property
    def calls(self) -> list[int]:
        """How many bytes each run was fed with."""
        return [int(line.split()[1]) for line in self._log()]

    @property
    def living(self) -> list[int]:
        """Process ids of the runs that are still alive."""
        return [pid for line in self._log() if psutil.pid_exists(pid := int(line.split()[0]))]

    def _log(self) -> list[str]:
        path = self._folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def _set(self, name: str, yes: bool) -> None:
        if yes:
            (self._folder / name).touch()
        else:
            (self._folder / name).unlink(missing_ok=True)
