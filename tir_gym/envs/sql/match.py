"""Whether two results are the same, as far as the question says: order, duplicates, NULL, numbers, columns."""

import bisect
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tir_gym.envs.sql.scan import order_by

Row = Sequence[Any]
TOLERANCE = 1e-6
"""Two numbers of which one is a float are equal if they differ by at most this share of the greater, or of 1 ..."""
HALF_A_CENT = 0.004
"""... and by no more than this, so that amounts differ by their last digit however large they are ..."""
EXACT = 1e-11
"""... unless they differ by so small a share that the order in which floats are added explains it."""
_PERMUTED = 8
"""Columns up to which other orders of them are tried."""
_TRIES = 120
"""Orders of columns that are tried: with other values in each column there is one."""


def is_ordered(sql: str) -> bool:
    """Whether a query's result has an order: it has an ORDER BY of its own."""
    return order_by(sql) is not None


def differ(gold: Sequence[Row], found: Sequence[Row], *, ordered: bool, permute: bool = False) -> str:
    """How the rows found differ from those of gold, "" if they do not.

    Rows are compared one by one where they are ordered, else as a bag: duplicates count, order does not. NULL equals
    NULL and nothing else; text equals text letter by letter; whole numbers are compared exactly, floats within
    `TOLERANCE` and half a cent; a number and a text are never equal. With `permute` the columns found may stand in
    another order, the same one in all rows.
    """
    if len(gold) != len(found):
        return f"{len(found)} rows instead of {len(gold)}"
    if not gold:
        return ""
    width = len(gold[0])
    if len(found[0]) != width:
        return f"{len(found[0])} columns instead of {width}"
    same = _same_list if ordered else _same_bag
    if same(gold, found):
        return ""
    if permute and width <= _PERMUTED:
        for columns in _permutations(gold, found):
            if same(gold, [[row[column] for column in columns] for row in found]):
                return ""
    if ordered and _same_bag(gold, found):
        return "the right rows in a wrong order"
    return "other rows"


def contains(group: Sequence[Row], part: Sequence[Row]) -> bool:
    """Whether each row of `part` is one of the group's, none of them used twice.

    Equal rows are taken for each other first; the others are looked for among those whose number is nearly the same in
    the column with the most different numbers.
    """
    left, wanted = Counter(map(_hashable, group)), Counter(map(_hashable, part))
    rest = list((left - wanted).elements())
    others = list((wanted - left).elements())
    if not others:
        return True
    width = len(rest[0]) if rest else 0
    spread = [len({row[c] for row in rest if isinstance(row[c], int | float)}) for c in range(width)]
    if not any(spread) or any(len(row) != width for row in others):
        return False
    column = spread.index(max(spread))
    ranked = sorted((row for row in rest if isinstance(row[column], int | float)), key=lambda row: row[column])
    blank = [row for row in rest if not isinstance(row[column], int | float)]
    values = [row[column] for row in ranked]
    for row in others:
        among, first, last = blank, 0, len(blank)
        if isinstance(row[column], int | float):
            slack = TOLERANCE * max(1.0, abs(row[column])) * 1.01
            among, first = ranked, bisect.bisect_left(values, row[column] - slack)
            last = bisect.bisect_right(values, row[column] + slack)
        place = next((n for n in range(first, last) if _same_row(among[n], row)), -1)
        if place < 0:
            return False
        among.pop(place)
        if among is ranked:
            values.pop(place)
    return True


def _hashable(row: Row) -> tuple[Any, ...]:
    """The row such that equal ones are the same in a set: 1 and 1.0 are, as in `same_cell`."""
    return tuple(_exact(cell) if isinstance(cell, dict) else cell for cell in row)


def _permutations(gold: Sequence[Row], found: Sequence[Row]) -> Iterator[tuple[int, ...]]:
    """Orders of the columns found in which each could be that of gold: it holds the same values. At most `_TRIES`."""
    width = len(gold[0])
    theirs = [_texts(found, column) for column in range(width)]
    fits: list[list[int]] = []
    for column in range(width):
        held, own = _texts(gold, column), [[row[column]] for row in gold]
        same = [c for c in range(width) if theirs[c] == held and _same_bag(own, [[row[c]] for row in found])]
        fits.append(same)
    return itertools.islice(_choices(fits), _TRIES)


def _choices(fits: Sequence[Sequence[int]], taken: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every way to take one of each list, none twice."""
    if len(taken) == len(fits):
        yield taken
        return
    for one in fits[len(taken)]:
        if one not in taken:
            yield from _choices(fits, (*taken, one))


def _texts(rows: Sequence[Row], column: int) -> Counter[Any]:
    return Counter(_exact(row[column]) for row in rows)


def _exact(cell: Any) -> Any:
    """The cell where it is compared exactly, a mark where it is a number."""
    if isinstance(cell, int | float):
        return 0
    return str(sorted(cell.items())) if isinstance(cell, dict) else (cell,)


def same_cell(one: Any, other: Any) -> bool:
    """Whether two values are equal."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        if isinstance(one, int) and isinstance(other, int):
            return one == other
        size = max(1.0, abs(one), abs(other))
        return one == other or abs(one - other) <= max(min(TOLERANCE * size, HALF_A_CENT), EXACT * size) < float("inf")
    return type(one) is type(other) and bool(one == other)


def _same_row(one: Row, other: Row) -> bool:
    return len(one) == len(other) and all(map(same_cell, one, other))


def _same_list(gold: Sequence[Row], found: Sequence[Row]) -> bool:
    return all(map(_same_row, gold, found))


def _same_bag(gold: Sequence[Row], found: Sequence[Row]) -> bool:
    """Rows with the same texts are paired by their numbers, in order of size; if that fails, in any way that works."""
    groups: dict[Any, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((gold, found)):
        for row in rows:
            groups[tuple(map(_exact, row))][side].append(row)
    return all(len(ours) == len(theirs) and _pair_up(ours, theirs) for ours, theirs in groups.values())


def _pair_up(ours: list[Row], theirs: list[Row]) -> bool:
    ours, theirs = sorted(ours, key=_numbers), sorted(theirs, key=_numbers)
    return _same_list(ours, theirs) or _matching(ours, theirs)


def _numbers(row: Row) -> tuple[float, ...]:
    return tuple(cell for cell in row if isinstance(cell, int | float))


def _matching(ours: list[Row], theirs: list[Row]) -> bool:
    """Whether each row of one side can be given an equal one of the other: augmenting paths, for small groups."""
    if len(ours) > 60 or not any(isinstance(cell, float) for row in (*ours, *theirs) for cell in row):
        return False
    taken: dict[int, int] = {}

    def place(one: int, tried: set[int]) -> bool:
        for other, row in enumerate(theirs):
            if other not in tried and _same_row(ours[one], row):
                tried.add(other)
                if other not in taken or place(taken[other], tried):
                    taken[other] = one
                    return True
        return False

    return all(place(one, set()) for one in range(len(ours)))
