"""FFmpeg as a collaborator: one object that runs the program and leaves nothing behind.

Every run is a process group of its own, given an argument list and never a shell. Whatever happens (an error, the time
limit, a cancellation) the whole group is killed and its pipes are emptied before the call returns.
"""

import asyncio
import errno
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imageio_ffmpeg

from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.errors import FfmpegError, FfmpegNotFoundError, FfmpegTimeoutError, NotAudioError

NO_OUTPUT: Final = ("-f", "null", "-")
"""An output that throws everything away."""

_MONO: Final = re.compile(rb"Stream #0:\d+.*: Audio: .*, mono[, ]")

PCM_FORMAT: Final = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", str(CHANNELS))
"""FFmpeg's name of the recorder's PCM, for an input or an output."""

MONO_PCM_FORMAT: Final = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1")
"""The same of one of its channels."""

PIPE_OUTPUT: Final = ("-flush_packets", "0", "pipe:1")
"""Output to stdout in blocks. Flushed packet by packet, a 10 s chunk of MP3 cost its reader 18 ms of CPU, not 4."""

DEFAULT_TIME_LIMIT_SECONDS: Final = 60.0

_DECODE_BLOCK_BYTES: Final = SAMPLE_RATE * SAMPLE_BYTES
"""One second: few wake-ups an hour of audio, little memory."""

_PIPE_BYTES: Final = 256 * 1024
"""What is written, or read ahead, at once: a few of the kernel's pipes (64 KiB)."""

_STDERR_BYTES: Final = 4096
"""How much of the end of stderr is kept for the error message."""

_STDERR_LINES: Final = 4
"""How many of the last lines an error message shows."""

_PROTOCOLS: Final = "file,crypto,data"
"""What an input may open: nothing on a network, whatever a playlist says."""

_FAULTS_OF_SETTING: Final = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR}
_WAY_OUT: Final = "set DISCORD_RECORDER_FFMPEG_PATH to an FFmpeg program, or unset it to use the one of imageio-ffmpeg"


