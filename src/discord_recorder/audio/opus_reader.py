"""Opus packets and their places out of Ogg: our own journals, also torn or damaged ones, and other programs' files.

Sources: RFC 7845 (pre-skip, granule position, end trimming), RFC 3533 (packets that go on on the next page).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from typing import Final

from discord_recorder.audio import ogg
from discord_recorder.audio.opus import packet_samples
from discord_recorder.audio.opus_writer import HEAD, HEAD_MAGIC, TAGS_MAGIC
from discord_recorder.errors import OggError, OpusError

_MAJOR_VERSION: Final = 0xF0
_NO_PACKET_ENDS: Final = -1
_MAX_PACKET_BYTES: Final = 1 << 20
"""A packet that goes on beyond this is given up: no audio, but a cover picture or somebody's trap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPacket:
    """An Opus packet and its place: session time in samples of 48 kHz, and how long it lasts."""

    at_sample: int
    samples: int
    opus: bytes

    @property
    def end_sample(self) -> int:
        """Session time at which it ends."""
        return self.at_sample + self.samples


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusStream:
    """What a file held.

    Args:
        packets: in the file's order; one that arrived late stands behind later ones.
        pre_skip_samples: as the file says; already taken off the packets' places.
        end_sample: session time at which the audio ends by the last page, which may cut the last packet short.
        dropped_bytes: bytes that belong to no whole page of the stream: a torn tail, or damage.
        is_finished: whether the stream was ended in good order.
    """

    packets: Sequence[PlacedPacket]
    pre_skip_samples: int
    end_sample: int
    dropped_bytes: int
    is_finished: bool


def read_ogg_opus(data: bytes | mmap) -> OpusStream:
    """Read the first Opus stream of a file, also of one that is still being written or was damaged.

    Whatever is whole is given: a torn tail and damaged pages are left out and counted. Where the identification header
    itself is damaged, a pre-skip of 0 is taken, which is ours.

    Raises:
        OggError: there is no Opus stream at all.
    """
    reader = _Reader()
    for page in ogg.read_pages(data):
        reader.read(page)
    if reader.serial is None:
        raise OggError("no Ogg Opus stream: not one whole page of one is there")
    return OpusStream(
        packets=reader.packets,
        pre_skip_samples=reader.pre_skip,
        end_sample=reader.furthest,
        dropped_bytes=len(data) - reader.used_bytes,
        is_finished=reader.is_finished,
    )


def packets_in_turn(data: bytes | mmap) -> Iterator[PlacedPacket]:
    """The packets of a finished file in its own order, without ever holding all of them.

    Raises:
        OggError: there is no Opus stream, or not all of it is whole; what was read by then was given.
    """
    reader = _Reader()
    for page in ogg.read_pages(data):
        reader.read(page)
        yield from reader.packets
        reader.packets.clear()
    if reader.used_bytes != len(data) or not reader.is_finished:
        raise OggError(
            f"{len(data) - reader.used_bytes} bytes of the Ogg Opus stream are damaged, or its end is missing"
        )


@dataclass(slots=True)
class _Reader:
    """One stream's pages in, placed packets out."""

    serial: int | None = None
    pre_skip: int = 0
    packets: list[PlacedPacket] = field(default_factory=list)
    end: int = 0  # of the page before
    furthest: int = 0
    used_bytes: int = 0
    is_finished: bool = False
    begun: bytes | None = None  # a packet's first part, from pages before
    next_sequence: int | None = None

    def read(self, page: ogg.Page) -> None:
        if self.serial is None and not self._is_opus(page):
            return
        if page.serial != self.serial or self.is_finished:
            return
        if self._read_packets(page):
            self.used_bytes += page.size_bytes
            self.is_finished = bool(page.flags & ogg.LAST)

    def _is_opus(self, page: ogg.Page) -> bool:
        """Whether the stream is the one to read, by its first page or, where that is lost, by packets that are Opus."""
        if page.flags & ogg.FIRST:
            pre_skip = _pre_skip(page.body)
            self.pre_skip = pre_skip or 0
            is_opus = pre_skip is not None
        elif page.flags & ogg.CONTINUED or page.is_open_ended:
            is_opus = False
        else:
            is_opus = _is_tags(page.pieces()) or bool(_measured(page.pieces()))
        if is_opus:
            self.serial = page.serial
        return is_opus

    def _read_packets(self, page: ogg.Page) -> bool:
        """Take the page's packets; False when they are no Opus."""
        complete = list(self._complete(page))
        if page.flags & ogg.FIRST or _is_tags(complete):
            return True
        measured = _measured(complete)
        if measured is None:
            return False
        if measured:
            self._place(page, measured)
        elif page.flags & ogg.LAST:
            self.furthest = max(self.furthest, page.granule - self.pre_skip)
        return True

    def _complete(self, page: ogg.Page) -> Iterator[bytes]:
        """The packets that end on the page; the beginning of one that goes on is kept."""
        pieces = page.pieces()
        follows = page.sequence == self.next_sequence
        begun, self.begun = (self.begun if follows else None), None
        self.next_sequence = (page.sequence + 1) & 0xFFFFFFFF
        for number, piece in enumerate(pieces):
            packet: bytes | None = piece
            if number == 0 and page.flags & ogg.CONTINUED:
                packet = begun + piece if begun is not None else None
            if number == len(pieces) - 1 and page.is_open_ended:
                self.begun = packet if packet is not None and len(packet) <= _MAX_PACKET_BYTES else None
            elif packet is not None:
                yield packet

    def _place(self, page: ogg.Page, measured: list[tuple[bytes, int]]) -> None:
        """Place the packets: they end where the page says, or, on a last page that cuts them, begin where it begins."""
        total = sum(samples for _, samples in measured)
        end = page.granule - self.pre_skip
        at = end - total
        if page.granule == _NO_PACKET_ENDS or (page.flags & ogg.LAST and at < self.end <= end):
            at = self.end
        at = max(at, -self.pre_skip)
        for opus, samples in measured:
            self.packets.append(PlacedPacket(at_sample=at, samples=samples, opus=opus))
            at += samples
        self.end = at
        is_cut = page.flags & ogg.LAST and page.granule != _NO_PACKET_ENDS
        self.furthest = max(self.furthest, min(at, end) if is_cut else at)


def _is_tags(packets: Sequence[bytes]) -> bool:
    """Whether packets are the comment header; no Opus packet begins like it."""
    return bool(packets) and packets[0].startswith(TAGS_MAGIC)


def _measured(packets: Iterable[bytes]) -> list[tuple[bytes, int]] | None:
    """Each packet with its samples; None when one is no Opus packet."""
    try:
        return [(packet, packet_samples(packet)) for packet in packets]
    except OpusError:
        return None


def _pre_skip(head: bytes) -> int | None:
    """The pre-skip that an identification header tells; None when it is none that can be read."""
    if len(head) < HEAD.size:
        return None
    magic, version, _, pre_skip, *_ = HEAD.unpack_from(head)
    return pre_skip if magic == HEAD_MAGIC and not version & _MAJOR_VERSION else None
