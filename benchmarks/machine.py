"""On what the figures were measured."""

import os
import platform
import subprocess
import time
from pathlib import Path

import psutil

from benchmarks.measure import MIB, median
from benchmarks.report import Table

_SYNCS = 64
_SYNC_BYTES = 4096


def describe(folder: Path, program: str) -> Table:
    """CPU, memory, disk, system and versions; nothing that tells whose machine it is."""
    memory_gib = psutil.virtual_memory().total / MIB / 1024
    table = Table("Machine", ("what", "value"))
    table.add("CPU", f"{_cpu_model()}, {psutil.cpu_count()} logical cores")
    table.add("load before", f"{psutil.getloadavg()[0]:.2f} (1 minute)")
    table.add("memory", f"{memory_gib:.0f} GiB")
    table.add("disk", f"{file_system(folder)}, fsync of 4 KiB: median {_sync_ms(folder):.2f} ms of {_SYNCS}")
    table.add("system", f"{platform.system()} {platform.release()} {platform.machine()}")
    table.add("Python", f"{platform.python_implementation()} {platform.python_version()}")
    table.add("FFmpeg", _ffmpeg_version(program))
    return table


def file_system(folder: Path) -> str:
    """The type of the file system that the folder is on."""
    resolved = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if resolved.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _sync_ms(folder: Path) -> float:
    times = []
    path = folder / "fsync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(_SYNCS):
            os.write(descriptor, bytes(_SYNC_BYTES))
            start = time.perf_counter()
            os.fsync(descriptor)
            times.append((time.perf_counter() - start) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return median(times)


def _ffmpeg_version(program: str) -> str:
    printed = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout
    return printed.splitlines()[0].partition(" Copyright")[0].removeprefix("ffmpeg version ")
