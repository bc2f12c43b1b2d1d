"""Vectors of RFC 9420, section 2.1.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.errors import MlsError
from discord_recorder.simulator.voice.wire import Reader, vector


@given(st.lists(st.binary(max_size=70)), st.binary())
def test_vectors_come_back(contents: list[bytes], rest: bytes) -> None:
    reader = Reader(b"".join(map(vector, contents)) + rest)
    assert [reader.vector() for _ in contents] == contents
    assert reader.rest() == rest
    reader.end()


@pytest.mark.parametrize(
    ("size", "length"), [(0, "00"), (63, "3f"), (64, "4040"), (16383, "7fff"), (16384, "80004000")]
)
def test_lengths_are_as_short_as_can_be(size: int, length: str) -> None:
    encoded = vector(bytes(size))
    assert encoded[: len(length) // 2].hex() == length
    assert Reader(encoded).vector() == bytes(size)


@pytest.mark.parametrize("bad", ["", "01", "c0", "4001aa", "80000001aa", "40", "4100aa"])
def test_bad_lengths_are_refused(bad: str) -> None:
    with pytest.raises(MlsError):
        Reader(bytes.fromhex(bad)).vector()


def test_what_is_left_over_is_refused() -> None:
    reader = Reader(b"abc")
    assert reader.uint(2) == 0x6162
    with pytest.raises(MlsError):
        reader.end()
