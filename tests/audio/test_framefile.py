import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discord_recorder.audio.framefile import FrameFile, replace_frames
from discord_recorder.audio.mp3 import FRAME_SAMPLES, INFO_FRAME_BYTES, SILENT_FRAME, frame_count
from discord_recorder.errors import Mp3Error, StorageError
from tests.audio.signals import encoded_at_once, played, speech_like, to_pcm
from tests.audio.test_mp3 import a_frame

KBPS = (32, 64, 96, 128, 320)


def distinct(count: int, fill: int = 1) -> list[bytes]:
    """Frames of changing size, none like its neighbour."""
    return [a_frame(KBPS[n % len(KBPS)], (fill + n) % 256) for n in range(count)]


@contextmanager
def no_room_beyond(size_bytes: int) -> Iterator[None]:
    """Files cannot grow larger than that, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def finished(path: Path, frames: list[bytes]) -> FrameFile:
    file = FrameFile.create(path)
    file.append(frames)
    file.finish((len(frames) - 1) * FRAME_SAMPLES)
    return FrameFile.open(path)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 80)),
        st.tuples(st.just("silence"), st.integers(0, 200)),
        st.tuples(st.just("cut"), st.integers(0, 300)),
    ),
    max_size=12,
)


class TestFrames:
    @settings(deadline=None, max_examples=60)
    @given(steps, st.data())
    def test_like_a_list(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], data: st.DataObject
    ) -> None:
        file = FrameFile.create(tmp_path_factory.getbasetemp() / "like-a-list.mp3")
        model: list[bytes] = []
        for number, (step, count) in enumerate(steps):
            match step:
                case "append":
                    file.append(distinct(count, number))
                    model += distinct(count, number)
                case "silence":
                    file.append_silence(count)
                    model += [SILENT_FRAME] * count
                case _:
                    kept = min(count, len(model))
                    file.cut(kept)
                    del model[kept:]
            assert file.count == len(model)
        first = data.draw(st.integers(0, len(model) + 50))
        last = data.draw(st.integers(first, len(model) + 100))
        padded = model + [SILENT_FRAME] * 200
        assert file.frames(first, last) == padded[first:last]
        assert file.frames(0, len(model)) == model

    def test_hours_of_silence(self, tmp_path: Path) -> None:
        file = FrameFile.create(tmp_path / "a.mp3")
        file.append_silence(100_000)
        file.append(distinct(5))
        assert file.frames(99_999, 100_007) == [SILENT_FRAME, *distinct(5), SILENT_FRAME, SILENT_FRAME]

    def test_opened_again(self, tmp_path: Path) -> None:
        frames = distinct(700)
        file = finished(tmp_path / "a.mp3", frames)
        assert file.count == 700
        assert file.samples == 699 * FRAME_SAMPLES
        for first, last in ((0, 700), (31, 33), (64, 96), (699, 700), (690, 703), (800, 802), (5, 5)):
            assert file.frames(first, last) == (frames + [SILENT_FRAME] * 200)[first:last]

    def test_a_write_that_fails_changes_nothing(self, tmp_path: Path) -> None:
        file = FrameFile.create(tmp_path / "a.mp3")
        file.append(distinct(100))
        full = (tmp_path / "a.mp3").stat().st_size
        with no_room_beyond(full + 5_000):
            with pytest.raises(StorageError, match=r"a\.mp3"):
                file.append(distinct(100, 50))
            with pytest.raises(StorageError):
                file.append_silence(100)
        assert file.frames(0, 101) == [*distinct(100), SILENT_FRAME]
        file.append(distinct(3, 200))
        finish = file.finish(102 * FRAME_SAMPLES)
        assert FrameFile.open(finish.path).frames(0, 103) == distinct(100) + distinct(3, 200)


class TestFinish:
    def test_tells_what_is_on_disk(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp3"
        file = FrameFile.create(path)
        file.append(distinct(100))
        finish = file.finish(100_000)
        data = path.read_bytes()
        assert (finish.path, finish.samples) == (path, 100_000)
        assert finish.size_bytes == len(data)
        assert finish.sha256 == hashlib.sha256(data).hexdigest()
        assert file.count == FrameFile.open(path).count == frame_count(100_000)

    @pytest.mark.parametrize("samples", [0, 1, 1000, 48_000, 95_999, 96_000, 200_000])
    def test_cut_or_filled_to_the_length(self, tmp_path: Path, samples: int) -> None:
        frames = encoded_at_once(to_pcm(speech_like(96_000)))
        file = FrameFile.create(tmp_path / "a.mp3")
        file.append(frames)
        file.finish(samples)
        assert len(played(tmp_path / "a.mp3")) == samples
        kept = max(4, frame_count(samples))  # fewer would not be taken for MP3
        assert file.frames(0, 300) == (frames[:kept] + [SILENT_FRAME] * 300)[:300]

    def test_may_be_repeated(self, tmp_path: Path) -> None:
        file = FrameFile.create(tmp_path / "a.mp3")
        file.append(distinct(100))
        assert file.finish(50_000) == file.finish(50_000)

    def test_a_full_disk_is_told(self, tmp_path: Path) -> None:
        file = FrameFile.create(tmp_path / "a.mp3")
        file.append(distinct(10))
        with no_room_beyond(10_000), pytest.raises(StorageError):
            file.finish(1_000_000)
        assert file.finish(1_000_000).samples == 1_000_000


class TestOpen:
    @pytest.mark.parametrize("data", [b"", b"short", SILENT_FRAME * 10, b"ID3" + bytes(500)])
    def test_what_is_not_ours(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.mp3").write_bytes(data)
        with pytest.raises(Mp3Error):
            FrameFile.open(tmp_path / "a.mp3")

    def test_a_file_cut_short(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp3"
        finished(path, distinct(10))
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(Mp3Error, match="ends 1 bytes after"):
            FrameFile.open(path)
        path.write_bytes(whole[: -len(distinct(10)[-1])])
        with pytest.raises(Mp3Error, match="9 frames instead of 10"):
            FrameFile.open(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"could not read .*a\.mp3: No such file"):
            FrameFile.open(tmp_path / "a.mp3")
        with pytest.raises(StorageError, match="could not create"):
            FrameFile.create(tmp_path / "no" / "a.mp3")
        assert INFO_FRAME_BYTES == 192


class TestReplace:
    @pytest.mark.parametrize("first_frame", [0, 1, 4095, 4096, 4990, 4999, 5000, 6000])
    def test_only_those_frames_change(self, tmp_path: Path, first_frame: int) -> None:
        frames, patch = distinct(5000), distinct(10, 100)
        finished(tmp_path / "a.mp3", frames)
        result = replace_frames(tmp_path / "a.mp3", tmp_path / "b.mp3", first_frame=first_frame, frames=b"".join(patch))
        changed = FrameFile.open(tmp_path / "b.mp3")
        expected = (frames[:first_frame] + patch + frames[first_frame + 10 :])[:5000]
        assert changed.frames(0, 5000) == expected
        assert changed.count == 5000
        assert changed.samples == result.samples == 4999 * FRAME_SAMPLES
        assert result.sha256 == hashlib.sha256((tmp_path / "b.mp3").read_bytes()).hexdigest()
        assert FrameFile.open(tmp_path / "a.mp3").frames(0, 5000) == frames

    def test_players_hear_the_change_and_nothing_else(self, tmp_path: Path) -> None:
        before, after = (encoded_at_once(to_pcm(speech_like(200_000, seed=seed))) for seed in (1, 2))
        file = FrameFile.create(tmp_path / "a.mp3")
        file.append(before)
        file.finish(200_000)
        replace_frames(tmp_path / "a.mp3", tmp_path / "b.mp3", first_frame=60, frames=b"".join(after[60:90]))
        old, new = played(tmp_path / "a.mp3"), played(tmp_path / "b.mp3")
        assert len(old) == len(new) == 200_000
        differing = (old != new).any(axis=1).nonzero()[0]
        assert 60 * FRAME_SAMPLES - 1152 <= differing[0] < differing[-1] < 90 * FRAME_SAMPLES + 1152

    def test_rubbish_is_refused(self, tmp_path: Path) -> None:
        finished(tmp_path / "a.mp3", distinct(10))
        with pytest.raises(Mp3Error):
            replace_frames(tmp_path / "a.mp3", tmp_path / "b.mp3", first_frame=1, frames=b"rubbish")
