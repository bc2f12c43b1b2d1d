"""What to type next, as it would work in the shell that this process was started from."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

_PROGRAM: Final = "discord-recorder"


def command_line(*arguments: str, data_dir: Path | str | None = None) -> str:
    """A call of this program; `data_dir` where the settings would not find it by themselves."""
    options = () if data_dir is None else ("--data-dir", str(data_dir))
    return " ".join([*_program(), *map(shlex.quote, (*options, *arguments))])


def _program() -> list[str]:
    if shutil.which(_PROGRAM):
        return [_PROGRAM]
    started_as = Path(sys.argv[0])
    if started_as.name == _PROGRAM:
        return [shlex.quote(str(started_as))]
    return [shlex.quote(sys.executable), "-m", "discord_recorder"]
