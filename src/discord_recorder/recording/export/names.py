"""File names for people, that every file system takes."""

import unicodedata
from collections.abc import Iterable
from typing import Final

_FORBIDDEN: Final = frozenset('<>:"/\\|?*')
"""Not allowed on Windows, exFAT or SMB shares; "/" and ":" nowhere or almost nowhere."""

_LONGEST_PART_BYTES: Final = 80
"""Of a title or a name in UTF-8: two of them, the date and the rest stay below the 255 bytes of a name."""


def safe_part(text: str, instead: str) -> str:
    """`text` as part of a file name, `instead` if nothing of it is left."""
    composed = unicodedata.normalize("NFC", text)
    spaced = "".join(" " if sign.isspace() else sign for sign in composed)
    allowed = "".join("_" if sign in _FORBIDDEN else sign for sign in spaced if sign.isprintable())
    words = " ".join(allowed.split())
    return words.encode()[:_LONGEST_PART_BYTES].decode(errors="ignore").strip(". ") or instead


def distinct(names: Iterable[tuple[str, str]]) -> list[str]:
    """File names of (stem, suffix) pairs; equal ones, to a file system that ignores case, are numbered."""
    taken: set[str] = set()
    chosen = []
    for stem, suffix in names:
        name, number = stem + suffix, 2
        while (key := unicodedata.normalize("NFC", name).casefold()) in taken:
            name, number = f"{stem} ({number}){suffix}", number + 1
        taken.add(key)
        chosen.append(name)
    return chosen
