from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.encode import encode_chunks
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.mp3 import FRAME_SAMPLES, LOOKAHEAD_SAMPLES, PREROLL_SAMPLES
from discord_recorder.audio.opus import SILENCE, packet_samples
from discord_recorder.audio.opus_chunk import DecodedChunk, decode_chunk
from discord_recorder.audio.opus_preroll import OpusPreroll
from discord_recorder.audio.opus_writer import OggOpusWriter
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.errors import OggError
from tests.audio.opus_signals import Pcm, encoded, in_a_row, reference, speech
from tests.audio.signals import FULL_SCALE, chunks_of, clicks, dbfs, decoded, every, from_pcm, spliced, to_pcm, tone

Placed = list[tuple[int, bytes]]

KEPT_SAMPLES = LOOKAHEAD_SAMPLES + FRAME_SAMPLES
"""How far before a chunk its first MP3 frame may reach."""

FADE = 240
"""So long sound fades out into a gap."""

MODES = pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])


def a_file(packets: Placed) -> bytes:
    writer = OggOpusWriter()
    for at, opus in packets:
        writer.write(opus, at)
    return writer.finish()


def files(packets: Placed, borders: list[int]) -> list[bytes]:
    """The chunks' files as a track writes them: pre-roll, then the packets that begin within the chunk."""
    preroll, result = OpusPreroll(), []
    for first, last in pairwise(borders):
        writer = OggOpusWriter()
        for opus, at in preroll.packets():
            writer.write(opus, at)
        for at, opus in packets:
            if first <= at < last:
                preroll.add(opus, at, writer.write(opus, at))
        result.append(writer.finish())
    return result


def chunks(packets: Placed, borders: list[int]) -> list[DecodedChunk]:
    return [
        decode_chunk(data, start_sample=first, sample_count=last - first)
        for data, (first, last) in zip(files(packets, borders), pairwise(borders), strict=True)
    ]


def own(chunk: DecodedChunk, extra_samples: int = 0) -> Pcm:
    """A chunk's PCM without its pre-roll, but for the last samples of it."""
    pcm = np.frombuffer(chunk.pcm.pcm, "<i2").reshape(-1, 2)
    return pcm[chunk.pcm.preroll_samples - extra_samples :]


class TestPlaces:
    def test_gaps_are_silent_and_packets_in_their_places(self) -> None:
        sound = encoded(to_pcm(tone(9_600)), mode="celt")
        placed = in_a_row(sound, 30_001) + in_a_row(sound, 60_007)
        chunk = decode_chunk(a_file(placed), start_sample=25_000, sample_count=50_000)
        assert len(chunk.pcm.pcm) == (PREROLL_SAMPLES + 50_000) * SAMPLE_BYTES
        assert (chunk.pcm.start_sample, chunk.pcm.preroll_samples) == (25_000, PREROLL_SAMPLES)
        assert (chunk.packets, chunk.overlapping_packets, chunk.corrupt_packets, chunk.dropped_bytes) == (20, 0, 0, 0)
        heard = own(chunk)
        assert (heard[5_001 : 14_601 - FADE] == reference(sound)[:-FADE]).all()
        assert (heard[35_007 + FADE : 44_607 - FADE] == reference([SILENCE, *sound])[960:][FADE:-FADE]).all()
        for first, last in ((0, 5_001), (14_601, 35_007), (44_607, 50_000)):
            assert not heard[first:last].any()

    @given(
        st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 3)), max_size=30),
        st.integers(0, 60_000),
        st.integers(0, 60_000),
    )
    def test_always_exactly_as_long_as_asked(self, steps: list[tuple[int, int]], start: int, count: int) -> None:
        sounds = [encoded(to_pcm(tone(5_760)), mode="celt", frame_ms=ms)[0] for ms in (10, 20, 60)] + [SILENCE]
        placed, at = [], 0
        for gap, kind in steps:
            placed.append((at + gap, sounds[kind]))
            at += gap + packet_samples(sounds[kind])
        chunk = decode_chunk(a_file(placed), start_sample=start, sample_count=count)
        preroll = min(start, PREROLL_SAMPLES)
        assert len(chunk.pcm.pcm) == (preroll + count) * SAMPLE_BYTES
        assert chunk.pcm.preroll_samples == preroll
        assert chunk.packets == sum(start <= place < start + count for place, _ in placed)
        heard = np.frombuffer(chunk.pcm.pcm, "<i2").reshape(-1, 2)
        silent = np.ones(start + count + 10_000, bool)
        for place, opus in placed:
            silent[place : place + packet_samples(opus)] = False
        assert not heard[silent[start - preroll : start + count]].any()

    def test_late_packets_are_put_in_order(self) -> None:
        sound = in_a_row(encoded(speech("Ben", 1.0)))
        late = [*sound[:20], *sound[25:30], *sound[20:25], *sound[30:]]
        assert (
            own(decode_chunk(a_file(late), start_sample=0, sample_count=48_000)).tolist()
            == reference([opus for _, opus in sound]).tolist()
        )

    def test_duplicates_are_left_out(self) -> None:
        sound = in_a_row(encoded(to_pcm(tone(48_000))))
        chunk = decode_chunk(a_file(sound + sound[10:15]), start_sample=0, sample_count=48_000)
        assert (chunk.packets, chunk.overlapping_packets) == (50, 5)
        assert (own(chunk) == reference([opus for _, opus in sound])).all()

    def test_where_packets_overlap_the_earlier_fades_to_the_later(self) -> None:
        sound = encoded(to_pcm(tone(48_000)))
        placed = in_a_row(sound[:25]) + in_a_row(sound[25:], 25 * 960 - 100)
        whole = reference(sound)
        heard = own(decode_chunk(a_file(placed), start_sample=0, sample_count=48_000))
        assert (heard[: 25 * 960 - 100] == whole[: 25 * 960 - 100]).all()
        seam = np.stack([whole[25 * 960 - 100 : 25 * 960], whole[25 * 960 : 25 * 960 + 100]])
        assert (heard[25 * 960 - 100 : 25 * 960] >= seam.min(axis=0) - 1).all()
        assert (heard[25 * 960 - 100 : 25 * 960] <= seam.max(axis=0) + 1).all()
        assert (heard[25 * 960 : -100 - FADE] == whole[25 * 960 + 100 : -FADE]).all()

    def test_a_torn_file_gives_what_is_whole(self) -> None:
        sound = encoded(to_pcm(tone(96_000)))
        writer = OggOpusWriter()
        data = b""
        for at, opus in in_a_row(sound):
            writer.write(opus, at)
            if at % 4_800 == 3_840:
                data += writer.flush()
        chunk = decode_chunk(data[:-1], start_sample=0, sample_count=96_000)
        assert chunk.packets == 95
        assert chunk.dropped_bytes > 0
        assert (own(chunk)[: 95 * 960 - FADE] == reference(sound[:95])[:-FADE]).all()
        assert not own(chunk)[95 * 960 :].any()

    def test_what_is_no_ogg(self) -> None:
        with pytest.raises(OggError):
            decode_chunk(b"nothing", start_sample=0, sample_count=10)


