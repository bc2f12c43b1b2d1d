"""What the machine has to bring: FFmpeg, SQLite, room, open files."""

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from discord_recorder.audio.encode import ChunkPcm, encode_chunks
from discord_recorder.audio.ffmpeg import Ffmpeg, find_ffmpeg
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.cli.findings import Finding, fail, ok, settled, warn
from discord_recorder.cli.formats import size
from discord_recorder.config import Settings
from discord_recorder.errors import FfmpegError

FFMPEG_FIX: Final = (
    "Unset DISCORD_RECORDER_FFMPEG_PATH to use the FFmpeg that comes with imageio-ffmpeg, or set it to another one."
)
ENCODER_FIX: Final = "Use an FFmpeg that was built with libmp3lame; the one of imageio-ffmpeg is."

_OLDEST_SQLITE: Final = (3, 35, 0)
"""The first with RETURNING."""

_FEWEST_FILES: Final = 64
_ENOUGH_FILES: Final = 256
"""One a speaker, three an FFmpeg, and a few dozens for the database and Python: about 100 speakers."""

_MIB: Final = 1024 * 1024
_TEST_SECONDS: Final = 1
_TIME_LIMIT_SECONDS: Final = 20.0


async def check_ffmpeg(settings: Settings) -> list[Finding]:
    """The program runs, and encodes what the recorder will ask it for."""

    async def program() -> Finding:
        path = find_ffmpeg(settings.ffmpeg_path)
        output = await Ffmpeg(path, _TIME_LIMIT_SECONDS).run(["-version"])
        version = output.decode(errors="replace").partition("Copyright")[0].strip()
        if "ffmpeg" not in version.lower():
            raise FfmpegError(f"{path} does not say that it is FFmpeg")
        return ok("ffmpeg", f"{version} at {path}")

    async def encoder() -> Finding:
        ffmpeg = Ffmpeg(find_ffmpeg(settings.ffmpeg_path), _TIME_LIMIT_SECONDS)
        sound = os.urandom(_TEST_SECONDS * SAMPLE_RATE * SAMPLE_BYTES)
        chunk = ChunkPcm(pcm=sound, start_sample=0, preroll_samples=0)
        [encoded] = await encode_chunks(ffmpeg, [chunk], quality=settings.mp3_quality)
        if not encoded.frames:
            raise FfmpegError("it gave no frames")
        return ok("encoder", f"libmp3lame made {size(len(encoded.frames))} of {_TEST_SECONDS} s of noise")

    found = await settled("ffmpeg", FFMPEG_FIX, program)
    return [found] if found.fix else [found, await settled("encoder", ENCODER_FIX, encoder)]


def check_sqlite() -> Finding:
    """The SQLite that Python brings is new enough."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        needed = ".".join(map(str, _OLDEST_SQLITE))
        return fail("sqlite", f"version {sqlite3.sqlite_version}", f"Use a Python with SQLite {needed} or newer.")
    return ok("sqlite", f"version {sqlite3.sqlite_version}")


def check_open_files() -> Finding:
    """The process may open enough files."""
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return ok("open files", "this system has no such limit")
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= _ENOUGH_FILES:
        return ok("open files", "no limit" if limit == resource.RLIM_INFINITY else f"limit {limit}")
    wanted = 4096 if most == resource.RLIM_INFINITY else min(4096, most)
    fix = f"Raise it before starting: ulimit -n {wanted} (in a systemd unit: LimitNOFILE=)."
    return (fail if limit < _FEWEST_FILES else warn)("open files", f"limit {limit}", fix)


def check_folders(settings: Settings) -> list[Finding]:
    """What is to be written can be written, and there is room; folders inside the data directory go with it."""
    elsewhere = {"recordings": settings.recordings_dir, "database folder": settings.database_file.parent}
    folders = {"data directory": settings.data_dir} | {
        name: path for name, path in elsewhere.items() if not path.is_relative_to(settings.data_dir)
    }
    found = []
    for name, path in folders.items():
        found += [_check_writable(name, path), _check_space(f"{name}: space", path, settings)]
    return found


def _check_writable(name: str, path: Path) -> Finding:
    there = _nearest(path)
    fix = "Choose another folder, or give this user the right to write there."
    if not there.is_dir():
        return fail(name, f"{there} is not a folder", fix)
    if not path.exists():
        if os.access(there, os.W_OK | os.X_OK):
            return ok(name, f"{path}, made at the first use")
        return fail(name, f"{path} cannot be made in {there}", fix)
    probe = path / f".doctor-{os.getpid()}"
    try:
        probe.write_bytes(b"doctor")
        probe.unlink()
    except OSError as error:
        return fail(name, f"{path} cannot be written: {error.strerror}", fix)
    return ok(name, str(path))


def _check_space(name: str, path: Path, settings: Settings) -> Finding:
    free = shutil.disk_usage(_nearest(path)).free
    found = f"{size(free)} are free"
    if free < settings.disk_stop_mib * _MIB:
        stop = f"{found}; sessions end below {settings.disk_stop_mib} MiB (disk_stop_mib)"
        return fail(name, stop, "Make room, or choose another folder.")
    if free < settings.disk_warn_mib * _MIB:
        few = f"{found}; a warning is given below {settings.disk_warn_mib} MiB (disk_warn_mib)"
        return warn(name, few, "Make room: an hour of one speaker takes 660 MiB until it is transcoded, then 40 MiB.")
    return ok(name, found)


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
