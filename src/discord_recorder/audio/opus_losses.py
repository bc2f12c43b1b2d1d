"""What of a track's packets is known to be lost: the markers (`opus.missing_packet`), but for what came late after all.

A packet may be as late as it likes to win over its marker. The marker stays in the file, perhaps longer than the
packet; what it says counts only for the time that no packet fills.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Final

from discord_recorder.audio.opus import UNIT_SAMPLES, is_missing, missing_packet
from discord_recorder.audio.opus_reader import PlacedPacket
from discord_recorder.audio.stretches import Stretch, joined, without

_by_place: Final = attrgetter("at_sample")


def told_apart(packets: Iterable[PlacedPacket]) -> tuple[list[PlacedPacket], list[Stretch]]:
    """The packets that came, in order of time, and the stretches that are lost."""
    came: list[PlacedPacket] = []
    markers: list[PlacedPacket] = []
    for packet in packets:
        (markers if is_missing(packet.opus) else came).append(packet)
    came.sort(key=_by_place)
    if not markers:
        return came, []
    return came, list(without(joined(map(_stretch, markers)), joined(map(_stretch, came))))


def in_order(packets: Iterable[PlacedPacket]) -> list[PlacedPacket]:
    """Packets in order of time; of the markers, what no packet came for after all."""
    packets = list(packets)
    came, lost = told_apart(packets)
    if not lost:
        return came
    like = next(packet for packet in packets if is_missing(packet.opus))
    return sorted((*came, *(marker for stretch in lost for marker in _markers(like, *stretch))), key=_by_place)


def _markers(like: PlacedPacket, start: int, end: int) -> Iterator[PlacedPacket]:
    """Markers for a stretch, each as long as that one, but for a rest that is shorter than any packet."""
    while samples := min(end - start, like.samples) // UNIT_SAMPLES * UNIT_SAMPLES:
        yield PlacedPacket(at_sample=start, samples=samples, opus=missing_packet(like.opus, samples))
        start += samples


def _stretch(packet: PlacedPacket) -> Stretch:
    return packet.at_sample, packet.end_sample
