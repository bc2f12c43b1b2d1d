import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.ogg import FIRST, LAST, read_pages
from discord_recorder.audio.opus import SILENCE, packet_samples
from discord_recorder.audio.opus_reader import read_ogg_opus
from discord_recorder.audio.opus_writer import MAX_PACKET_BYTES, OggOpusWriter
from discord_recorder.errors import OggError, OpusError
from tests.audio.opus_signals import decoded_at_once, encoded, speech
from tests.audio.signals import played, run_ffmpeg

CELT_20 = 31 << 3


def a_packet(number: int, size: int = 40) -> bytes:
    """A packet of 20 ms like no other."""
    return bytes((CELT_20,)) + random.Random(number).randbytes(size - 1)


def placed(data: bytes) -> list[tuple[int, bytes]]:
    return [(packet.at_sample, packet.opus) for packet in read_ogg_opus(data).packets]


steps = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.just(0), st.integers(-5_000, 100_000)),  # the gap before the packet
        st.sampled_from([SILENCE, bytes((CELT_20 | 1, 1, 2)), a_packet(1), a_packet(2, 255), a_packet(3, 1276)]),
        st.booleans(),  # flush after it
    ),
    max_size=400,
)


class TestPlaces:
    @given(steps)
    def test_every_packet_is_found_in_its_place(self, steps: list[tuple[int, bytes, bool]]) -> None:
        writer = OggOpusWriter()
        data, at, written = writer.take(), 0, []
        for gap, packet, is_flushed in steps:
            at = max(0, at + gap)
            samples = writer.write(packet, at)
            written.append((at, packet))
            at += samples
            assert writer.end_sample == at
            if is_flushed:
                data += writer.flush()
                assert placed(data) == written
        data += writer.finish()
        assert placed(data) == written
        stream = read_ogg_opus(data)
        assert stream.is_finished
        assert stream.dropped_bytes == 0
        assert stream.end_sample == max((place + packet_samples(packet) for place, packet in written), default=0)

    def test_a_gap_of_one_sample(self) -> None:
        writer = OggOpusWriter()
        for at in (5, 965, 1926):
            writer.write(SILENCE, at)
        assert placed(writer.flush()) == [(5, SILENCE), (965, SILENCE), (1926, SILENCE)]

    def test_a_late_packet_keeps_its_place(self) -> None:
        writer = OggOpusWriter()
        for number in (0, 2, 1, 3):
            writer.write(a_packet(number), number * 960)
        data = writer.finish()
        assert placed(data) == [(number * 960, a_packet(number)) for number in (0, 2, 1, 3)]
        assert read_ogg_opus(data).end_sample == 4 * 960

    def test_nothing_new_is_nothing(self) -> None:
        writer = OggOpusWriter()
        assert writer.flush()
        assert writer.flush() == b""
        writer.write(SILENCE, 0)
        assert writer.take() == b""
        assert len(writer.flush()) == 28 + 3

    def test_a_page_is_closed_after_a_second(self) -> None:
        writer = OggOpusWriter()
        writer.take()
        for number in range(51):
            assert writer.take() == b""
            writer.write(SILENCE, number * 960)
        (page,) = read_pages(writer.take())
        assert page.granule == 48_000
        assert len(page.pieces()) == 50

    @pytest.mark.parametrize("at", [-1, -960, 2**62, 2**80])
    def test_no_place(self, at: int) -> None:
        writer = OggOpusWriter()
        with pytest.raises(OggError, match="no packet can be placed"):
            writer.write(SILENCE, at)
        assert writer.write(SILENCE, 0) == 960

    @pytest.mark.parametrize(
        "packet", [b"", bytes((CELT_20 | 3,)), bytes((CELT_20 | 3, 0x41)) + b"\xff" * 256 + bytes(MAX_PACKET_BYTES)]
    )
    def test_no_packet(self, packet: bytes) -> None:
        writer = OggOpusWriter()
        writer.write(SILENCE, 960)
        with pytest.raises(OpusError):
            writer.write(packet, 1920)
        writer.write(SILENCE, 1920)
        assert placed(writer.flush()) == [(960, SILENCE), (1920, SILENCE)]


class TestEnd:
    def test_may_cut_the_last_packet(self) -> None:
        writer = OggOpusWriter()
        for number in range(3):
            writer.write(a_packet(number), number * 960)
        data = writer.finish(2_000)
        assert [page.flags for page in read_pages(data)] == [FIRST, 0, LAST]
        assert placed(data) == [(number * 960, a_packet(number)) for number in range(3)]
        assert read_ogg_opus(data).end_sample == 2_000

    @pytest.mark.parametrize("end", [-1, 0, 959, 960, 2_881])
    def test_elsewhere_than_on_the_last_page(self, end: int) -> None:
        writer = OggOpusWriter()
        writer.write(SILENCE, 0)
        writer.flush()
        writer.write(SILENCE, 960)
        writer.write(SILENCE, 1920)
        with pytest.raises(OggError, match="cannot end"):
            writer.finish(end)
        assert read_ogg_opus(writer.finish(2_880)).end_sample == 2_880

    def test_is_final(self) -> None:
        writer = OggOpusWriter()
        writer.write(SILENCE, 0)
        writer.finish()
        with pytest.raises(OggError, match="was finished"):
            writer.finish()
        with pytest.raises(OggError, match="was finished"):
            writer.write(SILENCE, 960)

    def test_of_an_empty_stream(self) -> None:
        stream = read_ogg_opus(OggOpusWriter().finish())
        assert (list(stream.packets), stream.end_sample, stream.is_finished) == ([], 0, True)


class TestOtherPrograms:
    @pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])
    def test_ffmpeg_plays_what_was_written(self, tmp_path: Path, mode: str) -> None:
        packets = encoded(speech("Ben", 3.0), mode=mode)
        writer = OggOpusWriter(comments=["TITLE=A track"])
        for number, packet in enumerate(packets):
            writer.write(packet, number * 960)
        (tmp_path / "a.ogg").write_bytes(writer.flush() + writer.finish())
        heard = run_ffmpeg("-c:a", "libopus", "-i", tmp_path / "a.ogg", "-f", "s16le", "pipe:1")
        expected = decoded_at_once(packets)
        assert expected is not None
        assert heard == expected.tobytes()

    def test_ffmpeg_knows_the_length_and_the_comments(self, tmp_path: Path) -> None:
        writer = OggOpusWriter(comments=["TITLE=" + "x" * 100_000])
        for number in range(100):
            writer.write(a_packet(number), number * 960)
        (tmp_path / "a.ogg").write_bytes(writer.finish(95_001))
        assert len(played(tmp_path / "a.ogg")) == 95_001
        told = run_ffmpeg("-i", tmp_path / "a.ogg", "-map_metadata", "0:s:0", "-f", "ffmetadata", "pipe:1").decode()
        assert "xxx" in told
