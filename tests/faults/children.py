"""Recorders in processes of their own, as their parent sees them."""

import asyncio
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

from tests.faults import child
from tests.faults.deadlines import DEADLINE_SECONDS, soon

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([child.__name__])  # it has imported everything, so a new child costs next to nothing


class Recorder:
    """One child process (see `child.py`): what it told, and the end of it."""

    def __init__(self, process: ForkServerProcess, pipe: Connection, errors: Path) -> None:
        self.pushed: dict[int, int] = {}
        """By speaker, the samples that were accepted in channel 1."""
        self.pushed_in: dict[tuple[int, int], int] = {}
        """The same by channel and speaker."""
        self.events: list[dict[str, Any]] = []
        """What it told, the pushes left out."""
        self._process = process
        self._pipe = pipe
        self._errors = errors
        self._listening = asyncio.create_task(self._listen(), name=f"what recorder {process.pid} tells")

    async def did(self, step: str, number: int = 1) -> dict[str, Any]:
        """Wait for the end of the `number`-th step of that name; gives what was told about it."""
        return (await self._told(lambda event: event.get("did") == step, number))[number - 1]

    async def waits(self, number: int = 1) -> None:
        """Wait until it has come to its `number`-th `wait` step."""
        await self._told(lambda event: "waiting" in event, number)

    async def has_pushed(self, samples: int) -> None:
        """Wait until that much of some speaker's audio was accepted."""
        await soon(lambda: max(self.pushed_in.values(), default=0) >= samples or self._listening.done())
        assert not self._listening.done(), f"it ended before: {self.errors}"

    def go_on(self) -> None:
        """End a `wait` step."""
        os.write(self._pipe.fileno(), b"!")

    async def killed(self) -> None:
        """Kill it with SIGKILL, and read what it had told."""
        self._kill()
        assert await self.ended() == -signal.SIGKILL, self.errors

    async def ended(self) -> int:
        """Wait for its end, and give its exit code."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.shield(self._listening)
        await asyncio.to_thread(self._process.join, DEADLINE_SECONDS)
        assert self._process.exitcode is not None
        return self._process.exitcode

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def errors(self) -> str:
        """What it wrote to stderr."""
        return self._errors.read_text() if self._errors.exists() else ""

    async def aclose(self) -> None:
        """Leave nothing behind."""
        self._kill()
        await self.ended()
        self._pipe.close()
        self._process.close()

    def _kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()

    async def _told(self, wanted: Callable[[dict[str, Any]], bool], number: int) -> list[dict[str, Any]]:
        await soon(lambda: sum(map(wanted, self.events)) >= number or self._listening.done())
        found = list(filter(wanted, self.events))
        assert len(found) >= number, f"it ended before: {self.errors}"
        return found

    async def _listen(self) -> None:
        rest = b""
        while block := await self._next_block():
            *lines, rest = (rest + block).split(b"\n")
            for event in map(json.loads, lines):
                self._note(event)

    async def _next_block(self) -> bytes:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pipe.fileno(), readable.set)
        try:
            await readable.wait()
            return os.read(self._pipe.fileno(), 1 << 16)
        except ConnectionResetError:
            return b""
        finally:
            loop.remove_reader(self._pipe.fileno())

    def _note(self, event: dict[str, Any]) -> None:
        if "user" not in event:
            self.events.append(event)
            return
        self.pushed_in[event["channel"], event["user"]] = event["samples"]
        if event["channel"] == 1:
            self.pushed[event["user"]] = event["samples"]


@asynccontextmanager
async def recorder(
    data_dir: Path,
    *steps: dict[str, Any],
    seed: int = 0,
    disk_bytes: int | None = None,
    uid: int | None = None,
    **settings: Any,
) -> AsyncIterator[Recorder]:
    """A recorder process that does these steps on a data directory; killed at the end of the block.

    With `disk_bytes` the data directory is a disk of that size that only the process itself sees, with `uid` it runs as
    that user.
    """
    script = {
        "data_dir": str(data_dir),
        "steps": steps,
        "seed": seed,
        "settings": settings,
        "disk_bytes": disk_bytes,
        "uid": uid,
    }
    ours, theirs = _FORKS.Pipe()
    with tempfile.NamedTemporaryFile(prefix="recorder-", suffix=".txt") as errors:
        process = _FORKS.Process(target=child.main, args=(script, theirs, errors.name))
        await asyncio.to_thread(process.start)
        theirs.close()
        started = Recorder(process, ours, Path(errors.name))
        try:
            yield started
        finally:
            await started.aclose()


def speak(seconds: float, users: Sequence[int], **options: Any) -> dict[str, Any]:
    """The step of that name."""
    return {"do": "speak", "seconds": seconds, "users": list(users), **options}


def die_at(*steps: tuple[str, ...] | str, number: int = 1, after: bool = False) -> dict[str, Any]:
    """The step that arms a death (see `deaths.py`) at the `number`-th call that matches the last of these."""
    matches = [[step] if isinstance(step, str) else list(step) for step in steps]
    numbers = [1] * (len(matches) - 1) + [number]
    death = [{"match": match, "number": count} for match, count in zip(matches, numbers, strict=True)]
    return {"do": "prepare", "death": death, "after": after}
