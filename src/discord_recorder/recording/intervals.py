"""Arithmetic on stretches of session time.

A *run* here is a list of stretches in order that neither touch nor overlap, none of them empty. `run` makes one, and
everything else takes and gives runs.
"""

from collections.abc import Iterable, Sequence

from discord_recorder.storage.stretches import Stretch


def run(stretches: Iterable[Stretch], *, until: int) -> list[Stretch]:
    """All that any of the stretches covers of `0..until`."""
    joined: list[Stretch] = []
    first, last = 0, 0
    for start, end in sorted(stretches):
        if start > last:
            if first < last:
                joined.append((first, last))
            first, last = start, end
        elif end > last:
            last = end
        if last >= until:
            last = until
            break
    if first < last:
        joined.append((first, last))
    return joined


def between(stretches: Sequence[Stretch], *, until: int) -> list[Stretch]:
    """What the stretches leave of `0..until`."""
    ends = [0, *(end for _, end in stretches)]
    starts = [*(start for start, _ in stretches), until]
    return [(end, start) for end, start in zip(ends, starts, strict=True) if end < start]


def split(stretches: Sequence[Stretch], by: Sequence[Stretch]) -> tuple[list[Stretch], list[Stretch]]:
    """What of the stretches is covered by those of `by`, and what is not."""
    covered: list[Stretch] = []
    left: list[Stretch] = []
    dividers = iter(by)
    divider = next(dividers, None)
    for first, end in stretches:
        start = first
        while divider is not None and divider[1] <= start:
            divider = next(dividers, None)
        while divider is not None and divider[0] < end:
            if start < divider[0]:
                left.append((start, divider[0]))
                start = divider[0]
            if divider[1] >= end:
                covered.append((start, end))
                start = end
                break
            covered.append((start, divider[1]))
            start = divider[1]
            divider = next(dividers, None)
        if start < end:
            left.append((start, end))
    return covered, left


def total(stretches: Iterable[Stretch]) -> int:
    """How many samples they have together."""
    return sum(end - start for start, end in stretches)
