import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from discord_recorder.audio import libopus
from discord_recorder.audio.libopus import LibopusCodec
from discord_recorder.audio.opus_decoder import best_codec
from discord_recorder.audio.opus_pyav import PyavCodec
from discord_recorder.audio.pcm import SAMPLE_BYTES
from tests.audio.opus_signals import Pcm, encoded, opus_mode, reference, speech

MODES = pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])


def codec() -> LibopusCodec:
    library = libopus.load()
    assert library is not None
    return LibopusCodec(library)


def samples_of(pcm: bytes | None) -> Pcm:
    assert pcm is not None
    return np.frombuffer(pcm, "<i2").reshape(-1, 2)


class TestLibrary:
    def test_is_found_without_loading_pyav(self) -> None:
        code = (
            "import sys; from discord_recorder.audio.opus_decoder import best_codec; best_codec(); print(*sys.modules)"
        )
        loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
        assert "discord_recorder.audio.libopus" in loaded
        assert "av" not in loaded

    def test_is_not_what_lies_beside_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files of these names that are no library of this platform, or another one, are passed over."""
        (tmp_path / "av").mkdir()
        (tmp_path / "av" / "__init__.py").touch()
        (tmp_path / "av.libs").mkdir()
        (tmp_path / "av.libs" / "libopus-1.so.0").write_text("not a library")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "av", raising=False)
        libopus.load.cache_clear()
        try:
            assert libopus.load() is None
            assert isinstance(best_codec(), PyavCodec)
        finally:
            monkeypatch.undo()
            libopus.load.cache_clear()
        assert libopus.load() is not None


class TestCodec:
    @MODES
    def test_decodes_like_ffmpeg_with_libopus(self, mode: str) -> None:
        packets, decoder = encoded(speech("Ben", 2.0), mode=mode), codec()
        assert (np.concatenate([samples_of(decoder.decode(opus)) for opus in packets]) == reference(packets)).all()

    @pytest.mark.parametrize("packet", [b"", b"\xff", b"\xfb\x00", b"\xfb\x07"])
    def test_what_is_no_packet_is_refused(self, packet: bytes) -> None:
        packets, decoder = encoded(speech("Ben", 1.0)), codec()
        heard = [samples_of(decoder.decode(opus)) for opus in packets[:20]]
        assert decoder.decode(packet) is None
        heard += [samples_of(decoder.decode(opus)) for opus in packets[20:]]
        assert (np.concatenate(heard) == reference(packets)).all()

    @MODES
    @pytest.mark.parametrize("samples", [0, 120, 360, 960, 1_080, 5_760, 5_880, 48_000])
    def test_conceals_any_length(self, mode: str, samples: int) -> None:
        decoder = codec()
        assert not any(decoder.conceal(samples))
        for opus in encoded(speech("Ben", 1.0), mode=mode):
            decoder.decode(opus)
        concealed = decoder.conceal(samples)
        assert len(concealed) == samples * SAMPLE_BYTES
        assert any(concealed) == (samples > 0)

    @pytest.mark.parametrize("mode", ["silk", "hybrid"])
    def test_recovers_a_frame_from_the_next_packet(self, mode: str) -> None:
        packets, decoder = encoded(speech("Ben", 2.0), mode=mode, loss_percent=20), codec()
        whole = reference(packets).astype(float)
        lost = next(n for n in range(50, 90) if decoder.has_copy(packets[n + 1]) and whole[n * 960 :][:960].std() > 500)
        for opus in packets[:lost]:
            decoder.decode(opus)
        recovered = samples_of(decoder.recover(packets[lost + 1]))
        original = whole[lost * 960 : (lost + 1) * 960]
        assert (recovered - original).std() < 0.6 * original.std()

    def test_knows_which_packets_hold_a_copy(self) -> None:
        decoder = codec()
        for mode in ("silk", "hybrid", "celt"):
            assert not any(map(decoder.has_copy, encoded(speech("Ben", 2.0), mode=mode)))
        packets = encoded(speech("Ben", 2.0), mode="hybrid", loss_percent=20)
        assert sum(map(decoder.has_copy, packets)) > len(packets) / 2
        assert {opus_mode(opus) for opus in packets if decoder.has_copy(opus)} <= {"silk", "hybrid"}

    def test_recovers_something_where_there_is_no_copy(self) -> None:
        decoder = codec()
        for frame_ms in (10, 20, 60):
            for opus in encoded(speech("Ben", 1.0), frame_ms=frame_ms):
                decoder.decode(opus)
                assert len(decoder.recover(opus)) in (480 * SAMPLE_BYTES, 960 * SAMPLE_BYTES)

    def test_reset_forgets(self) -> None:
        packets, decoder = encoded(speech("Ben", 1.0)), codec()
        for opus in packets:
            decoder.decode(opus)
        decoder.reset()
        assert not any(decoder.conceal(960))
        assert (samples_of(decoder.decode(packets[0])) == reference(packets[:1])).all()

    def test_is_destroyed_with_its_last_reference(self) -> None:
        codec()
        before = psutil.Process().memory_info().rss
        for _ in range(3_000):  # of 27 KB each
            codec()
        assert psutil.Process().memory_info().rss - before < 20_000_000
