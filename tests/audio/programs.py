"""FFmpeg under observation, and programs that stand in for it and misbehave."""

import os
from collections.abc import Sequence
from pathlib import Path

from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.mp3 import split_frames
from tests.audio.signals import FFMPEG


class WatchedFfmpeg(Ffmpeg):
    """The real thing; it notes what each run was fed with, and how many frames there are in MP3 files it was given."""

    def __init__(self) -> None:
        super().__init__(FFMPEG)
        self.fed_bytes: list[int] = []
        self.given_frames: list[int] = []

    async def run(self, args: Sequence[str], *, stdin: bytes = b"", time_limit_seconds: float | None = None) -> bytes:
        self.fed_bytes.append(len(stdin))
        files = [Path(arg.removeprefix("file:")) for arg in args if arg.startswith("file:")]
        self.given_frames += [len(split_frames(file.read_bytes())) for file in files]
        return await super().run(args, stdin=stdin, time_limit_seconds=time_limit_seconds)


def nowhere() -> Ffmpeg:
    """An FFmpeg that cannot run: whoever gets by with it has run nothing."""
    return Ffmpeg("/nowhere/ffmpeg")


def script(folder: Path, body: str) -> str:
    """The path of a new executable shell script."""
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


class Lifeline:
    """A FIFO that a program and its children hold open; its end shows that the last of them is dead."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lifeline"
        os.mkfifo(self.path)
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self._reader, True)

    def hold(self) -> str:
        """Shell code after which the shell and what it starts hold the line, and "up" was said."""
        return f"exec 9>'{self.path}'; echo up >&9"

    def wait_for_life(self) -> None:
        """Return once somebody holds the line."""
        writer = os.open(self.path, os.O_WRONLY)  # so that reading waits although nobody may have come yet
        try:
            assert os.read(self._reader, 3) == b"up\n"
        finally:
            os.close(writer)

    def wait_for_death(self) -> None:
        """Return once nobody holds the line; a survivor makes the test time out."""
        while os.read(self._reader, 100):
            pass
        os.close(self._reader)
