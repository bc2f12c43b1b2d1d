"""What `doctor` finds, one value for each check."""

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from enum import StrEnum

from discord_recorder.errors import DiscordRecorderError


class Verdict(StrEnum):
    """How a check ended; only FAIL keeps the recorder from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was found, and what to do about it if it is not ok."""

    check: str
    verdict: Verdict
    found: str
    fix: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """For scripts."""
        return asdict(self)


def ok(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check=check, verdict=Verdict.OK, found=found)


def warn(check: str, found: str, fix: str) -> Finding:
    """It works, but not for long, or not as it was meant."""
    return Finding(check=check, verdict=Verdict.WARN, found=found, fix=fix)


def fail(check: str, found: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(check=check, verdict=Verdict.FAIL, found=found, fix=fix)


async def settled(check: str, fix: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    """The finding of `look`, a failure when it raises: an examination does not end at the first illness."""
    try:
        return await look()
    except (DiscordRecorderError, OSError) as error:
        return fail(check, str(error), fix)
    except Exception as error:  # unforeseen, but just what somebody runs this for
        return fail(check, traceback.format_exception_only(error)[0].strip(), fix)
