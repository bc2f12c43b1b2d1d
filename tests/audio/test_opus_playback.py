import numpy as np
import pytest

from discord_recorder.audio.opus import SILENCE, missing_packet
from discord_recorder.audio.opus_chunk import decode_chunk
from discord_recorder.audio.opus_playback import master_pcm
from discord_recorder.audio.opus_writer import OggOpusWriter
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.errors import OggError
from tests.audio.opus_signals import encoded, reference, speech
from tests.audio.signals import Samples, dbfs, from_pcm
from tests.audio.test_opus_master import master, placed


def heard(data: bytes) -> Samples:
    return from_pcm(b"".join(master_pcm(data)))


@pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])
def test_packets_in_a_row_are_what_libopus_makes_of_them(mode: str) -> None:
    packets = encoded(speech("Ada", 3.0), mode=mode)
    sound = heard(master(placed(packets), 3 * 48_000))
    assert np.array_equal(sound[: len(packets) * 960], reference(packets) / 32_768)


def test_spurts_stand_in_their_places() -> None:
    packets = encoded(speech("Ada", 2.0))
    spurts = [*placed([*packets[:50], *[SILENCE] * 5], 24_000), *placed(packets[50:], 240_000)]
    sound = heard(master(spurts, 480_000))
    assert 480_000 <= len(sound) < 480_000 + 960
    assert np.array_equal(sound[24_000 : 24_000 + 50 * 960], reference(packets[:50]) / 32_768)
    assert dbfs(sound[:24_000]) == -200
    assert dbfs(sound[120_000:240_000]) < -60
    assert dbfs(sound[240_000:288_000]) > -20


@pytest.mark.parametrize("lost", [1, 3, 10])
def test_losses_sound_as_in_the_mp3(lost: int) -> None:
    """As the chunks of the same packets are decoded for it."""
    packets = encoded(speech("Ada", 3.0), mode="silk")
    packets[60 : 60 + lost] = [missing_packet(packets[0], 960)] * lost
    writer = OggOpusWriter()
    for packet in placed(packets):
        writer.write(packet.opus, packet.at_sample)
    chunk = from_pcm(decode_chunk(writer.finish(), start_sample=0, sample_count=len(packets) * 960).pcm.pcm)
    sound = heard(master(placed(packets), 3 * 48_000))[: len(chunk)]
    assert dbfs(sound[60 * 960 : 61 * 960]) > -50, "something is heard in the loss"
    assert dbfs(sound - chunk) < -60


def test_a_loss_at_the_end_is_left_to_the_caller() -> None:
    packets = encoded(speech("Ada", 1.0))
    sound = heard(master(placed([*packets, missing_packet(packets[0], 960)]), len(packets) * 960 + 960))
    assert len(sound) == len(packets) * 960


def test_memory_does_not_grow_with_the_track() -> None:
    sizes = [len(block) for block in master_pcm(master(placed(encoded(speech("Ada", 1.0))), 600 * 48_000))]
    assert sum(sizes) >= 600 * 48_000 * SAMPLE_BYTES
    assert max(sizes) < 2 * 48_000 * SAMPLE_BYTES


@pytest.mark.parametrize("at", [3, 200, 3_000, -3])
def test_damage_is_told(at: int) -> None:
    data = bytearray(master(placed(encoded(speech("Ada", 1.0))), 48_000))
    data[at] ^= 1
    with pytest.raises(OggError):
        heard(bytes(data))


def test_a_file_that_was_cut_is_told() -> None:
    data = master(placed(encoded(speech("Ada", 3.0))), 4 * 48_000)
    with pytest.raises(OggError):
        heard(data[: data.rindex(b"OggS")])
