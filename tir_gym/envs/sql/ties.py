"""Ties: where an ORDER BY leaves rows equal, any order of them is right, and any choice of them at a LIMIT.

The query is run twice without its LIMIT, its own order continued by all columns upwards and downwards. Rows that tie
change places from one run to the other; so wherever the first rows of both are the same as a bag, a tie ends.
(Definition by this project.)
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.envs.sql.match import Row, contains, differ
from tir_gym.envs.sql.scan import order_by, tokens


@dataclass(frozen=True, slots=True)
class Tied:
    """A query's two runs, and which of their rows it returns: `count` of them (-1: all) from `offset` on."""

    upwards: str
    downwards: str
    offset: int
    count: int


def tied(sql: str, columns: int) -> Tied | None:
    """The two runs of a query with so many columns; None without an ORDER BY, or where the LIMIT is no plain number."""
    start = order_by(sql)
    if start is None:
        return None
    found = [token for token in tokens(sql) if token.text != ";"]
    limit = next(
        (token for token in found if token.start > start.start and not token.depth and token.word == "LIMIT"), None
    )
    offset, count = 0, -1
    if limit:
        after = [token for token in found if token.start > limit.start]
        match [token.word or token.text for token in after]:
            case [number]:
                values = [number, "0"]
            case [number, "OFFSET", skipped]:
                values = [number, skipped]
            case [skipped, ",", number]:
                values = [number, skipped]
            case _:
                return None
        if not all(value.isdecimal() for value in values):
            return None
        count, offset = map(int, values)
    base = sql[: limit.start if limit else found[-1].end]
    up = "".join(f", {column}" for column in range(1, columns + 1))
    down = "".join(f", {column} DESC" for column in range(1, columns + 1))
    return Tied(base + up, base + down, offset, count)


def allows(query: Tied, upwards: Sequence[Row], downwards: Sequence[Row], found: Sequence[Row]) -> bool:
    """Whether the rows found are what the query returns, given the rows of its two runs."""
    end = len(upwards) if query.count < 0 else min(len(upwards), query.offset + query.count)
    if len(upwards) != len(downwards) or len(found) != max(0, end - query.offset):
        return False
    for first, last in _groups(upwards, downwards):
        part = found[max(0, first - query.offset) : max(0, min(last, end) - query.offset)]
        group = upwards[first:last]
        right = not differ(group, part, ordered=False) if len(part) == len(group) else contains(group, part)
        if not right:
            return False
    return True


def _groups(upwards: Sequence[Row], downwards: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) place of each tie."""
    balance: Counter[tuple[Any, ...]] = Counter()
    first = 0
    for place, (one, other) in enumerate(zip(upwards, downwards, strict=True)):
        for row, step in ((one, 1), (other, -1)):
            key = tuple(map(_rounded, row))
            balance[key] += step
            if not balance[key]:
                del balance[key]
        if not balance:
            yield first, place + 1
            first = place + 1
    if first < len(upwards):
        yield first, len(upwards)


def _rounded(cell: Any) -> Any:
    return f"{cell:.9g}" if isinstance(cell, float) else repr(cell)
