"""Recorders in processes of their own, as their parent sees them."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.faults.deadlines import DEADLINE_SECONDS, soon

ROOT = Path(__file__).parents[2]


class Recorder:
    """One child process (see `child.py`): what it told, and the end of it."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.pushed: dict[int, int] = {}
        """By speaker, the samples of channel 1 that were accepted."""
        self.pushed_in: dict[tuple[int, int], int] = {}
        """The same by channel and speaker."""
        self.events: list[dict[str, Any]] = []
        """What it told, the pushes left out."""
        self.process = process
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
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def killed(self) -> None:
        """Kill it with SIGKILL, and read what it had told."""
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL, self.errors

    async def ended(self) -> int:
        """Wait for its end, and give its exit code."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self._listening
            return await self.process.wait()

    @property
    def errors(self) -> str:
        """What it wrote to stderr."""
        return self._errors.read_text()

    async def aclose(self) -> None:
        """Leave nothing behind."""
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)
        await self.ended()
        if self.process.stdin is not None:
            self.process.stdin.close()

    async def _told(self, wanted: Callable[[dict[str, Any]], bool], number: int) -> list[dict[str, Any]]:
        await soon(lambda: sum(map(wanted, self.events)) >= number or self._listening.done())
        found = list(filter(wanted, self.events))
        assert len(found) >= number, f"it ended before: {self.errors}"
        return found

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            event = json.loads(line)
            if "user" in event:
                self.pushed_in[event["channel"], event["user"]] = event["samples"]
                if event["channel"] == 1:
                    self.pushed[event["user"]] = event["samples"]
            else:
                self.events.append(event)


@asynccontextmanager
async def recorder(data_dir: Path, *steps: dict[str, Any], seed: int = 0, **settings: Any) -> AsyncIterator[Recorder]:
    """A recorder process that does these steps on a data directory; killed at the end of the block."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    errors = data_dir.parent / f"stderr-{len(list(data_dir.parent.glob('stderr-*')))}.txt"
    script = {"data_dir": str(data_dir), "steps": steps, "seed": seed, "settings": settings}
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.child",
            json.dumps(script),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            limit=1 << 22,
        )
    child = Recorder(process, errors)
    try:
        yield child
    finally:
        await child.aclose()


def speak(seconds: float, users: Sequence[int], **options: Any) -> dict[str, Any]:
    """The step of that name."""
    return {"do": "speak", "seconds": seconds, "users": list(users), **options}


def die_at(*steps: tuple[str, ...] | str, number: int = 1, after: bool = False) -> dict[str, Any]:
    """The step that arms a death (see `deaths.py`) at the `number`-th call that matches the last of these."""
    matches = [[step] if isinstance(step, str) else list(step) for step in steps]
    numbers = [1] * (len(matches) - 1) + [number]
    death = [{"match": match, "number": count} for match, count in zip(matches, numbers, strict=True)]
    return {"do": "prepare", "death": death, "after": after}
