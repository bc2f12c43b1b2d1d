"""How values look to a person."""

from datetime import datetime
from typing import Final

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_UNIT: Final = 1024
_SECOND_MS: Final = 1000
_MINUTE_MS: Final = 60 * _SECOND_MS


def printable(text: str) -> str:
    """`text` on one line, and nothing in it that a terminal would obey: names and titles are other people's."""
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "\ufffd" for sign in text)


def clock(ms: float) -> str:
    """Milliseconds as h:mm:ss."""
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def span(ms: int | None) -> str:
    """How long something took, as exact as it matters; `-` where nobody knows."""
    if ms is None:
        return "-"
    if ms < _SECOND_MS:
        return f"{ms} ms"
    return f"{ms / _SECOND_MS:.1f} s" if ms < _MINUTE_MS else clock(ms)


def size(count_bytes: float) -> str:
    """Bytes in the unit that suits."""
    number, unit = float(count_bytes), 0
    while number >= _UNIT and unit < len(_UNITS) - 1:
        number, unit = number / _UNIT, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{count_bytes:.0f} {_UNITS[0]}"


def when(time: datetime | None) -> str:
    """A time on the reader's own clock."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else "-"


def count(number: int, what: str) -> str:
    """`1 chunk`, `2 chunks`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
