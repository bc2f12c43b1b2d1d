"""`python -m benchmarks [NAME ...]`: run the benchmarks and print their figures beside the targets."""

import argparse
import dataclasses
import signal
import sys
import tempfile
import threading
import time
import traceback
from _thread import interrupt_main
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import latency, live, manifest, push, stop, transcode
from benchmarks.machine import describe, file_system
from benchmarks.options import DEFAULT, QUICK, Options
from benchmarks.recorder import forget_settings
from benchmarks.report import FAIL, Table, progress
from discord_recorder.audio.ffmpeg import find_ffmpeg
from discord_recorder.errors import FfmpegNotFoundError

BENCHMARKS: dict[str, Callable[[Options, Path], list[Table]]] = {
    "push": push.run,  # first, while the process is small
    "live": live.run,
    "transcode": transcode.run,
    "latency": latency.run,
    "stop": stop.run,
    "manifest": manifest.run,
}

_LIMIT_SECONDS = 900.0
"""What a benchmark with the default sizes may take before it is ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 when a benchmark could not be carried out, 0 whatever the figures."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    changed = {field.name: getattr(given, field.name) for field in dataclasses.fields(Options)}
    base = QUICK if given.quick else DEFAULT
    options = dataclasses.replace(base, **{name: value for name, value in changed.items() if value is not None})
    try:
        program = find_ffmpeg(options.ffmpeg)
    except FfmpegNotFoundError as error:
        parser.error(str(error))
    if given.folder and not given.folder.is_dir():
        parser.error(f"there is no folder {given.folder}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that temp folders are removed
    broken = 0
    try:
        with tempfile.TemporaryDirectory(prefix="discord-recorder-bench-", dir=given.folder or _disk()) as folder:
            forget_settings(Path(folder))
            machine = describe(Path(folder), program)
            for name in BENCHMARKS:  # in this order, whatever the caller's
                if given.names and name not in given.names:
                    continue
                broken += not _run(name, options, Path(folder))
            print(machine.text(), flush=True)
    except KeyboardInterrupt:
        progress("interrupted")
        return 130
    return 1 if broken else 0


def _run(name: str, options: Options, folder: Path) -> bool:
    began, overdue = time.monotonic(), threading.Event()
    try:
        with _at_most(_LIMIT_SECONDS * options.scale, overdue):
            tables = BENCHMARKS[name](options, folder)
    except KeyboardInterrupt:
        if not overdue.is_set():
            raise
        progress(f"{name} took too long and was ended")
        return False
    except Exception:  # the others may still work
        traceback.print_exc()
        progress(f"{name} could not be carried out")
        return False
    for table in tables:
        print(table.text(), flush=True)
    missed = sum(FAIL in row for table in tables for row in table.rows)
    progress(f"{name} took {time.monotonic() - began:.0f} s" + (f", {missed} targets were missed" if missed else ""))
    return True


@contextmanager
def _at_most(seconds: float, overdue: threading.Event) -> Iterator[None]:
    """Interrupt the main thread after that time; the event tells that it was this."""

    def end() -> None:
        overdue.set()
        interrupt_main()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _disk() -> str | None:
    """Where temp files go that are to be on a disk: not in memory, where syncing costs nothing."""
    usual = Path(tempfile.gettempdir())
    other = Path("/var/tmp")
    return str(other) if file_system(usual) == "tmpfs" and other.is_dir() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that everything runs")
    parser.add_argument("--folder", type=Path, help="where to work; about 4 GiB are needed (default: the temp folder)")
    parser.add_argument("--ffmpeg", help="FFmpeg program for both sides of each comparison")
    parser.add_argument("--tracks", type=int, help=f"tracks of latency and push ({DEFAULT.tracks})")
    parser.add_argument("--seconds", type=float, help=f"audio of each track in latency and push ({DEFAULT.seconds:g})")
    parser.add_argument("--slices", type=int, help=f"measurements of each way in transcode ({DEFAULT.slices})")
    parser.add_argument("--slice-seconds", type=float, help=f"audio in each of them ({DEFAULT.slice_seconds:g})")
    parser.add_argument("--short-minutes", type=float, help=f"short meeting of stop ({DEFAULT.short_minutes:g})")
    parser.add_argument("--live-seconds", type=float, help=f"length of each call of live ({DEFAULT.live_seconds:g})")
    parser.add_argument(
        "--live-talkers", type=int, nargs="+", help=f"who talks in them ({' '.join(map(str, DEFAULT.live_talkers))})"
    )
    parser.add_argument("--hours", type=float, help=f"long meeting of stop ({DEFAULT.hours:g})")
    parser.add_argument("--stops", type=int, help=f"how often the short meeting is stopped ({DEFAULT.stops})")
    parser.add_argument(
        "--no-replay", dest="replay", action="store_false", default=None, help="encode all audio before a stop anew"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
