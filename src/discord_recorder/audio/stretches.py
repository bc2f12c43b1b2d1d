"""Stretches of session time, `[start, end)` in samples: joined, cut and taken from each other.

A sequence of them is in order, and no two touch, where nothing else is said.
"""

from collections.abc import Iterable, Iterator, Sequence

Stretch = tuple[int, int]


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Stretches in any order as few as possible: those that touch or overlap are one."""
    result: list[Stretch] = []
    for start, end in sorted(stretches):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        elif start < end:
            result.append((start, end))
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


def within(stretches: Iterable[Stretch], start: int, end: int) -> Iterator[Stretch]:
    """What of some stretches lies between two moments."""
    for first, last in stretches:
        if max(first, start) < min(last, end):
            yield max(first, start), min(last, end)


def total(stretches: Iterable[Stretch]) -> int:
    """How many samples they have together."""
    return sum(end - start for start, end in stretches)
