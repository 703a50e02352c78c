"""What a final answer may be: typed, immutable values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from tir_gym.scoring.expression import Node, NotMath, Num
from tir_gym.scoring.numerals import Number
from tir_gym.scoring.sets import EMPTY, Piece, RealSet

__all__ = [
    "Based", "Choice", "Equation", "Expression", "Inequality", "Items", "Matrix", "Named", "Ordered", "Ratio", "Text",
    "Value", "as_set", "leaf", "leaves", "node_of",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """An upper-case option letter: `A`, `(A)`, `A.`."""

    letter: str


@dataclass(frozen=True, slots=True)
class Text:
    """Anything else, compared as a string; `beyond`: mathematics over the limits."""

    key: str
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that is no rational number."""

    node: Node
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A tuple, list or interval: values in order with their brackets."""

    opening: str
    closing: str
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """Several values, compared in any order."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """`label = value` or `label \\in value`; `plain` if the label is one variable."""

    label: str
    value: Value
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Equation:
    """`node = 0`."""

    node: Node


@dataclass(frozen=True, slots=True)
class Inequality:
    """`node > 0` (`>`), `node >= 0` (`>=`) or `node != 0` (`!=`)."""

    node: Node
    relation: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of values."""

    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """`a : b : ...`; `clock` if it may be a time of the day, which nothing scales."""

    terms: tuple[Node, ...]
    clock: bool


@dataclass(frozen=True, slots=True)
class Based:
    """A numeral in a stated base, which is part of the answer."""

    digits: str
    base: int


Value: TypeAlias = (
    Number | Choice | Text | Expression | Ordered | Items | Named | Equation | Inequality | Matrix | Ratio | Based
    | RealSet
)  # fmt: skip


def leaf(node: Node, unit: str = "") -> Number | Expression:
    """A number where the expression is rational."""
    return Number(node.value, unit, worked=False) if isinstance(node, Num) else Expression(node, unit)


def leaves(item: Value) -> Iterable[Value]:
    """The values a value is made of, itself if it has no parts."""
    if isinstance(item, Named):
        yield from leaves(item.value)
    elif isinstance(item, Items | Ordered):
        for part in item.items:
            yield from leaves(part)
    elif isinstance(item, Matrix):
        for row in item.rows:
            for part in row:
                yield from leaves(part)
    else:
        yield item


def node_of(item: Value) -> Node:
    """The expression of a number or expression without a unit. Raises `NotMath` for anything else."""
    if isinstance(item, Number) and not item.unit:
        return Num(item.value)
    if isinstance(item, Expression) and not item.unit:
        return item.node
    raise NotMath("no expression")


def as_set(item: Value) -> RealSet | None:
    """The set of reals that a value may stand for: an interval, a finite set, a set itself; None for anything else."""
    if isinstance(item, RealSet):
        return item
    if isinstance(item, Ordered) and len(item.items) == 2:
        try:
            low, high = (node_of(end) for end in item.items)
        except NotMath:
            return None
        return RealSet.between(low, item.opening == "[", high, item.closing == "]")
    if isinstance(item, Items) and len(item.items) <= 8:
        try:
            nodes = [node_of(point) for point in item.items]
        except NotMath:
            return None
        points: RealSet | None = EMPTY
        for node in nodes:
            if points is not None:
                points = points.union(RealSet((Piece(node, True, node, True),)))
        return points
    if isinstance(item, Number):
        return RealSet((Piece(Num(item.value), True, Num(item.value), True),))
    return None
