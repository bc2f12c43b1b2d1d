import random

from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.opus import SILENCE, is_missing, missing_packet, packet_samples
from discord_recorder.audio.opus_losses import in_order
from discord_recorder.audio.opus_reader import PlacedPacket

UNIT = 120


def packet(at_sample: int, opus: bytes) -> PlacedPacket:
    return PlacedPacket(at_sample=at_sample, samples=packet_samples(opus), opus=opus)


def marker(at_sample: int, samples: int) -> PlacedPacket:
    return packet(at_sample, missing_packet(SILENCE, samples))


def units(packets: list[PlacedPacket]) -> set[int]:
    return {unit for each in packets for unit in range(each.at_sample // UNIT, each.end_sample // UNIT)}


@given(
    came=st.sets(st.integers(0, 40)),
    lost=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 48)), max_size=10),
    seed=st.integers(),
)
def test_markers_stand_where_nothing_came(came: set[int], lost: list[tuple[int, int]], seed: int) -> None:
    packets = [packet(number * 960, SILENCE) for number in came]
    markers = [marker(unit * UNIT, count * UNIT) for unit, count in lost]
    mixed = packets + markers
    random.Random(seed).shuffle(mixed)
    result = in_order(mixed)
    assert [each.at_sample for each in result] == sorted(each.at_sample for each in result)
    kept = [each for each in result if not is_missing(each.opus)]
    assert kept == sorted(packets, key=lambda each: each.at_sample)
    left = [each for each in result if is_missing(each.opus)]
    assert units(left) == units(markers) - units(packets)
    assert all(packet_samples(each.opus) == each.samples for each in left)


def test_markers_that_nothing_came_for_stay_as_they_are() -> None:
    packets = [packet(0, SILENCE), marker(960, 960), marker(1920, 960), packet(2880, SILENCE)]
    assert in_order(reversed(packets)) == packets


def test_a_packet_between_the_units_leaves_whole_units_beside_it() -> None:
    late = packet(1000, SILENCE)
    before, came, after = in_order([marker(0, 2880), late])
    assert (before.at_sample, before.samples) == (0, 960)
    assert came is late
    assert (after.at_sample, after.samples) == (1960, 840)
