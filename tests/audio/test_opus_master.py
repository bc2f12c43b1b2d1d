from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discord_recorder.audio.ogg import LAST, read_pages
from discord_recorder.audio.opus import SILENCE, is_missing, missing_packet, packet_samples, silence
from discord_recorder.audio.opus_chunk import decode_chunk
from discord_recorder.audio.opus_master import OpusMaster
from discord_recorder.audio.opus_reader import PlacedPacket, read_ogg_opus
from discord_recorder.audio.opus_writer import OggOpusWriter
from tests.audio.opus_signals import encoded, in_a_row, reference, speech
from tests.audio.signals import offset_of, played, run_ffmpeg, to_pcm, tone


def packet(at_sample: int, opus: bytes) -> PlacedPacket:
    return PlacedPacket(at_sample=at_sample, samples=packet_samples(opus), opus=opus)


def placed(packets: list[bytes], at: int = 0) -> list[PlacedPacket]:
    return [packet(place, opus) for place, opus in in_a_row(packets, at)]


def master(packets: list[PlacedPacket], total_samples: int) -> bytes:
    made = OpusMaster(total_samples=total_samples)
    return made.append(packets) + made.finish()


class TestLength:
    @pytest.mark.parametrize("total", [0, 1, 119, 120, 121, 959, 960, 961, 9_600, 48_000, 100_001, 5_000_003])
    @pytest.mark.parametrize("sounding", [0, 1, 10])
    def test_is_exact_for_players(self, tmp_path: Path, total: int, sounding: int) -> None:
        (tmp_path / "a.ogg").write_bytes(master(placed(encoded(to_pcm(tone(9_600)))[:sounding]), total))
        if total:
            assert len(played(tmp_path / "a.ogg")) == total
        stream = read_ogg_opus((tmp_path / "a.ogg").read_bytes())
        assert stream.end_sample == total
        assert stream.is_finished

    @settings(max_examples=200)
    @given(
        st.lists(
            st.tuples(
                st.integers(-3_000, 20_000), st.sampled_from([SILENCE, b"\xe0\1", b"\x18\1", b"\xfb\x06" + b"1" * 12])
            ),
            max_size=60,
        ),
        st.integers(0, 400_000),
    )
    def test_and_every_packet_is_near_its_place(self, steps: list[tuple[int, bytes]], total: int) -> None:
        packets, at = [], 0
        for gap, opus in steps:
            at = max(0, at + gap)
            packets.append(packet(at, opus))
            at = packets[-1].end_sample
        packets.sort(key=lambda each: each.at_sample)
        made = OpusMaster(total_samples=total)
        stream = read_ogg_opus(made.append(packets) + made.finish())
        assert stream.end_sample == total
        assert stream.dropped_bytes == 0
        end = 0
        for each in stream.packets:  # no holes, as players do not hear them
            assert each.at_sample == end
            end = each.end_sample
        received = [each.opus for each in packets]
        kept = [each for each in stream.packets if each.opus in set(received)]
        assert len(packets) - made.left_out_packets <= len(kept)
        is_apart = all(b.at_sample >= a.end_sample for a, b in pairwise(packets))
        if is_apart:
            assert made.left_out_packets <= sum(each.at_sample + 60 >= total for each in packets)
            places = {each.at_sample for each in kept}
            for each in packets[: len(packets) - made.left_out_packets]:
                assert any(abs(each.at_sample - place) <= 60 for place in places)


class TestSound:
    @pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])
    def test_is_the_packets_as_they_came(self, tmp_path: Path, mode: str) -> None:
        sound = encoded(speech("Ben", 4.0), mode=mode)
        packets = placed(sound[:100], 24_000) + placed(sound[100:], 240_000)
        data = master(packets, 480_000)
        ours = {*silence(5_760), *silence(5_640)}
        assert [each.opus for each in read_ogg_opus(data).packets if each.opus not in ours] == sound
        expected = reference([*silence(24_000), *sound[:100], *silence(120_000), *sound[100:], *silence(144_000)])
        (tmp_path / "a.ogg").write_bytes(data)
        heard = run_ffmpeg("-c:a", "libopus", "-i", tmp_path / "a.ogg", "-f", "s16le", "pipe:1")
        assert heard == expected.tobytes()

    def test_stands_in_its_place_after_a_long_silence(self, tmp_path: Path) -> None:
        sound = encoded(speech("Ben", 2.0))
        (tmp_path / "a.ogg").write_bytes(master(placed(sound, 28_800_120), 29_000_000))
        heard = played(tmp_path / "a.ogg")
        expected = reference(sound)
        assert not heard[:28_800_000].any()
        assert offset_of(expected / 32_768, heard[28_800_000:]) == 120

    def test_chunk_by_chunk_is_the_same(self) -> None:
        packets = placed(encoded(to_pcm(tone(96_000))), 5_000)
        made = OpusMaster(total_samples=200_000)
        data = b"".join(made.append(packets[first : first + 7]) for first in range(0, 100, 7)) + made.finish()
        assert data == master(packets, 200_000)

    def test_duplicates_and_what_begins_too_late_are_left_out(self) -> None:
        packets = placed(encoded(to_pcm(tone(96_000))))
        made = OpusMaster(total_samples=48_000)
        made.append(packets[:30])
        made.append(packets[25:])
        made.finish()
        assert made.left_out_packets == 5 + 50


