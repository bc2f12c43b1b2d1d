"""The code blocks of the usage document, run as they stand."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any, Final

DOCUMENT: Final = Path(__file__).with_name("usage-examples.md")
BOT: Final = "Complete Discord Bot Example"
"""The block that is a program of its own: see `bot_program`."""

_HEADING_OR_BLOCK: Final = re.compile(r"^#+ (?P<heading>.+?)$|^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_IMPORTS: Final = {"source.utils": "discord_recorder"}


def blocks() -> dict[str, str]:
    """The Python blocks by the heading that they stand under."""
    found: dict[str, str] = {}
    heading = ""
    for match in _HEADING_OR_BLOCK.finditer(DOCUMENT.read_text(encoding="utf-8")):
        if match["code"] is None:
            heading = match["heading"]
        else:
            assert heading not in found, f"two blocks under {heading!r}"
            found[heading] = match["code"]
    return found


def bot_program(token: str) -> str:
    """The bot of the document as a program for discord.py 2.7.

    Besides the name that it leaves open and the token, two lines are other than in the document: discord.py demands
    intents, and the bot has to be attached.
    """
    code = _ours(blocks()[BOT])
    for theirs, ours in (
        (
            'bot = commands.Bot(command_prefix="!")',
            "intents = discord.Intents.default()\n"
            "intents.message_content = True\n"
            'bot = commands.Bot(command_prefix="!", intents=intents)\n'
            "services.attach(bot)",
        ),
        ("YOUR_BOT_TOKEN", token),
    ):
        assert code.count(theirs) == 1
        code = code.replace(theirs, ours)
    return f"from discord_recorder import get_services_manager\n\n{code}"


def _ours(code: str) -> str:
    for theirs, ours in _IMPORTS.items():
        code = code.replace(f"from {theirs} import", f"from {ours} import")
    return code


async def run(heading: str, **left_open: Any) -> dict[str, Any]:
    """Run a block with stand-ins for the names that it leaves open; gives the names it has afterwards."""
    code = _ours(blocks()[heading])
    compiled = compile(code, f"{DOCUMENT.name}: {heading}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = dict(left_open)
    result = eval(compiled, names)
    if inspect.iscoroutine(result):
        await result
    return names
