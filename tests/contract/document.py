"""The code blocks of the usage document, run as they stand."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any, Final

DOCUMENT: Final = Path(__file__).with_name("usage-examples.md")
BOT: Final = "Complete Discord Bot Example"
"""The block that needs a live Discord: it comes with the issue of live voice."""

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


async def run(heading: str, **left_open: Any) -> dict[str, Any]:
    """Run a block with stand-ins for the names that it leaves open; gives the names it has afterwards."""
    code = blocks()[heading]
    for theirs, ours in _IMPORTS.items():
        code = code.replace(f"from {theirs} import", f"from {ours} import")
    compiled = compile(code, f"{DOCUMENT.name}: {heading}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = dict(left_open)
    result = eval(compiled, names)
    if inspect.iscoroutine(result):
        await result
    return names
