"""`demo`: the whole way once, with the speech that comes with the program."""

from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Final

from discord_recorder.cli.hints import command_line
from discord_recorder.cli.ingest import print_outcome, record_files
from discord_recorder.cli.ingest_order import IngestOrder
from discord_recorder.cli.invocation import Invocation
from discord_recorder.config import Settings

DATA_DIR: Final = Path("discord-recorder-demo")
TITLE: Final = "Summer day out"
SPEAKERS: Final = ("Ada", "Ben", "Chris")


def run_demo(invocation: Invocation, *, as_json: bool) -> int:
    """Record the demo meeting and tell where it is and what to try next."""
    settings = invocation.settings()
    if "data_dir" not in settings.model_fields_set:
        settings = Settings(data_dir=DATA_DIR)
    speech = resources.files("discord_recorder") / "assets" / "speech"
    with ExitStack() as files:
        paths = [files.enter_context(resources.as_file(speech / f"{name}.ogg")) for name in SPEAKERS]
        order = IngestOrder.of(paths, names=SPEAKERS, user_ids=(), title=TITLE, meeting_id=None)
        outcome = record_files(invocation, settings, order)
    print_outcome(invocation, outcome, as_json=as_json)
    if outcome.recording and not as_json:
        _print_next(invocation, settings, outcome.recording["path"], outcome.meeting["meeting_id"])
    return outcome.exit_code


def _print_next(invocation: Invocation, settings: Settings, mix: str, meeting_id: str) -> None:
    say = invocation.terminal.say
    data_dir = _shortest(settings.data_dir)
    say()
    say("Listen to all of them together:")
    say(f"  {_shortest(Path(mix))}")
    say()
    say("What to try next:")
    for arguments in (
        ("recordings",),
        ("show", meeting_id),
        ("export", meeting_id, "--to", "exported"),
        ("delete", meeting_id),
        ("ingest", "YOUR.wav", "THEIRS.mp3", "--title", "First try"),
    ):
        say(f"  {command_line(*arguments, data_dir=data_dir)}")


def _shortest(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
