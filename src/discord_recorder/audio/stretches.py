"""Stretches of session time, `[start, end)` in samples: joined, cut and taken from each other.

A sequence of them is in order, and no two touch, where nothing else is said.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

Stretch = tuple[int, int]


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Stretches in any order as few as possible: those that touch or overlap are one."""
    result: list[Stretch] = []
    first = last = 0
    for start, end in sorted(stretches):
        if start > last or first == last:
            if first < last:
                result.append((first, last))
            first, last = start, end
        elif end > last:
            last = end
    if first < last:
        result.append((first, last))
    return result


def without(stretches: Iterable[Stretch], taken: Sequence[Stretch]) -> Iterator[Stretch]:
    """What of some stretches is in none of others."""
    first = 0
    for start, end in stretches:
        while first < len(taken) and taken[first][1] <= start:
            first += 1
        at, number = start, first
        while number < len(taken) and taken[number][0] < end:
            if at < taken[number][0]:
                yield at, taken[number][0]
            at = max(at, taken[number][1])
            number += 1
        if at < end:
            yield at, end


def split(stretches: Sequence[Stretch], by: Sequence[Stretch]) -> tuple[list[Stretch], list[Stretch]]:
    """What of some stretches is in others, and what is not; takes time for the others only."""
    pieces = list(stretches)
    covered: list[Stretch] = []
    left: list[Stretch] = []
    at = 0
    for start, end in by:
        reached = bisect_left(pieces, (start, start), at)
        if reached > at and pieces[reached - 1][1] > start:
            reached -= 1
        left += pieces[at:reached]
        at = reached
        while at < len(pieces) and pieces[at][0] < end:
            first, last = pieces[at]
            if first < start:
                left.append((first, start))
            covered.append((max(first, start), min(last, end)))
            if last > end:
                pieces[at] = (end, last)
                break
            at += 1
    return covered, left + pieces[at:]


def between(stretches: Sequence[Stretch], end: int) -> list[Stretch]:
    """What stretches leave of everything up to a moment, which none of them lies behind."""
    ends = [0, *(end for _, end in stretches)]
    starts = [*(start for start, _ in stretches), end]
    return [(last, first) for last, first in zip(ends, starts, strict=True) if last < first]


def within(stretches: Iterable[Stretch], start: int, end: int) -> Iterator[Stretch]:
    """What of some stretches lies between two moments."""
    for first, last in stretches:
        if max(first, start) < min(last, end):
            yield max(first, start), min(last, end)


def total(stretches: Iterable[Stretch]) -> int:
    """How many samples they have together."""
    return sum(end - start for start, end in stretches)
