"""`doctor`: looks at everything that recording needs, changes nothing, starts nothing."""

import asyncio
from typing import Final

from discord_recorder.cli.checks_database import check_database
from discord_recorder.cli.checks_machine import check_ffmpeg, check_folders, check_open_files, check_sqlite
from discord_recorder.cli.effective import EffectiveSetting, effective_settings
from discord_recorder.cli.findings import Finding, Verdict, fail, ok, warn
from discord_recorder.cli.formats import count
from discord_recorder.cli.invocation import FAILED, Invocation
from discord_recorder.cli.terminal import Terminal
from discord_recorder.config import Settings, config_file, unknown_variables
from discord_recorder.errors import SettingsError

_SETTINGS_FIX: Final = "Mend the setting where it is made; the checks that need the settings were left out."


def examine(invocation: Invocation, *, as_json: bool) -> int:
    """Print all findings, and the settings in force; 1 if anything fails."""
    settings, found = _check_settings(invocation)
    found += [_check_variables(), check_sqlite(), check_open_files()]
    effective: list[EffectiveSetting] = []
    if settings is not None:
        effective = effective_settings(settings, invocation.options)
        found += invocation.run(_check_all(settings))
    failed = [finding for finding in found if finding.verdict is Verdict.FAIL]
    if as_json:
        invocation.terminal.json(
            {
                "ok": not failed,
                "checks": [finding.as_dict() for finding in found],
                "settings": [setting.as_dict() for setting in effective],
            }
        )
    else:
        _print(invocation.terminal, found, effective)
    return FAILED if failed else 0


async def _check_all(settings: Settings) -> list[Finding]:
    folders = await asyncio.to_thread(check_folders, settings)
    return [*await check_ffmpeg(settings), *folders, *await check_database(settings)]


def _check_settings(invocation: Invocation) -> tuple[Settings | None, list[Finding]]:
    try:
        settings, file = invocation.settings(), config_file()
    except SettingsError as error:
        return None, [fail("settings", str(error), _SETTINGS_FIX)]
    return settings, [ok("settings", f"valid; read from {file}" if file else "valid; no settings file")]


def _check_variables() -> Finding:
    unknown = unknown_variables()
    if not unknown:
        return ok("environment", "every DISCORD_RECORDER_ variable is a setting")
    names = ", ".join(unknown)
    return warn("environment", f"no such setting: {names}", "Correct the name, or unset the variable.")


def _print(terminal: Terminal, found: list[Finding], effective: list[EffectiveSetting]) -> None:
    terminal.table(["Check", "", "Found"], [[finding.check, finding.verdict, finding.found] for finding in found])
    if effective:
        terminal.say()
        terminal.table(
            ["Setting", "Value", "From"], [[each.name, _shown(each.value), each.source] for each in effective]
        )
    troubled = [finding for finding in found if finding.fix]
    terminal.say()
    for finding in troubled:
        terminal.say(f"{finding.verdict}: {finding.check}: {finding.fix}")
    failed = sum(finding.verdict is Verdict.FAIL for finding in found)
    if failed:
        terminal.say(f"{count(failed, 'check')} failed.")
    else:
        terminal.say("Ready to record.")


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
