"""Opus into Ogg with the session clock as granule position: a journal of what arrived.

The granule position of a page is the session time, in samples of 48 kHz, at which its last packet ends. All packets of
a page follow each other without a gap, and where there is one a new page begins; so every packet's place can be
computed back from its page, exactly. Players do not hear such gaps: they count packets (`opus_master` fills them).

The pre-skip is 0. It is how much of the decoder's output a player throws away at the beginning, to take back the
encoder's delay. What is recorded here begins in mid-stream, its packets' places are those of their timestamps, and
dropping output would move a track against what is decoded elsewhere. See `opus_decoder` for that delay (6.5 ms).

Sources: RFC 7845 (identification and comment header, granule position), RFC 3533 (pages).
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from discord_recorder.audio import ogg
from discord_recorder.audio.opus import packet_samples
from discord_recorder.audio.pcm import CHANNELS, SAMPLE_RATE
from discord_recorder.errors import OggError, OpusError

HEAD: Final = Struct("<8sBBHIhB")
"""The identification header: magic, version, channels, pre-skip, input rate, gain, mapping family."""

HEAD_MAGIC: Final = b"OpusHead"

TAGS_MAGIC: Final = b"OpusTags"

VENDOR: Final = "discord-recorder"

MAX_PACKET_BYTES: Final = 65_024
"""The longest packet that fits on one page; no datagram holds a longer one."""

PAGE_SAMPLES: Final = SAMPLE_RATE
"""A page is closed after a second at the latest, so that players find their way in a file that was written at once."""

LATEST_SAMPLE: Final = 2**62
"""No packet is placed there or later."""


class OggOpusWriter:
    """Packets in, Ogg bytes out; the caller appends them to the file whenever it likes, at best every 100 ms.

    Measured: 1.0 to 1.5 us a packet (80 to 500 bytes) with five packets a page, checksum included.

    Args:
        serial: number of the stream, 32 bit; two files that are to be chained need different ones.
        comments: `NAME=value` pairs for the comment header.
    """

    def __init__(self, *, serial: int = 1, comments: Iterable[str] = ()) -> None:
        self._serial = serial
        self._sequence = 0
        self._pages: list[bytes] = []
        self._packets: list[bytes] = []
        self._lacings: list[bytes] = []
        self._segments = 0
        self._page_start = 0
        self._end: int | None = None
        self._is_finished = False
        self._add_page(_head(), b"\x13", 0, ogg.FIRST)
        self._add_tags(_tags(comments))

    @property
    def end_sample(self) -> int | None:
        """Session time at which the last packet written ends, None before the first."""
        return self._end

    def write(self, opus: bytes, at_sample: int) -> int:
        """Put a packet at its session time; gives its samples.

        Packets may come in any order: one that does not follow its predecessor begins a new page.

        Raises:
            OpusError: it is no Opus packet, or too long for a page; nothing was written.
            OggError: the place is before 0 or beyond all time, or the stream was finished.
        """
        samples = packet_samples(opus)
        lacing = ogg.lacing(len(opus))
        segments = self._segments + len(lacing)
        if at_sample != self._end or segments > ogg.MAX_SEGMENTS or at_sample - self._page_start >= PAGE_SAMPLES:
            self._begin_page(opus, at_sample)
            segments = len(lacing)
        self._packets.append(opus)
        self._lacings.append(lacing)
        self._segments = segments
        self._end = at_sample + samples
        return samples

    def take(self) -> bytes:
        """The bytes of all pages that are closed; the open page stays."""
        taken = b"".join(self._pages)
        self._pages.clear()
        return taken

    def flush(self) -> bytes:
        """Close the open page and give all that was not given yet; nothing when there is nothing new."""
        self._close_page()
        return self.take()

    def mark(self) -> tuple[bytes, int]:
        """As `flush`, and the number of the next page, to `rewind` to."""
        return self.flush(), self._sequence

    def rewind(self, page: int) -> None:
        """Forget all that was written since `mark` gave that number: the caller writes it anew."""
        self._check_open()
        self._packets.clear()
        self._lacings.clear()
        self._pages.clear()
        self._segments = 0
        self._sequence = page
        self._end = None

    def finish(self, end_sample: int | None = None) -> bytes:
        """Give the rest, and the mark of the stream's end.

        Args:
            end_sample: cut the last packets off there; it must lie on the page that is still open. Default: do not.

        Raises:
            OggError: `end_sample` is not on the open page, or the stream was finished before.
        """
        self._check_open()
        if end_sample is None:
            end = self._end or 0
            self._close_page()
            self._add_page(b"", b"", end, ogg.LAST)
        elif self._packets and self._end is not None and self._page_start < end_sample <= self._end:
            self._end = end_sample
            self._close_page(ogg.LAST)
        else:
            raise OggError(f"a stream cannot end at {end_sample}: that is not on its last page")
        self._end = None
        self._is_finished = True
        return self.take()

    def _begin_page(self, opus: bytes, at_sample: int) -> None:
        if len(opus) > MAX_PACKET_BYTES:
            raise OpusError(f"an Opus packet of {len(opus)} bytes; {MAX_PACKET_BYTES} are the most")
        if not 0 <= at_sample < LATEST_SAMPLE:
            raise OggError(f"no packet can be placed at sample {at_sample}")
        self._check_open()
        self._close_page()
        self._page_start = at_sample

    def _check_open(self) -> None:
        if self._is_finished:
            raise OggError("the stream was finished")

    def _close_page(self, flags: int = 0) -> None:
        if self._packets and self._end is not None:
            self._add_page(b"".join(self._packets), b"".join(self._lacings), self._end, flags)
            self._packets.clear()
            self._lacings.clear()
            self._segments = 0
            self._page_start = self._end

    def _add_page(self, body: bytes, segments: bytes, granule: int, flags: int = 0) -> None:
        self._pages.append(
            ogg.build_page(
                segments=segments,
                body=body,
                granule=granule,
                serial=self._serial,
                sequence=self._sequence,
                flags=flags,
            )
        )
        self._sequence += 1

    def _add_tags(self, tags: bytes) -> None:
        """The comment header, which alone may be longer than a page."""
        segments = ogg.lacing(len(tags))
        for first in range(0, len(segments), ogg.MAX_SEGMENTS):
            piece = segments[first : first + ogg.MAX_SEGMENTS]
            is_last = first + len(piece) == len(segments)
            body, tags = tags[: sum(piece)], tags[sum(piece) :]
            self._add_page(body, piece, 0 if is_last else -1, ogg.CONTINUED if first else 0)


def _head() -> bytes:
    """The identification header: version 1, stereo, pre-skip 0, no gain, mapping family 0 (one stereo stream)."""
    return HEAD.pack(HEAD_MAGIC, 1, CHANNELS, 0, SAMPLE_RATE, 0, 0)


def _tags(comments: Iterable[str]) -> bytes:
    """The comment header."""
    texts = [comment.encode() for comment in comments]
    vendor = VENDOR.encode()
    pieces = [TAGS_MAGIC, len(vendor).to_bytes(4, "little"), vendor, len(texts).to_bytes(4, "little")]
    for text in texts:
        pieces += [len(text).to_bytes(4, "little"), text]
    return b"".join(pieces)
