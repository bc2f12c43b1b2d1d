import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from discord_recorder import StorageError
from discord_recorder.recording import ownership
from discord_recorder.recording.ownership import ProcessRegistry

SOURCE = Path(ownership.__file__).parents[2]
CHILD = """\
import sys
from pathlib import Path
from discord_recorder.recording.ownership import ProcessRegistry

registry = ProcessRegistry(Path(sys.argv[1]))
registry.enter()
print(registry.own_id, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def locks(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.lock")}


def test_alive_from_entering_to_leaving(folder: Path) -> None:
    one, two = ProcessRegistry(folder), ProcessRegistry(folder)
    one.enter()
    assert one.alive() == {one.own_id}
    two.enter()
    assert one.alive() == two.alive() == {one.own_id, two.own_id} == locks(folder)
    one.leave()
    assert two.alive() == {two.own_id}
    two.leave()
    two.leave()
    assert locks(folder) == set()


def test_the_kernel_frees_the_lock_of_a_killed_process(folder: Path) -> None:
    own = ProcessRegistry(folder)
    own.enter()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)],
        env={"PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        other = child.stdout.readline().strip()
        assert own.alive() == {own.own_id, other}
        child.kill()
    assert own.alive() == {own.own_id}
    assert locks(folder) == {own.own_id}, "what the dead leave is cleared away"
    own.leave()


def test_nobody_is_taken_for_dead_while_entering(folder: Path) -> None:
    watcher = ProcessRegistry(folder)
    watcher.enter()

    def come_and_go(_: int) -> None:
        registry = ProcessRegistry(folder)
        registry.enter()
        assert registry.own_id in watcher.alive()
        assert registry.own_id in locks(folder)
        registry.leave()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(come_and_go, range(100)))
    assert watcher.alive() == {watcher.own_id}
    watcher.leave()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StorageError, match=r"The data directory .*data cannot be written .*DISCORD_RECORDER_DATA_DIR"):
        ProcessRegistry(tmp_path / "data" / "run").enter()
