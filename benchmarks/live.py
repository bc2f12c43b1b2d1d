"""`live`: what a packet of a real call costs the process that captures it, and whether any is lost."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.live_capture import Reading
from benchmarks.options import Options
from benchmarks.report import Results, Table, progress

_PACKET_LIMIT_US = 30.0  # issue 3, at 25 and 100 talkers
_MANY_TALKERS = 25
_CORE_LIMIT_PERCENT = 2.0  # issue 3, at 5 talkers
_GROWTH_LIMIT_MIB = 5.0
_TIME_LIMIT_SECONDS = 300.0


def run(options: Options, folder: Path) -> list[Table]:
    """Measure one call after the other."""
    results = Results.of(
        f"live: a bot records a call over DAVE, everyone talking all the time, {options.live_seconds:.0f} s each",
        "CPU time, user and system, of the whole process that captures, with the bot, the gateways, the sockets, "
        "decryption, placing, writing and syncing; divided by the datagrams that it received. The talkers and their "
        "Discord are another process; they send and hear nothing. Chunks are longer than the run, so nothing is "
        "transcoded meanwhile. Memory (RSS) is read 2 s after the talk begins, and at its end. Lost: sent and not "
        "stored, or dropped, for whatever reason.",
    )
    for talkers in options.live_talkers:
        progress(f"live: {talkers} talkers")
        with tempfile.TemporaryDirectory(dir=folder) as data:
            _report(talkers, _measure(talkers, options.live_seconds, Path(data)), results)
    return [results.table]


def _measure(talkers: int, seconds: float, folder: Path) -> Reading:
    command = [sys.executable, "-m", "benchmarks.live_capture", str(talkers), str(seconds), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        timeout=_TIME_LIMIT_SECONDS + 2 * seconds,
        check=True,
    )
    return Reading(**json.loads(done.stdout))


def _report(talkers: int, reading: Reading, results: Results) -> None:
    name = f"{talkers} talkers"
    packet_us = reading.cpu_seconds / max(1, reading.packets) * 1e6
    core_percent = reading.cpu_seconds / reading.wall_seconds * 100
    rate = f"{reading.packets / reading.wall_seconds:,.0f} packets/s"
    if talkers >= _MANY_TALKERS:
        results.at_most(f"{name}: CPU of a packet", packet_us, _PACKET_LIMIT_US, "us", spread=rate, digits=1)
        results.tell(f"{name}: CPU", core_percent, "% of a core", digits=1)
    else:
        results.tell(f"{name}: CPU of a packet", packet_us, "us", spread=rate, digits=1)
        results.at_most(f"{name}: CPU", core_percent, _CORE_LIMIT_PERCENT, "% of a core", digits=1)
    results.at_most(f"{name}: dropped by the kernel", reading.kernel_dropped, 0, "packets", digits=0)
    lost = reading.sent - reading.stored
    results.at_most(f"{name}: lost of {reading.sent:,}", lost + reading.dropped_audio, 0, "packets", digits=0)
    growth = reading.rss_end_mib - reading.rss_begin_mib
    shown = f"{reading.rss_begin_mib:.1f} - {reading.rss_end_mib:.1f} MiB"
    results.at_most(f"{name}: memory, growth", growth, _GROWTH_LIMIT_MIB, "MiB", spread=shown, digits=1)
    results.tell(f"{name}: loop lag, 99th percentile", reading.lag_p99_ms, "ms", digits=1)
