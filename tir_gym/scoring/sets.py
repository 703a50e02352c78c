"""Sets of real numbers: finite unions of intervals whose ends are expressions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

from tir_gym.scoring.approximate import value
from tir_gym.scoring.exact import polynomial
from tir_gym.scoring.expression import MINUS, Const, Node, Num, mul

__all__ = ["EMPTY", "EVERYTHING", "Piece", "RealSet", "solved"]

_TOP: Node = Const("inf")
_BOTTOM: Node = mul(MINUS, _TOP)
_MAX_PIECES = 16
_APART = 1e-12


@dataclass(frozen=True, slots=True)
class Piece:
    """An interval, or a point where both closed ends are the same."""

    low: Node
    low_closed: bool
    high: Node
    high_closed: bool


@dataclass(frozen=True, slots=True)
class RealSet:
    """Disjoint pieces in rising order; none is the empty set. Operations give None where the order is not sure."""

    pieces: tuple[Piece, ...]
    worked: bool = field(default=True, compare=False)
    """False where an inequality had to be solved to read it (`2x > 4`)."""

    @staticmethod
    def between(low: Node, low_closed: bool, high: Node, high_closed: bool) -> RealSet:
        """One interval; an infinite end is open."""
        return RealSet((Piece(low, low_closed and low != _BOTTOM, high, high_closed and high != _TOP),))

    @staticmethod
    def beyond(end: Node, sign: str) -> RealSet:
        """All `x` with `x sign end`, for the signs `<`, `<=`, `>`, `>=`, `!=`."""
        below, above = (
            RealSet.between(_BOTTOM, False, end, sign == "<="),
            RealSet.between(end, sign == ">=", _TOP, False),
        )
        if sign == "!=":
            return RealSet((*below.pieces, *above.pieces))
        return below if sign[0] == "<" else above

    @staticmethod
    def around(end: Node, sign: str) -> RealSet | None:
        """All `x` with `|x| sign end`, for a positive end."""
        number = value(end)
        if number is None or number <= 0:
            return None
        minus, closed = mul(MINUS, end), len(sign) == 2
        if sign[0] == "<":
            return RealSet.between(minus, closed, end, closed)
        if sign == "!=":
            return None
        return RealSet((Piece(_BOTTOM, False, minus, closed), Piece(end, closed, _TOP, False)))

    def mirrored(self) -> RealSet | None:
        """All `x` with `|x|` in this one piece of positive numbers."""
        (piece,) = self.pieces
        low = value(piece.low)
        if low is None or low <= 0:
            return None
        mirror = Piece(mul(MINUS, piece.high), piece.high_closed, mul(MINUS, piece.low), piece.low_closed)
        return RealSet((mirror, piece))

    def union(self, other: RealSet) -> RealSet | None:
        """Everything in one of the two."""
        return _built(self, other, lambda one, two: one or two)

    def meet(self, other: RealSet) -> RealSet | None:
        """Everything in both; in either where nothing is in both (`x < 1, x > 3` lists two parts)."""
        both = _built(self, other, lambda one, two: one and two)
        return both if both is None or both.pieces else self.union(other)

    def without(self, other: RealSet) -> RealSet | None:
        """What is in this one only."""
        return _built(self, other, lambda one, two: one and not two)

    def holds(self, at: float, ends: list[tuple[float, float]]) -> bool:
        """Whether the number `at` is inside; `ends` are the pieces' ends as numbers."""
        for piece, (low, high) in zip(self.pieces, ends, strict=True):
            if (low < at or (low == at and piece.low_closed)) and (at < high or (high == at and piece.high_closed)):
                return True
        return False


EMPTY = RealSet(())
EVERYTHING = RealSet.between(_BOTTOM, False, _TOP, False)


def _built(left: RealSet, right: RealSet, inside: Callable[[bool, bool], bool]) -> RealSet | None:
    """The set of all points for which `inside` says so, from the membership of every end and every gap between ends."""
    if len(left.pieces) + len(right.pieces) > _MAX_PIECES:
        return None
    nodes: dict[float, Node] = {}
    ends: list[list[tuple[float, float]]] = []
    for side in (left, right):
        ends.append([])
        for piece in side.pieces:
            pair = []
            for node in (piece.low, piece.high):
                number = value(node)
                if number is None:
                    return None
                known = next(
                    (at for at in nodes if at == number or math.isclose(at, number, rel_tol=_APART, abs_tol=_APART)),
                    number,
                )
                nodes.setdefault(known, node)
                pair.append(known)
            ends[-1].append((pair[0], pair[1]))
    if any(low > high for side in ends for low, high in side):
        return None
    stops = sorted({*nodes, -math.inf, math.inf})
    nodes.setdefault(-math.inf, _BOTTOM)
    nodes.setdefault(math.inf, _TOP)
    pieces: list[Piece] = []
    start: tuple[float, bool] | None = None
    for i, stop in enumerate(stops):
        here = math.isfinite(stop) and inside(left.holds(stop, ends[0]), right.holds(stop, ends[1]))
        if start is not None and not here:
            pieces.append(Piece(nodes[start[0]], start[1], nodes[stop], False))
            start = None
        if start is None and here:
            start = stop, True
        if i + 1 == len(stops):
            break
        middle = _middle(stop, stops[i + 1])
        gap = inside(left.holds(middle, ends[0]), right.holds(middle, ends[1]))
        if gap and start is None:
            start = stop, False
        elif not gap and start is not None:
            pieces.append(Piece(nodes[start[0]], start[1], nodes[stop], True))
            start = None
    return RealSet(tuple(pieces), left.worked and right.worked)


def _middle(low: float, high: float) -> float:
    if math.isinf(low):
        return high - 1 if math.isfinite(high) else 0.0
    return low + 1 if math.isinf(high) else (low + high) / 2


def solved(node: Node, sign: str) -> tuple[str, RealSet] | None:
    """Variable and solutions of `node sign 0` where it is linear in one variable."""
    form = polynomial(node)
    if form is None:
        return None
    used = {name for monomial in form for name, _ in monomial}
    if len(used) != 1:
        return None
    (name,) = used
    slope = form.get(((name, 1),), Fraction(0))
    if not slope or not name.startswith("v:") or set(form) - {(), ((name, 1),)}:
        return None
    end = Num(-form.get((), Fraction(0)) / slope)
    if slope < 0 and sign != "!=":
        sign = {"<": ">", ">": "<"}[sign[0]] + sign[1:]
    return name[2:], replace(RealSet.beyond(end, sign), worked=False)
