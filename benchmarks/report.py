"""Tables that read well in a terminal and, as they are, in Markdown."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

PASS, FAIL = "pass", "FAIL"


@dataclass(slots=True)
class Table:
    """A titled table; notes say what it compares."""

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        self.rows.append(cells)

    def text(self) -> str:
        """The whole table; the first column is text, the others are figures."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[n]) for line in lines) for n in range(len(self.header))]

        def line(cells: Sequence[str]) -> str:
            first, *others = zip(cells, widths, strict=True)
            return "| " + " | ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)]) + " |"

        rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
        body = [line(self.header), rule, *map(line, self.rows)]
        return "\n".join([f"### {self.title}", "", *self.notes, *([""] if self.notes else []), *body, ""])


RESULT_HEADER = ("figure", "measured", "spread", "target", "verdict")


@dataclass(slots=True)
class Results:
    """The figures of a benchmark that have a target, or stand beside one that has."""

    table: Table

    @classmethod
    def of(cls, title: str, *notes: str) -> "Results":
        """An empty table of results."""
        return cls(Table(title, RESULT_HEADER, notes=list(notes)))

    def at_most(
        self, what: str, measured: float, limit: float, unit: str, *, spread: str = "", digits: int = 2
    ) -> None:
        """A figure that has a target."""
        target = f"<= {limit:g}{_after(unit)}"
        self.table.add(what, number(measured, unit, digits), spread, target, verdict(measured, limit))

    def tell(self, what: str, measured: float, unit: str, *, spread: str = "", digits: int = 2) -> None:
        """A figure that has no target."""
        self.table.add(what, number(measured, unit, digits), spread, "", "")


def verdict(measured: float, limit: float) -> str:
    """Whether a figure keeps its limit (NaN does not)."""
    return PASS if measured <= limit else FAIL


def number(value: float, unit: str = "", digits: int = 2) -> str:
    """A figure with its unit."""
    return f"{value:,.{digits}f}{_after(unit)}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """From the least to the greatest of several measurements."""
    return f"{min(values):.{digits}f} - {max(values):.{digits}f} (n={len(values)})" if values else ""


def progress(text: str) -> None:
    """Tell the person who waits what is going on."""
    print(f"... {text}", file=sys.stderr, flush=True)


def _after(unit: str) -> str:
    return f" {unit}" if unit else ""
