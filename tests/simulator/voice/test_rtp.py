"""Both transport modes and everything that can be in a packet."""

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.simulator.voice.garbage import Garbage, make_garbage
from discord_recorder.simulator.voice.rtp import MODES, Shape, TransportKey, header, is_rtcp, sequence_of

KEY = bytes(range(32))
EXTENSIONS = (b"", b"\x10\xff\x00\x00", bytes(16))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("extension", "padding", "csrcs"), list(product(EXTENSIONS, (0, 1, 200), (0, 1, 15))))
def test_what_is_added_is_taken_away_again(mode: str, extension: bytes, padding: int, csrcs: int) -> None:
    sender, receiver = TransportKey(mode, KEY), TransportKey(mode, KEY)
    shape = Shape(extension=extension, padding_bytes=padding, padding_share=1.0, csrcs=csrcs)
    clear, plain = shape.apply(header(65_535, 2**32 - 1, 7), b"opus", random.Random(1))
    datagram = sender.seal(clear, plain)
    assert receiver.open(datagram) == b"opus"
    assert sequence_of(datagram) == 65_535
    assert datagram[:12][4:] == b"\xff\xff\xff\xff\x00\x00\x00\x07"
    assert b"opus" not in datagram


@pytest.mark.parametrize("mode", MODES)
def test_every_changed_bit_is_noticed(mode: str) -> None:
    key = TransportKey(mode, KEY)
    clear, plain = Shape(padding_share=1.0).apply(header(1, 960, 7), b"opus" * 10, random.Random(1))
    datagram = key.seal(clear, plain)
    for at in range(len(datagram)):
        changed = bytearray(datagram)
        changed[at] ^= 1 << at % 8
        assert key.open(bytes(changed)) is None


def test_no_nonce_comes_twice() -> None:
    key = TransportKey(next(iter(MODES)), KEY)
    nonces = [key.seal(header(1, 1, 1), b"same")[-4:] for _ in range(1000)]
    assert len(set(nonces)) == 1000


def test_the_share_of_padding_is_kept() -> None:
    lot, shape = random.Random(1), Shape(padding_share=0.1)
    padded = [shape.apply(header(1, 1, 1), b"opus", lot)[0][0] & 0x20 for _ in range(2000)]
    assert 140 < sum(map(bool, padded)) < 260


@pytest.mark.parametrize("mode", MODES)
@given(noise=st.binary(max_size=120))
def test_noise_does_not_open(mode: str, noise: bytes) -> None:
    assert TransportKey(mode, KEY).open(noise) is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", Garbage)
def test_garbage_of_each_kind(mode: str, kind: Garbage) -> None:
    """Only what is sealed under the client's key opens, and that is no Opus of anybody known."""
    for number in range(50):
        key = TransportKey(mode, KEY)
        datagram = make_garbage(kind, key, number)
        opened = key.open(datagram)
        if kind in (Garbage.VIDEO, Garbage.UNKNOWN_SSRC, Garbage.NO_PAYLOAD):
            assert opened is not None
        else:
            assert opened is None
        assert is_rtcp(datagram) or kind is not Garbage.RTCP
