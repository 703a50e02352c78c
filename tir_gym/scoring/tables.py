"""Whether two query results are the same: as bags of rows or in order, as published benchmarks judge SQL."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

Rows = Sequence[Sequence[Any]]

MAX_STEPS = 10_000
"""Assignments of columns that are tried before two results count as different."""


def same_rows(rows: Rows, gold: Rows, *, ordered: bool = False, permute: bool = True) -> bool:
    """Whether the rows are gold's: as a bag, or with `ordered` in gold's order.

    With `permute` one permutation of the columns may lie between them. Values are equal as Python's are, but a number
    is no text. BIRD judges bags up to a permutation, Spider order where gold's query has ORDER BY. Instead of sampling
    rows to prune permutations, columns are matched by their contents first, which is exact and needs no random numbers
    (a bounded search where several columns have the same content).
    """
    mine, theirs = ([tuple(map(_cell, row)) for row in table] for table in (rows, gold))
    if len(mine) != len(theirs) or len({len(row) for row in (*mine, *theirs)}) > 1:
        return False
    if not mine or _equal(mine, theirs, ordered):
        return True
    return permute and _permuted(mine, theirs, ordered)


def _cell(value: Any) -> Hashable:
    """A value with its kind, so that 1 is not "1"; true and 1.0 are 1, as in SQL."""
    if isinstance(value, bool | int | float):
        return ("number", value)
    return ("text", value) if isinstance(value, str) else ("other", repr(value))


def _equal(mine: list[tuple[Hashable, ...]], theirs: list[tuple[Hashable, ...]], ordered: bool) -> bool:
    return mine == theirs if ordered else Counter(mine) == Counter(theirs)


def _permuted(mine: list[tuple[Hashable, ...]], theirs: list[tuple[Hashable, ...]], ordered: bool) -> bool:
    """Whether some order of my columns gives their rows, tried column by column on the rows' beginnings."""
    columns, wanted = list(zip(*mine, strict=True)), list(zip(*theirs, strict=True))
    fits = [[i for i, own in enumerate(columns) if _equal([own], [column], True)] for column in wanted]
    if not ordered:
        bags = [Counter(column) for column in columns]
        fits = [[i for i, bag in enumerate(bags) if bag == Counter(column)] for column in wanted]
    left = MAX_STEPS

    def extend(chosen: list[int]) -> bool:
        nonlocal left
        place = len(chosen)
        if place == len(wanted):
            return True
        for column in fits[place]:
            left -= 1
            if left < 0:
                return False
            if column in chosen:
                continue
            picked = [*chosen, column]
            begun = [tuple(row[i] for i in picked) for row in mine]
            if _equal(begun, [row[: place + 1] for row in theirs], ordered) and extend(picked):
                return True
        return False

    return extend([])
