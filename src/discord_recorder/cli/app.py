"""The commands: their names, arguments and help. What they do is in the module each of them imports when it runs."""

# ruff: noqa: PLC0415 - a command's own imports are its own cost: `--help` waits for none of them

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from discord_recorder.cli.options import Options, WantedFormat
from discord_recorder.recording.export.formats import ExportFormat

app = typer.Typer(
    help="Record voice meetings, one aligned track for each speaker, and look after the recordings.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Meeting = Annotated[str, typer.Argument(metavar="MEETING", help="Id of the meeting, as `recordings` lists it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def main() -> None:
    """Run the command that the process was started with; never returns."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is shown escaped; it is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="discord-recorder")


def _print_version(wanted: bool) -> None:
    if wanted:
        from discord_recorder import __version__

        typer.echo(f"discord-recorder {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    data_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder for everything the program writes. Default: the setting data_dir."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is going on, on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and end.")
    ] = False,
) -> None:
    ctx.obj = Options(data_dir=data_dir, verbose=verbose)


@app.command()
def ingest(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Media files, one for each speaker.")],
    title: Annotated[str | None, typer.Option(help="A name for the meeting.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Name of a speaker; give it once a file, in order. Default: the file's name."),
    ] = None,
    user_id: Annotated[
        list[str] | None,
        typer.Option(help="Discord id of a speaker; give it once for each file, in order. Default: 1, 2, 3..."),
    ] = None,
    meeting_id: Annotated[str | None, typer.Option(help="16 characters of 0-9 and a-z. Default: a new one.")] = None,
    json: Json = False,
) -> None:
    """Record a meeting from files: each is one speaker, in any format FFmpeg reads, from the meeting's start.

    Ctrl-C ends the meeting: what was read by then is kept and finished.
    """
    from discord_recorder.cli.ingest import ingest_files
    from discord_recorder.cli.ingest_order import IngestOrder
    from discord_recorder.cli.invocation import Invocation, perform

    def act(invocation: Invocation) -> int:
        order = IngestOrder.of(files, names=name or (), user_ids=user_id or (), title=title, meeting_id=meeting_id)
        return ingest_files(invocation, order, as_json=json)

    perform(ctx, act)


@app.command()
def recordings(ctx: typer.Context, json: Json = False) -> None:
    """List all recordings, and meetings on their way to be one, newest first."""
    from discord_recorder.cli.invocation import perform
    from discord_recorder.cli.listing import list_all

    perform(ctx, lambda invocation: list_all(invocation, as_json=json))


@app.command()
def show(ctx: typer.Context, meeting: Meeting, json: Json = False) -> None:
    """Show one meeting: its files, its state, and what is in work or failed."""
    from discord_recorder.cli.invocation import perform
    from discord_recorder.cli.listing import show_one

    perform(ctx, lambda invocation: show_one(invocation, meeting, as_json=json))


@app.command()
def export(
    ctx: typer.Context,
    meeting: Meeting,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to export to; made if it is missing.")],
    formats: Annotated[
        list[WantedFormat] | None,
        typer.Option("--format", help="Of the files; may be given again. zip: all tracks in one file. Default: mp3."),
    ] = None,
    tracks: Annotated[ExportFormat, typer.Option("--tracks", help="Format of what is in the zip.")] = ExportFormat.MP3,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    json: Json = False,
) -> None:
    """Export a recording under readable names, and check that its files are as they were recorded.

    mp3 is what was recorded, opus what was received of a live call; flac and wav are made of the best there is.
    """
    from discord_recorder.cli.export import export_meeting, order_of
    from discord_recorder.cli.invocation import perform

    order = order_of(formats or [WantedFormat.MP3], tracks, force=force)
    perform(ctx, lambda invocation: export_meeting(invocation, meeting, to, order, as_json=json))


@app.command()
def retry(ctx: typer.Context, meeting: Meeting, json: Json = False) -> None:
    """Try again what failed in a meeting, and mend its recording."""
    from discord_recorder.cli.invocation import perform
    from discord_recorder.cli.upkeep import retry_meeting

    perform(ctx, lambda invocation: retry_meeting(invocation, meeting, as_json=json))


@app.command()
def delete(
    ctx: typer.Context,
    meeting: Meeting,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a meeting with all its files."""
    from discord_recorder.cli.invocation import perform
    from discord_recorder.cli.upkeep import delete_meeting

    perform(ctx, lambda invocation: delete_meeting(invocation, meeting, sure=yes))


@app.command()
def cleanup(
    ctx: typer.Context,
    ttl_hours: Annotated[
        float | None, typer.Option(min=0, max=87_600, help="Age in hours. Default: the setting temp_ttl_hours.")
    ] = None,
    json: Json = False,
) -> None:
    """Remove old temp recordings and orphaned files; never what is still needed."""
    from discord_recorder.cli.invocation import perform
    from discord_recorder.cli.upkeep import clean_up

    perform(ctx, lambda invocation: clean_up(invocation, ttl_hours, as_json=json))


@app.command()
def doctor(ctx: typer.Context, json: Json = False) -> None:
    """Check everything that recording needs, and tell how to mend what is wrong. Changes nothing."""
    from discord_recorder.cli.doctor import examine
    from discord_recorder.cli.invocation import perform

    perform(ctx, lambda invocation: examine(invocation, as_json=json))


@app.command()
def demo(ctx: typer.Context, json: Json = False) -> None:
    """Record a meeting of three people that comes with the program, into ./discord-recorder-demo."""
    from discord_recorder.cli.demo import run_demo
    from discord_recorder.cli.invocation import perform

    perform(ctx, lambda invocation: run_demo(invocation, as_json=json))


@app.command()
def simulate(
    ctx: typer.Context,
    bot: Annotated[list[str] | None, typer.Option(help="Name of a bot; may be given again. Default: Recorder.")] = None,
    person: Annotated[
        list[str] | None, typer.Option(help="Name of a person; may be given again. Default: Ada, Ben and Chris.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of REST and gateway. Default: a free one.")] = 0,
    seconds: Annotated[float | None, typer.Option(min=0, help="End by itself. Default: with Ctrl-C.")] = None,
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to put the certificate that bots have to trust.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a Discord of its own on this machine, to try any bot against, and print how to log in to it.

    It has one guild with a text, a voice and a stage channel. Nothing leaves the machine. Commands on stdin let people
    join, talk and use the bot, and make things go wrong; `help` shows them.
    """
    from discord_recorder.cli.invocation import perform
    from discord_recorder.cli.simulate import BOTS, PEOPLE, SimulateOrder
    from discord_recorder.cli.simulate import simulate as run

    order = SimulateOrder(bots=bot or BOTS, people=person or PEOPLE, port=port, seconds=seconds, ca_file=ca_file)
    perform(ctx, lambda invocation: run(invocation, order, as_json=json))
