"""Links draw by lot, repeat themselves from a seed, and write down what they did."""

import pytest

from discord_recorder.simulator.voice.faults import Direction, Faults, Kind, Link, LinkFaults
from discord_recorder.simulator.voice.rtp import header

PACKETS = [header(number, number * 960, 5) + b"sealed" * 10 for number in range(5000)]


def _link(faults: LinkFaults, seed: int = 3) -> Link:
    return Faults(seed).set(1, Direction.UP, faults)


def _through(link: Link) -> list[list[tuple[float, bytes]]]:
    return [list(link.fate_of(packet)) for packet in PACKETS]


@pytest.mark.parametrize(
    ("faults", "kind", "arrivals"),
    [
        (LinkFaults(loss=0.1), Kind.LOST, 0),
        (LinkFaults(blackhole=True), Kind.BLACKHOLED, 0),
        (LinkFaults(duplicate=0.1), Kind.DUPLICATED, 2),
        (LinkFaults(reorder=0.1), Kind.REORDERED, 1),
        (LinkFaults(corrupt=0.1), Kind.CORRUPTED, 1),
    ],
)
def test_incidents_tell_exactly_what_happened(faults: LinkFaults, kind: Kind, arrivals: int) -> None:
    link = _link(faults)
    fates = _through(link)
    hit = {one.sequence for one in link.incidents}
    assert {one.kind for one in link.incidents} == {kind}
    assert {one.ssrc for one in link.incidents} == {5}
    assert link.counts[kind] == len(hit) == len(PACKETS) if faults.blackhole else 350 < len(hit) < 650
    for number, fate in enumerate(fates):
        if number not in hit:
            assert fate == [(0.0, PACKETS[number])]
        else:
            assert len(fate) == arrivals
            assert all((delay > 0) == (kind is Kind.REORDERED) for delay, _ in fate)
            assert all((datagram != PACKETS[number]) == (kind is Kind.CORRUPTED) for _, datagram in fate)


def test_jitter_stays_below_its_bound() -> None:
    delays = [fate[0][0] for fate in _through(_link(LinkFaults(jitter_ms=30)))]
    assert 0 <= min(delays) < 0.001
    assert 0.029 < max(delays) < 0.03


def test_a_corrupted_packet_has_one_bit_changed() -> None:
    for packet, fate in zip(PACKETS, _through(_link(LinkFaults(corrupt=1.0))), strict=True):
        difference = int.from_bytes(packet) ^ int.from_bytes(fate[0][1])
        assert difference.bit_count() == 1


def test_the_same_seed_gives_the_same_fates() -> None:
    faults = LinkFaults(loss=0.2, duplicate=0.2, jitter_ms=10, corrupt=0.2, reorder=0.2)
    assert _through(_link(faults)) == _through(_link(faults))
    assert _through(_link(faults)) != _through(_link(faults, seed=4))


def test_audio_only_spares_the_rest() -> None:
    link = _link(LinkFaults(blackhole=True, audio_only=True))
    assert link.fate_of(bytes(8)) == ((0.0, bytes(8)),)
    assert link.fate_of(bytes(74)) == ((0.0, bytes(74)),)
    assert link.fate_of(PACKETS[0]) == ()


def test_links_are_by_user_and_direction() -> None:
    faults = Faults()
    up = faults.set(1, Direction.UP, LinkFaults(loss=1))
    links = {(user, way): faults.link(user, way) for user in (1, 2) for way in Direction}
    assert {place for place, link in links.items() if link is not None} == {(1, Direction.UP)}
    assert links[1, Direction.UP] is up
    seen = [faults.any_down]
    faults.set(2, Direction.DOWN, LinkFaults(loss=1))
    seen.append(faults.any_down)
    faults.clear(2)
    seen.append(faults.any_down)
    assert seen == [False, True, False]
    faults.clear(1, Direction.UP)
    assert faults.link(1, Direction.UP) is None