def find_ffmpeg(setting: str | None) -> str:
    """The absolute path of the FFmpeg program to use.

    Args:
        setting: a path or a name on PATH; None or "" means the binary that the imageio-ffmpeg wheel brings.

    Raises:
        FfmpegNotFoundError: no executable program is there.
    """
    if setting:
        found = shutil.which(Path(setting).expanduser())
        if found is None:
            raise FfmpegNotFoundError(f"no program {setting!r} can be run; {_WAY_OUT}")
        return str(Path(found).absolute())
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise FfmpegNotFoundError(f"imageio-ffmpeg brought no binary for this machine; {_WAY_OUT}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A started process and the task that keeps the end of its stderr."""

    process: Process
    stderr: asyncio.Task[bytes]

    async def feed(self, data: bytes) -> None:
        """Write `data` to stdin and close it; a reader that has had enough is no fault."""
        stdin = self.process.stdin
        if stdin is None:
            return
        view = memoryview(data)
        with suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(view), _PIPE_BYTES):
                stdin.write(view[start : start + _PIPE_BYTES])
                await stdin.drain()
        stdin.close()

    async def feed_on(self, block: bytes) -> bool:
        """Write more to stdin; False when nobody reads it any more."""
        stdin = self.process.stdin
        try:
            if stdin is not None:
                stdin.write(block)
                await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return False
        return stdin is not None and not stdin.is_closing()

    async def read_block(self, time_limit_seconds: float) -> bytes:
        """The next second of PCM; less at the end, nothing after it, never a part of a sample."""
        async with asyncio.timeout(time_limit_seconds):
            try:
                return await _stream(self.process.stdout).readexactly(_DECODE_BLOCK_BYTES)
            except asyncio.IncompleteReadError as end:
                return end.partial[: len(end.partial) // SAMPLE_BYTES * SAMPLE_BYTES]

    async def result(self) -> tuple[int, str]:
        """The exit code and the last lines of stderr, once both have ended."""
        await asyncio.wait((self.stderr,))  # unlike awaiting it, leaves it alive when this is cancelled
        lines = self.stderr.result().decode(errors="replace").splitlines()
        complaint = " | ".join([line.strip() for line in lines if line.strip()][-_STDERR_LINES:])
        return await self.process.wait(), complaint or "it said nothing"

    async def kill(self) -> None:
        """End the whole group and empty its pipes, without which asyncio would not let go of them."""
        with suppress(ProcessLookupError, PermissionError):  # gone; on macOS, a group of zombies
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
        while await _stream(self.process.stdout).read(_PIPE_BYTES):
            pass
        await self.result()


class Ffmpeg:
    """Runs one FFmpeg program; any number of runs at a time, each with its own process."""

    def __init__(self, program: str, time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS) -> None:
        self._program = program
        self._time_limit_seconds = time_limit_seconds

    async def run(self, args: Sequence[str], *, stdin: bytes = b"", time_limit_seconds: float | None = None) -> bytes:
        """Run FFmpeg with `args`, fed with `stdin`, and return what it wrote to stdout.

        Stdin left unread by a program that ends well is not an error.

        Args:
            args: what follows the program's name; the options that keep it quiet are added in front.
            stdin: all of its input; nothing means no standard input at all (`-nostdin`).
            time_limit_seconds: after this the group is killed; default is the constructor's.

        Raises:
            FfmpegError: it could not be started, or ended with a code other than 0.
            FfmpegNotFoundError: there is no such program.
            FfmpegTimeoutError: it did not end in time.
        """
        limit = self._time_limit_seconds if time_limit_seconds is None else time_limit_seconds
        async with self._started(args, feeding=bool(stdin)) as run:
            try:
                async with asyncio.timeout(limit):
                    output, _ = await asyncio.gather(_stream(run.process.stdout).read(), run.feed(stdin))
                    code, complaint = await run.result()
            except TimeoutError:
                raise FfmpegTimeoutError(f"FFmpeg did not end within {limit:g} s and was killed") from None
        if code:
            raise FfmpegError(f"FFmpeg ended with code {code}: {complaint}")
        return output

    async def encode(self, args: Sequence[str], blocks: AsyncIterable[bytes]) -> None:
        """Run FFmpeg with `args`, fed with `blocks` as they come, for what is too long to be held in memory.

        Args:
            args: what follows the program's name; they name the file that FFmpeg writes.
            blocks: all of its input; what it raises is raised, and FFmpeg killed.

        Raises:
            FfmpegError: it could not be started, or ended with a code other than 0.
            FfmpegNotFoundError: there is no such program.
            FfmpegTimeoutError: it took nothing, or did not end, for as long as a whole run may take.
        """
        async with self._started(args, feeding=True) as run:
            try:
                async for block in blocks:
                    async with asyncio.timeout(self._time_limit_seconds):
                        if not await run.feed_on(block):
                            break
                async with asyncio.timeout(self._time_limit_seconds):
                    await run.feed(b"")
                    code, complaint = await run.result()
            except TimeoutError:
                raise FfmpegTimeoutError(
                    f"FFmpeg took nothing for {self._time_limit_seconds:g} s and was killed"
                ) from None
        if code:
            raise FfmpegError(f"FFmpeg ended with code {code}: {complaint}")

    async def decode(self, path: Path) -> AsyncGenerator[bytes, None]:
        """Stream the first audio track of any media file as PCM (s16le, 48 kHz, stereo), a second at a time.

        FFmpeg runs no further ahead than the pipe holds. Close the generator (`contextlib.aclosing`) when it is left
        before its end: that kills FFmpeg.

        Raises:
            NotAudioError: the file holds no audio, or FFmpeg could not read all of it; the message says which file and
                why. What could be read was given before.
            FfmpegNotFoundError: there is no such program.
            FfmpegTimeoutError: nothing came for as long as a whole run may take.
        """
        source = _source(path)
        # FFmpeg would lower a mono file by 3 dB on each of two channels; who speaks in mono is as loud as in stereo.
        both = ("-af", "pan=stereo|c0=c0|c1=c0") if await self._is_mono(path) else ()
        target = ("-map", "0:a:0", "-vn", "-sn", "-dn", *both, *PCM_FORMAT, *PIPE_OUTPUT)
        heard = False
        async with self._started((*source, *target)) as run:
            try:
                while block := await run.read_block(self._time_limit_seconds):
                    heard = True
                    yield block
                async with asyncio.timeout(self._time_limit_seconds):
                    code, complaint = await run.result()
            except TimeoutError:
                raise FfmpegTimeoutError(
                    f"FFmpeg gave nothing of {path.name!r} for {self._time_limit_seconds:g} s and was killed"
                ) from None
        if code or not heard:
            raise NotAudioError(f"{path.name!r} holds no audio that FFmpeg can read: {complaint}")
        if run.stderr.result().strip():
            raise NotAudioError(f"{path.name!r} is damaged, FFmpeg could not read all of it: {complaint}")

    async def _is_mono(self, path: Path) -> bool:
        """Whether FFmpeg finds one channel; False as well for what it cannot read, or could not read twice."""
        if not await asyncio.to_thread(path.is_file):
            return False
        arguments = (*_source(path), "-loglevel", "info", "-map", "0:a:0", "-t", "0", *NO_OUTPUT)
        try:
            async with self._started(arguments) as run, asyncio.timeout(self._time_limit_seconds):
                await run.result()
        except TimeoutError:
            return False
        return _MONO.search(run.stderr.result()) is not None

    @asynccontextmanager
    async def _started(self, args: Sequence[str], *, feeding: bool = False) -> AsyncIterator[_Run]:
        """A running process; when it is left by an error, or its start is cancelled, its group is killed."""
        starting = asyncio.ensure_future(self._start(args, feeding=feeding))
        try:
            yield await asyncio.shield(starting)
        except BaseException:
            with suppress(FfmpegError):  # it never started
                await (await starting).kill()
            raise

    async def _start(self, args: Sequence[str], *, feeding: bool) -> _Run:
        quiet = ("-hide_banner", "-loglevel", "error", *(() if feeding else ("-nostdin",)))
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *quiet,
                *args,
                stdin=PIPE if feeding else DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                limit=_PIPE_BYTES,
                start_new_session=True,
            )
        except OSError as error:
            if error.errno in _FAULTS_OF_SETTING:
                raise FfmpegNotFoundError(f"{self._program!r} cannot be run ({error.strerror}); {_WAY_OUT}") from error
            raise FfmpegError(f"FFmpeg could not be started: {error.strerror}") from error
        return _Run(process=process, stderr=asyncio.create_task(_tail(_stream(process.stderr))))


def _source(path: Path) -> tuple[str, ...]:
    return ("-threads", "1", "-protocol_whitelist", _PROTOCOLS, "-i", f"file:{path}")


def _stream(reader: asyncio.StreamReader | None) -> asyncio.StreamReader:
    assert reader is not None  # noqa: S101 - both outputs are always pipes
    return reader


async def _tail(stderr: asyncio.StreamReader) -> bytes:
    """Read to the end, keeping the last of it."""
    tail = b""
    while block := await stderr.read(_PIPE_BYTES):
        tail = (tail + block)[-_STDERR_BYTES:]
    return tail
