"""What of a track's packets is known to be lost: the markers (`opus.missing_packet`), but for what came late after all.

A packet may be as late as it likes to win over its marker. The marker stays in the file, perhaps longer than the
packet; what it says counts only for the time that no packet fills.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final

from discord_recorder.audio.opus import MAX_PACKET_SAMPLES, UNIT_SAMPLES, is_missing, missing_packet
from discord_recorder.audio.opus_reader import PlacedPacket
from discord_recorder.audio.stretches import Stretch, joined, without

by_place: Final = attrgetter("at_sample")


def told_apart(packets: Iterable[PlacedPacket]) -> tuple[list[PlacedPacket], list[Stretch]]:
    """The packets that came, in order of time, and the stretches that are lost."""
    came: list[PlacedPacket] = []
    markers: list[PlacedPacket] = []
    for packet in packets:
        (markers if is_missing(packet.opus) else came).append(packet)
    came.sort(key=by_place)
    if not markers:
        return came, []
    return came, list(without(joined(map(_stretch, markers)), joined(map(_stretch, came))))


def with_markers(packets: Iterable[PlacedPacket]) -> Sequence[PlacedPacket]:
    """The packets that came and markers of just what is lost, in order of time."""
    packets = list(packets)
    likes = sorted((packet for packet in packets if is_missing(packet.opus)), key=by_place)
    came, lost = told_apart(packets)
    if not lost:
        return came
    markers = [marker for stretch in lost for marker in _markers(stretch, likes)]
    return sorted([*came, *markers], key=by_place)


def _markers(stretch: Stretch, likes: Sequence[PlacedPacket]) -> Iterator[PlacedPacket]:
    """Markers that fill a stretch, like the one that said so; less than 2.5 ms at its end is passed over."""
    at, end = stretch
    like = next(marker for marker in likes if marker.end_sample > at)
    while (samples := min(end - at, MAX_PACKET_SAMPLES)) >= UNIT_SAMPLES:
        samples -= samples % UNIT_SAMPLES
        yield PlacedPacket(at_sample=at, samples=samples, opus=missing_packet(like.opus, samples))
        at += samples


def _stretch(packet: PlacedPacket) -> Stretch:
    return packet.at_sample, packet.end_sample
