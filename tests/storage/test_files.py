import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from discord_recorder import StorageError
from discord_recorder.storage import files
from discord_recorder.storage.files import LocalRecordingStore, RecordingStore
from tests.support.store import MemoryRecordingStore

KEY = "0123456789abcdef/1001.mp3"


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RecordingStore]:
    if request.param == "local":
        yield LocalRecordingStore(tmp_path / "recordings")
    else:
        memory = MemoryRecordingStore()
        yield memory
        memory.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "finished"
    path.write_bytes(b"audio")
    return path


class TestContract:
    """What every store of recordings does; one that is added has to pass it as well."""

    def test_put_takes_the_file_over(self, store: RecordingStore, source: Path) -> None:
        store.put(source, KEY)
        assert not source.exists()
        assert store.local_file(KEY).read_bytes() == b"audio"
        assert list(store.keys()) == [KEY]

    def test_put_replaces(self, store: RecordingStore, source: Path) -> None:
        store.put(source, KEY)
        source.write_bytes(b"better audio")
        store.put(source, KEY)
        assert store.local_file(KEY).read_bytes() == b"better audio"
        assert list(store.keys()) == [KEY]

    def test_put_of_nothing_changes_nothing(self, store: RecordingStore, source: Path, tmp_path: Path) -> None:
        store.put(source, KEY)
        with pytest.raises(StorageError, match=r"1001\.mp3 could not be written: No such file"):
            store.put(tmp_path / "missing", KEY)
        assert store.local_file(KEY).read_bytes() == b"audio"

    def test_several(self, store: RecordingStore, source: Path) -> None:
        keys = {KEY, "0123456789abcdef/mix.mp3", "fedcba9876543210/1001.mp3", "fedcba9876543210/1001.flac"}
        for key in keys:
            source.write_text(key)
            store.put(source, key)
        assert set(store.keys()) == keys
        assert {store.local_file(key).read_text() for key in keys} == keys
        assert len({store.location(key) for key in keys}) == len(keys)

    def test_delete(self, store: RecordingStore, source: Path) -> None:
        store.put(source, KEY)
        store.delete(KEY)
        store.delete(KEY)
        store.delete("0123456789abcdef/never.mp3")
        assert list(store.keys()) == []

    def test_empty(self, store: RecordingStore) -> None:
        assert list(store.keys()) == []
        store.delete(KEY)

    @pytest.mark.parametrize("key", ["", "a", "a/", "/a", "a/b/c", "../a", "a/..", "./a", "a/.", "/etc/passwd", "//"])
    def test_nothing_but_keys(self, store: RecordingStore, source: Path, key: str) -> None:
        for call in (
            lambda: store.put(source, key),
            lambda: store.delete(key),
            lambda: store.location(key),
            lambda: store.local_file(key),
        ):
            with pytest.raises(StorageError, match="is not a storage key"):
                call()
        assert source.read_bytes() == b"audio"


class TestLocalStore:
    def test_location_is_the_path(self, tmp_path: Path) -> None:
        store = LocalRecordingStore(tmp_path)
        assert store.location(KEY) == str(store.local_file(KEY)) == str(tmp_path / KEY)

    def test_the_last_file_takes_its_folder_along(self, tmp_path: Path, source: Path) -> None:
        store = LocalRecordingStore(tmp_path / "recordings")
        store.put(source, KEY)
        store.delete(KEY)
        assert list((tmp_path / "recordings").iterdir()) == []

    def test_what_is_not_ours_is_not_listed(self, tmp_path: Path) -> None:
        (tmp_path / "note.txt").touch()
        (tmp_path / "folder/deep/er").mkdir(parents=True)
        assert list(LocalRecordingStore(tmp_path).keys()) == []

    def test_undeletable(self, tmp_path: Path) -> None:
        (tmp_path / KEY).mkdir(parents=True)
        with pytest.raises(StorageError, match=r"1001\.mp3 could not be deleted"):
            LocalRecordingStore(tmp_path).delete(KEY)

    def test_from_another_file_system(self, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rename = Path.replace

        def replace(path: Path, target: Path) -> Path:
            if path == source:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", replace)
        store = LocalRecordingStore(tmp_path / "recordings")
        store.put(source, KEY)
        assert store.local_file(KEY).read_bytes() == b"audio"
        assert not source.exists()
        assert list(store.keys()) == [KEY]


class TestDurableFiles:
    def test_complete_under_its_name_or_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "chunk.mp3"
        files.write_durably(path, b"first")

        def fail(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            files.write_durably(path, b"second")
        assert path.read_bytes() == b"first"

    def test_folders(self, tmp_path: Path) -> None:
        files.make_folder(tmp_path / "a/b/c")
        files.make_folder(tmp_path / "a/b/c")
        (tmp_path / "a/file").touch()
        files.remove_empty_folders(tmp_path / "a")
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
        files.remove_empty_folders(tmp_path / "never")
