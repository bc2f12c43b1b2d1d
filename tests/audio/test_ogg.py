import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.ogg import LAST, build_page, checksum, lacing, read_pages
from tests.audio.opus_signals import speech_file


def crc_by_division(data: bytes) -> int:
    """RFC 3533's CRC by long division: polynomial 0x04C11DB7, most significant bit first, nothing inverted."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFFFFFF
    return register


class TestChecksum:
    @given(st.binary(max_size=500))
    def test_is_that_of_the_rfc(self, data: bytes) -> None:
        assert checksum(data) == crc_by_division(data).to_bytes(4, "little")

    def test_another_programs_pages_have_it(self) -> None:
        data = speech_file("Ada").read_bytes()
        assert sum(page.size_bytes for page in read_pages(data)) == len(data)


class TestPages:
    @given(
        st.lists(st.binary(max_size=600), max_size=20),
        st.integers(-1, 2**62),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**33),
        st.integers(0, 7),
    )
    def test_read_as_written(self, packets: list[bytes], granule: int, serial: int, sequence: int, flags: int) -> None:
        segments = b"".join(lacing(len(packet)) for packet in packets)
        data = build_page(
            segments=segments, body=b"".join(packets), granule=granule, serial=serial, sequence=sequence, flags=flags
        )
        (page,) = read_pages(data)
        assert page.pieces() == packets
        assert (page.granule, page.serial, page.sequence) == (granule, serial, sequence % 2**32)
        assert (page.flags, page.size_bytes, page.is_open_ended) == (flags, len(data), False)

    def test_a_packet_that_goes_on(self) -> None:
        (page,) = read_pages(build_page(segments=b"\x02\xff", body=bytes(257), granule=1, serial=1, sequence=0))
        assert page.is_open_ended
        assert list(map(len, page.pieces())) == [2, 255]

    @pytest.mark.parametrize("size", [0, 1, 254, 255, 256, 509, 510, 1279, 1280, 65_024])
    def test_lacing(self, size: int) -> None:
        assert sum(lacing(size)) == size
        assert lacing(size)[-1] < 255
        assert set(lacing(size)[:-1]) <= {255}

    def test_what_is_damaged_is_left_out(self) -> None:
        pages = [build_page(segments=b"\x05", body=b"12345", granule=n, serial=1, sequence=n) for n in range(3)]
        for at in range(len(pages[1])):
            torn = bytearray(pages[1])
            torn[at] ^= 0x10
            assert [page.granule for page in read_pages(pages[0] + bytes(torn) + pages[2])] == [0, 2]

    @given(st.integers(0, 32), st.binary(max_size=40))
    def test_cut_short_or_with_rubbish_before(self, length: int, rubbish: bytes) -> None:
        page = build_page(segments=b"\x05", body=b"12345", granule=7, serial=1, sequence=0, flags=LAST)
        assert list(read_pages(page[:length])) == []
        assert [found.granule for found in read_pages(rubbish + b"OggSOgg" + page + page[:length])] == [7]

    @given(st.binary(max_size=300))
    def test_nothing_is_found_in_rubbish(self, data: bytes) -> None:
        assert list(read_pages(data)) == []
        assert list(read_pages(b"OggS\0" + data)) == []
