from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from discord_recorder.audio import ogg
from discord_recorder.audio.opus_reader import read_ogg_opus
from discord_recorder.audio.opus_writer import OggOpusWriter
from discord_recorder.errors import OggError
from tests.audio.opus_signals import speech_file
from tests.audio.signals import run_ffmpeg
from tests.audio.test_opus_writer import CELT_20, a_packet, placed


def a_journal() -> tuple[bytes, list[int]]:
    """A file as it is written live, and where each of its pages ends."""
    writer = OggOpusWriter()
    data, ends = b"", []
    for number in range(20):
        writer.write(a_packet(number), number * 960 + (number > 10) * 7_777)
        if number % 5 == 4:
            data += writer.flush()
            ends.append(len(data))
    return data, ends


JOURNAL, ENDS = a_journal()
HEAD_BYTES = 47
WHOLE = placed(JOURNAL)


class TestDamage:
    @given(st.integers(HEAD_BYTES, len(JOURNAL)))
    @example(len(JOURNAL) - 1)
    def test_a_torn_tail_is_left_out_and_counted(self, length: int) -> None:
        stream = read_ogg_opus(JOURNAL[:length])
        whole = [page.size_bytes for page in ogg.read_pages(JOURNAL)]
        kept = max(sum(whole[:n]) for n in range(len(whole) + 1) if sum(whole[:n]) <= length)
        assert stream.dropped_bytes == length - kept
        assert [(p.at_sample, p.opus) for p in stream.packets] == WHOLE[: len(stream.packets)]
        assert len(stream.packets) >= 5 * sum(end <= length for end in ENDS)
        assert not stream.is_finished

    @given(st.integers(0, len(JOURNAL) - 1), st.integers(1, 600), st.integers(0, 255))
    def test_damage_in_the_middle_costs_its_pages_only(self, at: int, size: int, fill: int) -> None:
        damaged = JOURNAL[:at] + bytes([fill]) * len(JOURNAL[at : at + size]) + JOURNAL[at + size :]
        stream = read_ogg_opus(damaged)
        heard = [(packet.at_sample, packet.opus) for packet in stream.packets]
        assert set(heard) <= set(WHOLE)
        assert len(heard) >= 20 - 5 * (2 + size // 200)
        assert (stream.dropped_bytes == 0) == (damaged == JOURNAL)

    @given(st.binary(max_size=300), st.integers(0, len(JOURNAL)))
    def test_only_ogg_error_escapes(self, rubbish: bytes, at: int) -> None:
        with pytest.raises(OggError):
            read_ogg_opus(rubbish)
        stream = read_ogg_opus(JOURNAL[:at] + rubbish + JOURNAL[at:])
        assert {(packet.at_sample, packet.opus) for packet in stream.packets} <= set(WHOLE)

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 7),
                st.one_of(st.integers(-5, 5_000), st.integers(-(2**63), 2**63 - 1)),
                st.integers(1, 2),
                st.integers(0, 3),
                st.lists(
                    st.one_of(
                        st.binary(max_size=300),
                        st.sampled_from([b"OpusHead\1\2\0\1\x80\xbb\0\0\0\0\0", b"OpusTags", a_packet(1)]),
                    ),
                    max_size=4,
                ),
                st.booleans(),
            ),
            max_size=8,
        )
    )
    @example([(0, 0, 1, 0, [b"", b"OpusTags"], False)])
    def test_whole_pages_of_anything(self, pages: list[tuple[int, int, int, int, list[bytes], bool]]) -> None:
        data = b""
        for flags, granule, serial, sequence, packets, is_open in pages:
            segments = b"".join(ogg.lacing(len(packet)) for packet in packets)
            body = b"".join(packets)
            if is_open and packets and len(packets[-1]) >= 255:
                segments, body = segments[:-1], body[: -(len(packets[-1]) % 255) or None]
            data += ogg.build_page(
                segments=segments, body=body, granule=granule, serial=serial, sequence=sequence, flags=flags
            )
        try:
            stream = read_ogg_opus(data)
        except OggError:
            return
        assert 0 <= stream.dropped_bytes < len(data)
        assert all(packet.samples > 0 for packet in stream.packets)

    def test_audio_outlives_its_head(self) -> None:
        for torn in (JOURNAL[1:], JOURNAL[HEAD_BYTES + 1 :]):
            assert placed(torn) == WHOLE

    def test_a_packet_that_is_no_opus_costs_its_page(self) -> None:
        pages = list(ogg.read_pages(JOURNAL))
        bad = ogg.build_page(
            segments=b"\x28\x01", body=a_packet(3) + bytes((CELT_20 | 3,)), granule=5_000, serial=1, sequence=9
        )
        stream = read_ogg_opus(JOURNAL + bad)
        assert len(stream.packets) == len(WHOLE)
        assert stream.dropped_bytes == len(bad)
        assert pages[0].flags == ogg.FIRST


class TestOtherPrograms:
    def test_a_file_of_ffmpegs(self) -> None:
        """Packets begin at minus the pre-skip, follow each other, and the last is cut as FFmpeg cuts it."""
        stream = read_ogg_opus(speech_file("Ada").read_bytes())
        heard = run_ffmpeg("-i", speech_file("Ada"), "-ac", "1", "-f", "s16le", "pipe:1")
        assert stream.pre_skip_samples == 120
        assert stream.packets[0].at_sample == -120
        assert all(b.at_sample == a.end_sample for a, b in pairwise(stream.packets))
        assert stream.end_sample == len(heard) // 2
        assert stream.is_finished
        assert stream.dropped_bytes == 0

    def test_packets_that_go_on_on_the_next_page(self) -> None:
        head, *_ = ogg.read_pages(JOURNAL)
        long = a_packet(7, 1_000)
        pages = [JOURNAL[: head.size_bytes]]
        pages.append(
            ogg.build_page(segments=b"\x28\xff", body=a_packet(1) + long[:255], granule=960, serial=1, sequence=1)
        )
        pages.append(
            ogg.build_page(segments=b"\xff", body=long[255:510], granule=-1, serial=1, sequence=2, flags=ogg.CONTINUED)
        )
        pages.append(
            ogg.build_page(
                segments=b"\xff\xeb\x28",
                body=long[510:] + a_packet(2),
                granule=2_880,
                serial=1,
                sequence=3,
                flags=ogg.CONTINUED,
            )
        )
        assert placed(b"".join(pages)) == [(0, a_packet(1)), (960, long), (1920, a_packet(2))]
        assert placed(pages[0] + pages[1] + pages[3]) == [(0, a_packet(1)), (1920, a_packet(2))]

    def test_other_streams_in_the_file_are_passed_over(self) -> None:
        other = ogg.build_page(segments=b"\x05", body=b"12345", granule=5, serial=9, sequence=0, flags=ogg.FIRST)
        assert placed(other + JOURNAL + other) == WHOLE
        assert read_ogg_opus(other + JOURNAL + other).dropped_bytes == 2 * len(other)
