"""Death at a chosen step: the process kills itself with SIGKILL at one of the calls that change what is on the disk.

Every such call (a write, a sync, a rename, a removal, a commit) is a *step*, with a description like
`replace temp/.../track.mp3 > recordings/.../5.mp3`. A death is described by the steps that have to come first, in that
order; the process dies at the last of them.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

from sqlalchemy.engine.default import DefaultDialect

_CALLS: Final = ("fsync", "pwrite", "ftruncate", "replace", "rename", "unlink", "remove", "rmdir", "mkdir")


class Step(TypedDict):
    """One step of a death: the `number`-th call (from 1) whose description holds all of `match`."""

    match: list[str]
    number: int


class Death:
    """Watches the steps of this process, and kills it at the last of `steps`, before or after the call is made."""

    def __init__(self, steps: Sequence[Step], *, after: bool) -> None:
        self.seen: list[str] = []
        self._steps = list(steps)
        self._after = after
        self._count = 0

    def install(self) -> None:
        """Put the watch into `os` and SQLAlchemy."""
        for name in _CALLS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        setattr(DefaultDialect, "do_commit", self._watched("commit", DefaultDialect.do_commit))  # noqa: B010 - for mypy

    def restart(self, steps: Sequence[Step], *, after: bool) -> None:
        """Forget what was seen, and look out for these steps from now on."""
        self.seen.clear()
        self._steps, self._after, self._count = list(steps), after, 0

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            fatal = self._is_fatal(f"{name} {' > '.join(map(_described, args))}")
            if fatal and not self._after:
                die()
            result = call(*args, **options)
            if fatal:
                die()
            return result

        return watched

    def _is_fatal(self, description: str) -> bool:
        self.seen.append(description)
        if not self._steps or not all(part in description for part in self._steps[0]["match"]):
            return False
        self._count += 1
        if self._count < self._steps[0]["number"]:
            return False
        self._count = 0
        del self._steps[0]
        return not self._steps


def die() -> None:
    """End this process as the kernel's out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)


def _described(argument: object) -> str:
    if isinstance(argument, int) and not isinstance(argument, bool) and sys.platform == "linux":
        try:
            return str(Path(f"/proc/self/fd/{argument}").readlink())
        except OSError:
            return str(argument)
    return str(argument) if isinstance(argument, (str, Path)) else "..."