class TestSeams:
    @pytest.mark.parametrize("source", ["Ada", "Ben", "tone"])
    @MODES
    def test_chunks_join_as_if_decoded_in_one_go(self, mode: str, source: str) -> None:
        pcm = to_pcm(tone(480_000)) if source == "tone" else speech(source, 10.0)
        packets = encoded(pcm, mode=mode)
        whole = reference(packets)
        joined = chunks(in_a_row(packets), every(70_001, len(whole)))
        assert sum(chunk.packets for chunk in joined) == len(packets)
        assert sum(len(own(chunk)) for chunk in joined) == len(whole)
        for chunk in joined[1:]:
            at = chunk.pcm.start_sample - KEPT_SAMPLES
            heard = own(chunk, KEPT_SAMPLES)
            difference = dbfs((heard - whole[at : at + len(heard)].astype(float)) / FULL_SCALE)
            assert difference <= {"celt": -200, "hybrid": -45, "silk": -35}[mode]

    async def test_so_do_their_mp3s(self, ffmpeg: Ffmpeg) -> None:
        """The same MP3, byte for byte, as when the chunks had been cut from one decode; and without a click."""
        packets, borders = encoded(to_pcm(tone(480_000))), every(70_001, 480_000)
        joined = [chunk.pcm for chunk in chunks(in_a_row(packets), borders)]
        cut = chunks_of(reference(packets).tobytes(), borders)
        mp3 = spliced(await encode_chunks(ffmpeg, joined))
        assert mp3 == spliced(await encode_chunks(ffmpeg, cut))
        assert clicks(decoded(mp3)[4_800:475_000]).max() < 0.002

    @MODES
    @pytest.mark.parametrize("border", [99_000, 100_000, 140_000, 200_005, 200_100, 210_000])
    def test_a_pause_before_or_on_the_border(self, mode: str, border: int) -> None:
        """Speech, a sender's five silence frames, a pause, speech: the same as in one go, wherever the border is."""
        talk = encoded(speech("Ben", 4.0), mode=mode)
        placed = in_a_row([*talk[:98], *[SILENCE] * 5]) + in_a_row(talk[98:], 200_005)
        whole = own(chunks(placed, [0, 300_000])[0])
        second = own(chunks(placed, [0, border, 300_000])[1], KEPT_SAMPLES)
        difference = dbfs((second - whole[border - KEPT_SAMPLES :].astype(float)) / FULL_SCALE)
        assert difference <= (-90 if mode == "celt" or border > 140_000 else -45)

    def test_a_loss_on_the_border(self) -> None:
        talk = in_a_row(encoded(speech("Ben", 4.0)))
        placed = talk[:98] + talk[100:]
        whole = own(chunks(placed, [0, 190_000])[0])
        joined = chunks(placed, [0, 95_000, 190_000])
        assert (np.concatenate([own(chunk) for chunk in joined]) == whole).all()
        assert from_pcm(joined[1].pcm.pcm).any()
