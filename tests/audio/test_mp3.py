import subprocess
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.ffmpeg import PCM_FORMAT
from discord_recorder.audio.mp3 import (
    DELAY_SAMPLES,
    FRAME_SAMPLES,
    INFO_FRAME_BYTES,
    SILENT_FRAME,
    determined_frames,
    frame_count,
    frame_sizes,
    id3v2_bytes,
    info_frame,
    info_samples,
    is_info_frame,
    is_silent,
    split_frames,
)
from discord_recorder.errors import Mp3Error
from tests.audio.signals import (
    FFMPEG,
    decoded,
    encoded_at_once,
    offset_of,
    played,
    run_ffmpeg,
    snr_db,
    speech_like,
    to_pcm,
    tone,
)

BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


def a_frame(kbps: int = 32, fill: int = 0) -> bytes:
    header = bytes((0xFF, 0xFB, (BITRATES.index(kbps) + 1) << 4 | 0x04, 0x64))
    return header + bytes((fill,)) * (3 * kbps - 4)


def info_of(frames: list[bytes], samples: int) -> bytes:
    offsets = list(accumulate(map(len, frames), initial=0))
    return info_frame(
        frames=len(frames),
        samples=samples,
        data_bytes=offsets[-1],
        offsets=[offsets[len(frames) * percent // 100] for percent in range(100)],
    )


some_frames = st.lists(st.builds(a_frame, st.sampled_from(BITRATES), st.integers(0, 255)), max_size=12)


class TestCounts:
    def test_frames_hold_source_and_delay(self) -> None:
        for samples in range(20_000):
            assert (frame_count(samples) - 1) * FRAME_SAMPLES < samples + DELAY_SAMPLES
            assert frame_count(samples) * FRAME_SAMPLES >= samples + DELAY_SAMPLES

    @pytest.mark.parametrize("samples", [1, 47, 48, 1151, 1152, 1153, 1199, 1200, 480_000])
    def test_an_encoder_makes_enough_of_them(self, samples: int) -> None:
        made = len(encoded_at_once(to_pcm(tone(samples))))
        assert made - 1 <= frame_count(samples) <= made  # it fills up its last one first

    def test_determined_frames_do_not_depend_on_what_follows(self) -> None:
        pcm = to_pcm(speech_like(100_000))
        whole = encoded_at_once(pcm)
        for end in range(40_000, 42_400, 300):
            known = determined_frames(end)
            assert encoded_at_once(pcm[: end * 4])[:known] == whole[:known]

    def test_nothing_is_determined_at_the_beginning(self) -> None:
        assert [determined_frames(n) for n in (0, 1, 2304, 3455, 3456, 480_000)] == [0, 0, 0, 0, 1, 414]


class TestParser:
    @given(some_frames)
    def test_splits_what_was_joined(self, frames: list[bytes]) -> None:
        assert split_frames(b"".join(frames)) == frames
        assert frame_sizes(b"???" + b"".join(frames), 3) == [len(frame) for frame in frames]

    @given(some_frames, st.integers(1, 95))
    def test_a_frame_cut_short_is_told_with_its_place(self, frames: list[bytes], cut: int) -> None:
        whole = b"".join(frames)
        with pytest.raises(Mp3Error, match=f"at byte {len(whole)}"):
            split_frames(whole + a_frame()[:cut])

    @given(some_frames, st.binary(min_size=1, max_size=200), some_frames)
    def test_only_mp3_error_escapes(self, before: list[bytes], noise: bytes, after: list[bytes]) -> None:
        data = b"".join(before) + noise + b"".join(after)
        with suppress(Mp3Error):
            assert b"".join(split_frames(data)) == data

    @given(some_frames.filter(bool), st.data())
    def test_only_mp3_error_escapes_of_bent_frames(self, frames: list[bytes], data: st.DataObject) -> None:
        whole = bytearray(b"".join(frames))
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        with suppress(Mp3Error):
            assert len([is_silent(frame) for frame in split_frames(bytes(whole))]) > 0

    @pytest.mark.parametrize(
        "header",
        ["fff31464", "fffd1464", "fffb1064", "fffb1864", "fffb0464", "fffbf464", "ffe31464", "54414700"],
        ids=["MPEG-2", "layer II", "44.1 kHz", "32 kHz", "free format", "bad rate", "MPEG-2.5", "ID3v1"],
    )
    def test_other_formats_are_refused(self, header: str) -> None:
        with pytest.raises(Mp3Error, match="at byte 96"):
            split_frames(SILENT_FRAME + bytes.fromhex(header).ljust(96, b"\0"))

    def test_nothing_is_no_frames(self) -> None:
        assert split_frames(b"") == []

    def test_frames_of_an_encoder_need_no_other(self) -> None:
        frames = encoded_at_once(to_pcm(speech_like(96_000)))
        assert {frame[4] << 1 | frame[5] >> 7 for frame in frames} == {0}  # main_data_begin


class TestSilence:
    def test_silent_frame_decodes_to_zeros(self) -> None:
        heard = decoded([SILENT_FRAME] * 10)
        assert len(heard) == 10 * FRAME_SAMPLES - DELAY_SAMPLES
        assert not heard.any()

    def test_encoders_silence_is_known(self) -> None:
        frames = encoded_at_once(bytes(48_000 * 4))
        assert SILENT_FRAME not in frames
        assert all(map(is_silent, frames))

    def test_sound_is_not_silent(self) -> None:
        frames = encoded_at_once(to_pcm(tone(48_000, level=2 / 32768)))
        assert not any(map(is_silent, frames[2:-2]))

    def test_frames_of_other_kinds_are_not_taken_for_silent(self) -> None:
        mono, protected = bytearray(SILENT_FRAME), bytearray(SILENT_FRAME)
        mono[3] |= 0xC0
        protected[1] &= 0xFE
        assert not is_silent(bytes(mono))
        assert not is_silent(bytes(protected))
        assert not is_silent(a_frame(40))


class TestInfoFrame:
    @pytest.mark.parametrize(
        "samples", [0, 1, 2, 46, 47, 48, 49, 575, 576, 1151, 1152, 1153, 1199, 1200, 2303, 2304, 2305, 48_000, 100_000]
    )
    def test_exactly_so_many_samples_are_played(self, tmp_path: Path, samples: int) -> None:
        frames = encoded_at_once(to_pcm(tone(samples))) if samples else []
        frames += [SILENT_FRAME] * (4 - len(frames))
        path = tmp_path / "a.mp3"
        path.write_bytes(info_of(frames, samples) + b"".join(frames))
        assert len(played(path)) == samples
        assert info_samples(path.read_bytes()[:INFO_FRAME_BYTES]) == samples

    def test_what_is_played_is_in_its_place(self, tmp_path: Path) -> None:
        signal = speech_like(100_001)
        frames = encoded_at_once(to_pcm(signal))
        path = tmp_path / "a.mp3"
        path.write_bytes(info_of(frames, len(signal)) + b"".join(frames))
        assert offset_of(signal, played(path)) == 0
        assert snr_db(signal, played(path)) > 10

    def test_like_the_one_that_ffmpeg_writes(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp3"
        pcm = to_pcm(speech_like(100_000))
        run_ffmpeg(*PCM_FORMAT, "-i", "pipe:0", "-q:a", "4", "-reservoir", "0", "-id3v2_version", "0", path, stdin=pcm)
        data = path.read_bytes()
        head, frames = data[:INFO_FRAME_BYTES], split_frames(data[INFO_FRAME_BYTES:])
        ours = info_of(frames, 100_000)
        assert is_info_frame(head)
        assert ours[36:52] == head[36:52]  # id, fields, frame and byte count
        assert max(abs(a - b) for a, b in zip(ours[52:152], head[52:152], strict=True)) <= 6  # places for seeking
        assert ours[177:180] == head[177:180]  # delay and padding
        assert ours[184:188] == head[184:188]  # length

    def test_checksum_is_the_one_that_ffmpeg_computes(self, tmp_path: Path) -> None:
        """FFmpeg takes the replay gain from a tag whose checksum is right only; so its own tag proves the sum."""
        path = tmp_path / "a.mp3"
        run_ffmpeg(*PCM_FORMAT, "-i", "pipe:0", "-id3v2_version", "0", path, stdin=to_pcm(tone(48_000)))
        theirs = path.read_bytes()[:INFO_FRAME_BYTES]
        for frame in (theirs, info_of([SILENT_FRAME] * 10, 9_000)):
            assert crc16_arc(frame[:190]) == int.from_bytes(frame[190:])

    def test_ffmpeg_reads_it_as_a_tag(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp3"
        path.write_bytes(info_of([SILENT_FRAME] * 84, 48_000 * 2) + SILENT_FRAME * 84)
        told = subprocess.run([FFMPEG, "-i", path], capture_output=True, check=False).stderr.decode()
        assert "LAME3.100" in told
        assert "Duration: 00:00:02.0" in told

    def test_places_for_seeking(self) -> None:
        frames = [a_frame(32)] * 300 + [a_frame(320)] * 100
        toc = info_of(frames, 400 * FRAME_SAMPLES - 1200)[52:152]
        size = INFO_FRAME_BYTES + 300 * 96 + 100 * 960
        assert toc[0] == 0
        assert toc[75] == (INFO_FRAME_BYTES + 300 * 96) * 256 // size
        assert toc[99] == (INFO_FRAME_BYTES + 300 * 96 + 96 * 960) * 256 // size
        assert list(toc) == sorted(toc)

    @pytest.mark.parametrize(("frames", "samples"), [(2, 2000), (10, 1000)])
    def test_length_that_does_not_fit(self, frames: int, samples: int) -> None:
        with pytest.raises(Mp3Error, match=f"{frames} frames do not fit {samples} samples"):
            info_frame(frames=frames, samples=samples, data_bytes=96 * frames, offsets=[0] * 100)

    @given(st.binary(max_size=400))
    def test_only_mp3_error_escapes_of_foreign_heads(self, data: bytes) -> None:
        with pytest.raises(Mp3Error):
            info_samples(data)

    def test_sound_is_no_info_frame(self) -> None:
        assert not is_info_frame(SILENT_FRAME)
        assert not is_info_frame(b"")


class TestId3:
    def test_length_of_the_tag(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp3"
        pcm = to_pcm(tone(48_000))
        run_ffmpeg(*PCM_FORMAT, "-i", "pipe:0", "-metadata", "title=A meeting", path, stdin=pcm)
        data = path.read_bytes()
        assert is_info_frame(data[id3v2_bytes(data) :])
        assert id3v2_bytes(data) > 10

    def test_no_tag(self) -> None:
        assert id3v2_bytes(SILENT_FRAME) == id3v2_bytes(b"ID3") == id3v2_bytes(b"") == 0

    def test_footer_is_counted(self) -> None:
        assert id3v2_bytes(b"ID3\x04\x00\x10\x00\x00\x02\x01") == 10 + 257 + 10


def crc16_arc(data: bytes) -> int:
    """The checksum from its polynomial x^16 + x^15 + x^2 + 1, bits reflected, by long division."""
    bits = [byte >> n & 1 for byte in data for n in range(8)] + [0] * 16
    for start in range(len(bits) - 16):
        if bits[start]:
            for tap in (0, 1, 14, 16):
                bits[start + tap] ^= 1
    return sum(bit << n for n, bit in enumerate(bits[-16:]))
