"""ID3v2.4: the tag that stands in front of an MP3 file's frames and changes nothing in them.

Sources: "ID3 tag version 2.4.0 - Main Structure" and "- Native Frames"; "ID3v2 Chapter Frame Addendum" (CHAP, CTOC).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Final

from discord_recorder.audio.tags import Chapter, Tags

_HEADER: Final = b"ID3\x04\x00\x00"  # version 2.4.0, no flags
_UTF_8: Final = b"\x03"
_NO_OFFSET: Final = b"\xff" * 4  # "use the time instead"
_ORDERED: Final = 0x01
_TOP_LEVEL: Final = 0x02
_MOST_ENTRIES: Final = 255
"""Entries of one table of contents: their count is a byte."""


def id3v2_tag(tags: Tags) -> bytes:
    """A whole tag; the file's frames, its Info frame first, follow it as they are."""
    frames = [
        _text("TIT2", tags.title),
        _text("TPE1", tags.artist),
        _text("TALB", tags.album),
        _text("TDRC", f"{tags.recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"),  # UTC, says the structure document
        _text("TRCK", f"{tags.number}/{tags.count}"),
        *_chapters(tags.chapters),
    ]
    body = b"".join(frames)
    return _HEADER + _syncsafe(len(body)) + body


def _chapters(chapters: Sequence[Chapter]) -> Iterable[bytes]:
    """The chapters behind their table of contents, which has tables of its own where one cannot hold them all."""
    if not chapters:
        return
    ids = [b"chp%d" % number for number in range(1, len(chapters) + 1)]
    if len(ids) <= _MOST_ENTRIES:
        yield _contents(b"toc", ids, is_top_level=True)
    else:
        parts = {b"toc%d" % number: part for number, part in enumerate(_parts(ids), start=1)}
        yield _contents(b"toc", list(parts), is_top_level=True)
        for part_id, part in parts.items():
            yield _contents(part_id, part, is_top_level=False)
    for chapter_id, chapter in zip(ids, chapters, strict=True):
        times = chapter.start_ms.to_bytes(4) + chapter.end_ms.to_bytes(4)
        title = _text("TIT2", chapter.title)
        yield _frame("CHAP", chapter_id + b"\0" + times + 2 * _NO_OFFSET + title)


def _parts(ids: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [ids[first : first + _MOST_ENTRIES] for first in range(0, len(ids), _MOST_ENTRIES)]


def _contents(own_id: bytes, ids: Sequence[bytes], *, is_top_level: bool) -> bytes:
    flags = _ORDERED | (_TOP_LEVEL if is_top_level else 0)
    return _frame("CTOC", own_id + b"\0" + bytes((flags, len(ids))) + b"".join(entry + b"\0" for entry in ids))


def _text(name: str, text: str) -> bytes:
    return _frame(name, _UTF_8 + text.encode())


def _frame(name: str, data: bytes) -> bytes:
    return name.encode() + _syncsafe(len(data)) + b"\0\0" + data


def _syncsafe(number: int) -> bytes:
    """28 bits in four bytes whose highest bit is 0, so that nothing in them looks like an MP3 frame."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