class TestLosses:
    def lossy(self, lost: range, *, mode: str = "celt") -> list[PlacedPacket]:
        sound = encoded(speech("Ben", 4.0), mode=mode)
        return placed([missing_packet(opus, 960) if n in lost else opus for n, opus in enumerate(sound)])

    @pytest.mark.parametrize(("lost", "kept"), [(1, 1), (5, 5), (6, 5), (50, 5)])
    @pytest.mark.parametrize("step", [1, 7, 200])
    def test_are_markers_up_to_100_ms(self, lost: int, kept: int, step: int) -> None:
        """However the packets come, chunk by chunk."""
        packets = self.lossy(range(30, 30 + lost))
        made = OpusMaster(total_samples=192_000)
        data = b"".join(made.append(packets[at : at + step]) for at in range(0, 200, step)) + made.finish()
        found = read_ogg_opus(data).packets
        markers = [each for each in found if is_missing(each.opus)]
        assert [each.at_sample for each in markers] == [(30 + n) * 960 for n in range(kept)]
        silent = [each for each in found if each.opus in {*silence(5_760), *silence(5_640)}]
        assert sum(each.samples for each in silent) == (lost - kept) * 960
        assert made.left_out_packets == 0

    def test_one_long_marker_is_cut(self) -> None:
        sound = encoded(speech("Ben", 1.0))
        marker = missing_packet(sound[0], 5_760)
        data = master([*placed(sound[:20]), *placed([marker, marker, *sound[32:]], 19_200)], 48_000)
        markers = [each for each in read_ogg_opus(data).packets if is_missing(each.opus)]
        assert [(each.at_sample, each.samples) for each in markers] == [(19_200, 4_800)]
        assert read_ogg_opus(data).end_sample == 48_000

    def test_another_loss_begins_anew(self) -> None:
        packets = self.lossy(range(30, 40))
        packets[35:36] = placed(encoded(speech("Ben", 1.0))[:1], 35 * 960)
        markers = [each for each in read_ogg_opus(master(packets, 192_000)).packets if is_missing(each.opus)]
        assert [each.at_sample // 960 for each in markers] == [30, 31, 32, 33, 34, 36, 37, 38, 39]

    @pytest.mark.parametrize("codec", ["libopus", "opus"])
    def test_through_everything_it_keeps_time_with_the_chunks(self, tmp_path: Path, codec: str) -> None:
        """Losses, long ones, silences and changes of mode: no sample is added or lost by either of FFmpeg's decoders.

        Its own one has another delay in SILK, 2 samples of it.
        """
        packets, at = [], 0
        for number, mode in enumerate(("silk", "celt", "hybrid", "silk", "hybrid", "celt", "silk")):
            sound = encoded(speech(("Ada", "Ben", "Chris")[number % 3], 2.0), mode=mode)
            lost = {20, 40, 41, *range(60, 60 + 3 * number)}
            sound = [missing_packet(opus, 960) if n in lost else opus for n, opus in enumerate(sound)]
            packets += placed([missing_packet(sound[0], 480), *sound, *[SILENCE] * 5], at)
            at = packets[-1].end_sample + (0, 120, 24_000, 0, 500_040, 4_800, 0)[number]
        data, total = master(packets, at + 77), at + 77
        (tmp_path / "a.ogg").write_bytes(data)
        raw = run_ffmpeg("-c:a", codec, "-i", tmp_path / "a.ogg", "-f", "s16le", "-ac", "2", "pipe:1")
        heard = np.frombuffer(raw, "<i2").reshape(-1, 2) / 32_768
        assert len(heard) == total
        writer = OggOpusWriter()
        for each in packets:
            writer.write(each.opus, each.at_sample)
        chunk = decode_chunk(writer.finish(), start_sample=0, sample_count=total)
        ours = np.frombuffer(chunk.pcm.pcm, "<i2").reshape(-1, 2) / 32_768
        for first in range(0, total - 96_000, 96_000):
            if ours[first : first + 96_000].any():
                assert abs(offset_of(ours[first : first + 96_000], heard[first : first + 96_000])) <= (
                    2 if codec == "opus" else 0
                )


class TestFile:
    def test_pages_are_a_second_at_most(self) -> None:
        data = master(placed(encoded(to_pcm(tone(96_000))), 100_000), 1_000_000)
        pages = list(read_pages(data))
        assert pages[-1].flags == LAST
        ends = np.array([page.granule for page in pages[2:]])
        assert np.diff(ends, prepend=0).max() <= 48_000 + 5_760

    def test_silence_is_small(self) -> None:
        assert len(master([], 3600 * 48_000)) < 600_000

    def test_comments(self) -> None:
        assert b"TITLE=Ada" in OpusMaster(total_samples=0, comments=["TITLE=Ada"]).finish()
