"""What is heard where packets were lost, measured against the same stream without a loss."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discord_recorder.audio import opus_decoder
from discord_recorder.audio.mp3 import FRAME_SAMPLES, LOOKAHEAD_SAMPLES
from discord_recorder.audio.opus import SILENCE, is_missing, missing_packet, packet_samples
from discord_recorder.audio.opus_chunk import DecodedChunk, decode_chunk
from discord_recorder.audio.opus_losses import told_apart
from discord_recorder.audio.opus_preroll import OpusPreroll
from discord_recorder.audio.opus_pyav import PyavCodec
from discord_recorder.audio.opus_reader import PlacedPacket
from discord_recorder.audio.opus_writer import OggOpusWriter
from tests.audio.opus_signals import encoded, in_a_row, reference, speech
from tests.audio.signals import FULL_SCALE, Samples, dbfs, snr_db, to_pcm, tone

MODES = pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])
SPEAKERS = pytest.mark.parametrize("speaker", ["Ada", "Ben", "Chris"])

FRAME = 960
LED, CONCEALED = 80 * 48, 100 * 48
FADE = 5 * 48
KEPT_SAMPLES = LOOKAHEAD_SAMPLES + FRAME_SAMPLES
"""How far before a chunk its first MP3 frame may reach."""

Placed = list[tuple[int, bytes]]


@cache
def voice(speaker: str, mode: str = "celt", *, seconds: float = 4.0, loss_percent: int = 0) -> list[bytes]:
    return encoded(speech(speaker, seconds), mode=mode, loss_percent=loss_percent)


def a_file(packets: Placed) -> bytes:
    writer = OggOpusWriter()
    for at, opus in packets:
        writer.write(opus, at)
    return writer.finish()


def chunk(packets: Placed, samples: int) -> DecodedChunk:
    return decode_chunk(a_file(packets), start_sample=0, sample_count=samples)


def pcm(decoded: DecodedChunk, extra_samples: int = 0) -> Samples:
    samples = np.frombuffer(decoded.pcm.pcm, "<i2").reshape(-1, 2) / FULL_SCALE
    return samples[decoded.pcm.preroll_samples - extra_samples :]


def with_losses(packets: list[bytes], lost: Collection[int], *, marked: bool = True) -> Placed:
    """Packets in a row, some of which never came."""
    placed = []
    for number, (at, opus) in enumerate(in_a_row(packets)):
        if number not in lost:
            placed.append((at, opus))
        elif marked:
            placed.append((at, missing_packet(opus, packet_samples(opus))))
    return placed


def chunks(packets: Placed, borders: list[int]) -> list[DecodedChunk]:
    """The chunks as a track writes them: pre-roll, then the packets that begin within the chunk; markers among both."""
    preroll, result = OpusPreroll(), []
    for first, last in pairwise(borders):
        writer = OggOpusWriter()
        for opus, at in preroll.packets():
            writer.write(opus, at)
        for at, opus in packets:
            if first <= at < last:
                preroll.add(opus, at, writer.write(opus, at))
        result.append(decode_chunk(writer.finish(), start_sample=first, sample_count=last - first))
    return result


def bends(signal: Samples) -> Samples:
    """How sharply the signal bends, sample by sample: a click stands out."""
    bent: Samples = np.abs(signal[2:] - 2 * signal[1:-1] + signal[:-2]).max(axis=1)
    return bent


@dataclass(frozen=True)
class Lossy:
    """A voice of which every so many packets a burst of some is lost."""

    whole: Samples
    heard: Samples
    starts: list[int]
    burst: int

    @classmethod
    def of(cls, packets: list[bytes], burst: int, *, every: int = 25, first: int = 30, marked: bool = True) -> "Lossy":
        starts = list(range(first, len(packets) - every, every))
        lost = {start + number for start in starts for number in range(burst)}
        heard = chunk(with_losses(packets, lost, marked=marked), len(packets) * FRAME)
        return cls(reference(packets) / FULL_SCALE, pcm(heard), [start * FRAME for start in starts], burst)

    def snr(self, after: int = 0) -> float:
        """Of the lost frames and some frames after them."""
        where = np.concatenate([np.arange(start, start + (self.burst + after) * FRAME) for start in self.starts])
        return snr_db(self.whole[where], self.heard[where])

    def clicks(self, place_samples: int) -> Samples:
        """The sharpest bend at a place behind the beginning of each loss, against the sharpest of the voice around."""
        own, bent = bends(self.whole), bends(self.heard)
        ratios = []
        for start in self.starts:
            at = start + place_samples
            around = max(0.002, own[at - 2 * FRAME : at + 2 * FRAME].max())
            ratios.append(bent[at - 4 : at + 4].max() / around)
        return np.array(ratios)


class TestConcealment:
    @MODES
    def test_of_a_frame_is_nearer_to_the_truth_than_silence(self, mode: str) -> None:
        packets = voice("Ada", mode, seconds=10.0)
        concealed, silent = Lossy.of(packets, 1), Lossy.of(packets, 1, marked=False)
        assert concealed.snr() > 4
        assert abs(silent.snr()) < 1
        assert concealed.snr(after=2) > silent.snr(after=2) + 2

    @MODES
    @SPEAKERS
    def test_has_the_level_of_what_was_there(self, mode: str, speaker: str) -> None:
        """Lost frames of a voice are about as loud as they were: no hole is heard, and no burst."""
        lossy = Lossy.of(voice(speaker, mode, seconds=10.0), 1)
        levels = []
        for start in lossy.starts:
            was, is_now = (signal[start : start + FRAME].std() for signal in (lossy.whole, lossy.heard))
            if was > 0.01:
                levels.append(20 * np.log10(is_now / was))
        assert -6 < np.median(levels) < 3
        assert max(levels) < 12

    @pytest.mark.parametrize("mode", ["silk", "hybrid"])
    @SPEAKERS
    def test_from_the_copy_in_the_next_packet_is_far_better(
        self, mode: str, speaker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packets = voice(speaker, mode, seconds=10.0, loss_percent=20)
        bursts = (1, 2, 4)
        recovered = [Lossy.of(packets, burst) for burst in bursts]
        monkeypatch.setattr(opus_decoder, "best_codec", PyavCodec)
        concealed = [Lossy.of(packets, burst) for burst in bursts]
        assert recovered[0].snr() > concealed[0].snr() + 4
        assert recovered[0].snr(after=2) > concealed[0].snr(after=2) + 4
        for ours, theirs in zip(recovered, concealed, strict=True):
            assert ours.snr(after=2) > theirs.snr(after=2) + 0.2

    @MODES
    @SPEAKERS
    @pytest.mark.parametrize("loss_percent", [0, 20])
    @pytest.mark.parametrize("burst", [1, 2, 4, 5, 8])
    def test_does_not_click(self, mode: str, speaker: str, burst: int, loss_percent: int) -> None:
        """At both ends of a loss, and where concealment has faded out, the voice bends no more than it does itself."""
        lossy = Lossy.of(voice(speaker, mode, seconds=10.0, loss_percent=loss_percent), burst)
        for place in (0, burst * FRAME, *((CONCEALED,) if burst > 5 else ())):
            ratios = lossy.clicks(place)
            assert np.median(ratios) < 0.6
            assert np.quantile(ratios, 0.9) < 1
            assert ratios.max() < 3

    @MODES
    def test_a_tone_goes_on(self, mode: str) -> None:
        """Through a single loss a steady tone is hardly changed."""
        lossy = Lossy.of(encoded(to_pcm(tone(480_000)), mode=mode), 1)
        assert lossy.snr() > 3

    def test_a_tail_is_not_repeated(self) -> None:
        """A loss of 100 ms fades: no buzz of a pitch that is held."""
        packets = voice("Ada", seconds=10.0)
        lossy = Lossy.of(packets, 5)
        level = [
            np.mean([lossy.heard[start + first * FRAME : start + (first + 1) * FRAME].std() for start in lossy.starts])
            for first in range(5)
        ]
        assert level[4] < level[3] < level[1] < level[0]


class TestLength:
    @MODES
    @pytest.mark.parametrize("burst", [6, 7, 20])
    def test_beyond_100_ms_is_exact_silence(self, mode: str, burst: int) -> None:
        packets = voice("Ben", mode)
        decoded = chunk(with_losses(packets, range(50, 50 + burst)), 200 * FRAME)
        heard, lost = pcm(decoded), (50 * FRAME, (50 + burst) * FRAME)
        assert decoded.lost == (lost,)
        assert decoded.concealed_samples == CONCEALED
        assert heard[lost[0] : lost[0] + LED].any()
        assert not heard[lost[0] + CONCEALED : lost[1]].any()
        assert heard[lost[1] :].any()

    @MODES
    @pytest.mark.parametrize("burst", [1, 2, 3, 4, 5])
    def test_up_to_100_ms_all_is_concealed(self, mode: str, burst: int) -> None:
        packets = voice("Ben", mode)
        decoded = chunk(with_losses(packets, range(50, 50 + burst)), 200 * FRAME)
        assert decoded.lost == ((50 * FRAME, (50 + burst) * FRAME),)
        assert decoded.concealed_samples == burst * FRAME
        assert decoded.heard == ((0, 50 * FRAME), ((50 + burst) * FRAME, 200 * FRAME))
        assert (pcm(decoded)[: 50 * FRAME] == reference(packets[:50]) / FULL_SCALE).all()

    def test_a_gap_that_no_marker_tells_of_is_silent(self) -> None:
        packets = voice("Ben")
        decoded = chunk(with_losses(packets, range(50, 53), marked=False), 200 * FRAME)
        assert not pcm(decoded)[50 * FRAME : 53 * FRAME].any()
        assert (decoded.lost, decoded.concealed_samples) == ((), 0)

    @MODES
    def test_a_gap_that_no_marker_tells_of_does_not_click(self, mode: str) -> None:
        for burst in (1, 4, 20):
            lossy = Lossy.of(voice("Ada", mode, seconds=10.0), burst, marked=False)
            for place in (0, burst * FRAME):
                assert lossy.clicks(place).max() < 1

    def test_a_loss_that_ends_in_a_gap_fades_into_it(self) -> None:
        packets = encoded(to_pcm(tone(192_000)))
        placed = [each for each in with_losses(packets, range(50, 52)) if not 52 * FRAME <= each[0] < 90 * FRAME]
        decoded = chunk(placed, 200 * FRAME)
        heard = pcm(decoded)
        assert decoded.lost == ((50 * FRAME, 52 * FRAME),)
        assert decoded.concealed_samples == 2 * FRAME
        assert not heard[52 * FRAME : 90 * FRAME].any()
        assert bends(heard[48_000 : 52 * FRAME + 10]).max() < 1.5 * bends(heard[:48_000]).max()

    @pytest.mark.parametrize("burst", [1, 3, 40])
    def test_at_the_end_of_a_chunk(self, burst: int) -> None:
        packets = voice("Ben")[: 100 + burst]
        decoded = chunk(with_losses(packets, range(100, 100 + burst)), len(packets) * FRAME)
        assert decoded.lost == ((100 * FRAME, (100 + burst) * FRAME),)
        assert decoded.concealed_samples == min(burst * FRAME, CONCEALED)

    def test_where_nothing_was_heard_before_nothing_is_concealed(self) -> None:
        """Before a track's first packet, and after the silence of a sender who paused."""
        packets = voice("Ben")
        begun = chunk(with_losses(packets, range(3)), 200 * FRAME)
        assert (begun.lost, begun.concealed_samples) == (((0, 3 * FRAME),), 0)
        assert not pcm(begun)[: 3 * FRAME].any()
        paused = chunk(with_losses([*packets[:50], *[SILENCE] * 5, *packets[60:]], range(53, 57)), 195 * FRAME)
        assert (paused.lost, paused.concealed_samples) == (((53 * FRAME, 57 * FRAME),), 0)
        assert paused.heard == ((0, 50 * FRAME), (57 * FRAME, 195 * FRAME))
        assert not pcm(paused)[53 * FRAME : 57 * FRAME].any()

    @pytest.mark.parametrize(
        ("frame_ms", "mode"), [(10, "celt"), (10, "silk"), (40, "silk"), (60, "hybrid"), (60, "silk")]
    )
    def test_of_frames_of_other_lengths(self, frame_ms: int, mode: str) -> None:
        packets = encoded(speech("Ben", 4.0), mode=mode, frame_ms=frame_ms)
        samples = frame_ms * 48
        decoded = chunk(with_losses(packets, {20}), len(packets) * samples)
        assert decoded.lost == ((20 * samples, 21 * samples),)
        assert decoded.concealed_samples == samples
        assert pcm(decoded)[20 * samples : 21 * samples].any()

    @MODES
    @pytest.mark.parametrize("name", ["libopus", "opus"])
    def test_is_the_same_with_ffmpegs_decoders(self, mode: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where libopus cannot be called itself."""
        monkeypatch.setattr(opus_decoder, "best_codec", lambda: PyavCodec(name))
        packets = voice("Ben", mode)
        decoded = chunk(with_losses(packets, {*range(50, 52), *range(100, 120)}), 200 * FRAME)
        assert decoded.lost == ((50 * FRAME, 52 * FRAME), (100 * FRAME, 120 * FRAME))
        assert decoded.concealed_samples == 2 * FRAME + CONCEALED
        assert not pcm(decoded)[100 * FRAME + CONCEALED : 120 * FRAME].any()
        assert snr_db(reference(packets)[: 50 * FRAME] / FULL_SCALE, pcm(decoded)[: 50 * FRAME]) > 10


class TestLatePackets:
    def test_win_over_their_markers(self) -> None:
        packets = voice("Ben")
        placed = with_losses(packets, {50, 51, 52, 53})
        late = [(50 * FRAME, packets[50]), (52 * FRAME, packets[52])]
        decoded = chunk(placed + late, 200 * FRAME)
        assert decoded.lost == ((51 * FRAME, 52 * FRAME), (53 * FRAME, 54 * FRAME))
        assert decoded.packets == 198
        everything = chunk(placed + late + [(51 * FRAME, packets[51]), (53 * FRAME, packets[53])], 200 * FRAME)
        assert everything.lost == ()
        assert (pcm(everything) == reference(packets) / FULL_SCALE).all()

    def test_win_over_a_part_of_a_longer_marker(self) -> None:
        packets = voice("Ben")
        rest = with_losses(packets, range(50, 55), marked=False)
        placed = [*rest, (50 * FRAME, missing_packet(SILENCE, 5 * FRAME)), (52 * FRAME, packets[52])]
        decoded = chunk(placed, 200 * FRAME)
        assert decoded.lost == ((50 * FRAME, 52 * FRAME), (53 * FRAME, 55 * FRAME))
        assert decoded.concealed_samples == 4 * FRAME

    def test_are_told_apart_from_markers_in_any_order(self) -> None:
        packets = [
            PlacedPacket(at_sample=at, samples=FRAME, opus=opus) for at, opus in with_losses([SILENCE] * 10, {3, 4, 8})
        ]
        came, lost = told_apart(reversed(packets))
        assert [packet.at_sample // FRAME for packet in came] == [0, 1, 2, 5, 6, 7, 9]
        assert lost == [(3 * FRAME, 5 * FRAME), (8 * FRAME, 9 * FRAME)]


class TestClockSteps:
    """A gap shorter than a frame: a clock was put right, and nothing is missing."""

    def stepped(self, packets: list[bytes], steps: Collection[int], samples: int) -> tuple[Placed, list[int]]:
        placed: Placed = []
        at = 0
        places = []
        for number, opus in enumerate(packets):
            if number in steps:
                places.append(at)
                if samples > 0:
                    placed.append((at, missing_packet(opus, samples)))
                at += samples
            placed.append((at, opus))
            at += FRAME
        return placed, places

    @MODES
    @SPEAKERS
    @pytest.mark.parametrize("samples", [120, 240, 480, -120, -480])
    def test_are_not_heard(self, mode: str, speaker: str, samples: int) -> None:
        packets = voice(speaker, mode, seconds=10.0)
        steps = range(30, 480, 25)
        placed, places = self.stepped(packets, steps, samples)
        decoded = chunk(placed, len(packets) * FRAME + len(steps) * samples)
        heard, whole = pcm(decoded), reference(packets) / FULL_SCALE
        for number, place in zip(steps, places, strict=True):  # all but the steps is as it was
            first, last = number * FRAME - max(0, -samples), (number + 20) * FRAME
            shift = place - number * FRAME + samples
            assert (heard[first + FRAME + shift : last + shift] == whole[first + FRAME : last]).all()
        own, bent = bends(whole), bends(heard)
        for number, place in zip(steps, places, strict=True):
            around = max(0.002, own[(number - 2) * FRAME : (number + 2) * FRAME].max())
            assert bent[place - abs(samples) - 4 : place + abs(samples) + 4].max() < 1.2 * around
        assert decoded.lost == ()
        assert decoded.concealed_samples == 0
        assert decoded.heard == ((0, len(packets) * FRAME + len(steps) * samples),)

    def test_one_of_10_ms_of_a_frame_that_was_left_out(self) -> None:
        """A fast sender's frame is left out, and half of its hole closed."""
        packets = voice("Ada")
        placed = [*in_a_row(packets[:50]), (50 * FRAME, missing_packet(SILENCE, 480))]
        placed += in_a_row(packets[51:], 50 * FRAME + 480)
        decoded = chunk(placed, 199 * FRAME + 480)
        assert decoded.heard == ((0, 199 * FRAME + 480),)
        around = bends(reference(packets) / FULL_SCALE)[48 * FRAME : 53 * FRAME].max()
        assert bends(pcm(decoded))[50 * FRAME - 8 : 50 * FRAME + 488].max() < 1.2 * around


class TestBorders:
    @MODES
    @pytest.mark.parametrize("loss_percent", [0, 20])
    @pytest.mark.parametrize("burst", [1, 2, 4, 5, 6, 12])
    def test_a_loss_over_a_border_is_one_loss(self, mode: str, burst: int, loss_percent: int) -> None:
        """Wherever the border is: both chunks have the same samples before it, and the second goes on from there."""
        packets = voice("Ada", mode, loss_percent=loss_percent)
        placed = with_losses(packets, range(100, 100 + burst))
        whole = pcm(chunk(placed, 200 * FRAME))
        tolerance = -55 if mode == "celt" and not loss_percent else -36
        for border in [number * FRAME for number in range(99, 102 + burst)]:
            first, second = chunks(placed, [0, border, 200 * FRAME])
            before = pcm(second, KEPT_SAMPLES)[:KEPT_SAMPLES]
            assert dbfs(pcm(first)[-KEPT_SAMPLES:] - before) <= tolerance
            settled = (101 + burst) * FRAME - border
            if not loss_percent and settled > 0:
                assert dbfs(pcm(second)[:settled] - whole[border : border + settled]) <= (
                    -90 if mode == "celt" else -36
                )
            assert first.concealed_samples + second.concealed_samples == min(burst * FRAME, CONCEALED)
            lost = [*first.lost, *second.lost]
            assert sum(end - start for start, end in lost) == burst * FRAME
            assert (lost[0][0], lost[-1][1]) == (100 * FRAME, (100 + burst) * FRAME)

    def test_a_clocks_step_on_a_border(self) -> None:
        packets = voice("Ada")
        step = 480
        placed = [*in_a_row(packets[:100]), (100 * FRAME, missing_packet(SILENCE, step))]
        placed += in_a_row(packets[100:], 100 * FRAME + step)
        for border in (100 * FRAME, 100 * FRAME + step):
            first, second = chunks(placed, [0, border, 200 * FRAME + step])
            before = pcm(second, KEPT_SAMPLES)[:KEPT_SAMPLES]
            assert (pcm(first)[-KEPT_SAMPLES:] == before).all()
            joined = np.concatenate([pcm(first), pcm(second)])
            around = bends(joined[98 * FRAME : 100 * FRAME]).max()
            assert bends(joined[100 * FRAME - 8 : 100 * FRAME + step + 8]).max() < 1.5 * around

    def test_a_packet_over_the_border_is_heard_in_both(self) -> None:
        packets = voice("Ben")
        first, second = chunks(in_a_row(packets), [0, 96_500, 192_000])
        assert (first.heard, second.heard) == (((0, 96_500),), ((96_500, 192_000),))


SOUNDS = [
    *(
        encoded(to_pcm(tone(5_760)), mode=mode, frame_ms=ms)[0]
        for mode in ("silk", "hybrid", "celt")
        for ms in (10, 20)
    ),
    *(encoded(to_pcm(tone(5_760)), mode="silk", frame_ms=ms)[0] for ms in (40, 60)),
    encoded(speech("Ben", 1.0), mode="silk", loss_percent=20)[20],
    *(bytes((0xE0, 1, 2, 3)), bytes((0xFC, 5, 6, 7)), bytes((0x48,)), bytes((0xFB, 0x06, *range(60)))),
    *(SILENCE, missing_packet(SILENCE, 120), missing_packet(b"\x48", 960), missing_packet(b"\x78", 5_760)),
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3_000, 9_000), st.sampled_from(SOUNDS)), max_size=40),
    st.integers(0, 60_000),
    st.integers(1, 60_000),
    st.randoms(use_true_random=False),
)
def test_any_stream_has_its_exact_length_and_an_account_of_it(
    steps: list[tuple[int, bytes]], start: int, count: int, random: Random
) -> None:
    placed: Placed = []
    at = 0
    for gap, opus in steps:
        at = max(0, at + (gap if gap % 3 else 0))
        placed.append((at, opus))
        at += packet_samples(opus)
    random.shuffle(placed)
    decoded = decode_chunk(a_file(placed), start_sample=start, sample_count=count)
    heard = pcm(decoded)
    assert len(heard) == count
    stretches = sorted([*decoded.heard, *decoded.lost])
    assert all(start <= first < last <= start + count for first, last in stretches)
    assert all(before[1] <= after[0] for before, after in pairwise(stretches))
    silent = np.ones(count, bool)
    for first, last in stretches:
        silent[first - start : last - start] = False
    came = [(at, at + packet_samples(opus)) for at, opus in placed if not is_missing(opus)]
    for first, last in came:
        silent[max(0, first - start) : max(0, last - start)] = False
    assert not heard[silent].any()
    assert decoded.concealed_samples <= sum(last - first for first, last in decoded.lost)
    assert decoded.packets + decoded.overlapping_packets == sum(start <= first < start + count for first, _ in came)
