"""Markers of losses (`opus.missing_packet`) beside packets that came late: where a packet came, no marker stands."""

from bisect import bisect
from collections.abc import Iterable, Iterator

from discord_recorder.audio.opus import UNIT_SAMPLES, is_missing, missing_packet
from discord_recorder.audio.opus_reader import PlacedPacket


def in_order(packets: Iterable[PlacedPacket]) -> list[PlacedPacket]:
    """Packets in order of time; of the markers, what no packet came for after all."""
    placed = sorted(packets, key=_place)
    markers = [packet for packet in placed if is_missing(packet.opus)]
    if not markers:
        return placed
    came = [packet for packet in placed if not is_missing(packet.opus)]
    starts = [packet.at_sample for packet in came]
    lost = (
        piece
        for marker in markers
        for piece in _still_missing(marker, came[max(0, bisect(starts, marker.at_sample) - 1) :])
    )
    return sorted((*came, *lost), key=_place)


def _still_missing(marker: PlacedPacket, came: Iterable[PlacedPacket]) -> Iterator[PlacedPacket]:
    """A marker without the time of packets that came; `came` may begin before it."""
    at = marker.at_sample
    for packet in came:
        if packet.at_sample >= marker.end_sample:
            break
        yield from _missing(marker, at, packet.at_sample)
        at = max(at, packet.end_sample)
    yield from _missing(marker, at, marker.end_sample)


def _missing(like: PlacedPacket, start_sample: int, end_sample: int) -> Iterator[PlacedPacket]:
    samples = (end_sample - start_sample) // UNIT_SAMPLES * UNIT_SAMPLES
    if samples > 0:
        yield PlacedPacket(at_sample=start_sample, samples=samples, opus=missing_packet(like.opus, samples))


def _place(packet: PlacedPacket) -> int:
    return packet.at_sample
