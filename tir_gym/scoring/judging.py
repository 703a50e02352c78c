"""Whether two typed answers are the same: yes, no, or None where that could not be found out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from fractions import Fraction

from tir_gym.scoring import exact, symbolic
from tir_gym.scoring.approximate import close, contains_i, refuted
from tir_gym.scoring.expression import MINUS, Const, Node, NotMath, Num, Sym, add, encode, mul, names, power
from tir_gym.scoring.numerals import Number
from tir_gym.scoring.sets import RealSet
from tir_gym.scoring.values import (
    Choice,
    Equation,
    Expression,
    Inequality,
    Items,
    Matrix,
    Named,
    Ordered,
    Ratio,
    Text,
    Value,
    as_set,
    leaves,
)

__all__ = ["Judge"]


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    found: bool | None = True
    for verdict in verdicts:
        if verdict is False:
            return False
        found = found and verdict
    return found


class Judge:
    """One comparison of two answers.

    `seconds`: what the worker may take for one pair of expressions, and a quarter more for all pairs together; `until`:
    when all must be done, in `time.monotonic()`. Expressions that used up their seconds are undecided by their own
    doing; `failed` says why the worker did not serve, "" if it did.
    """

    def __init__(self, seconds: float, until: float) -> None:
        self.seconds = seconds
        self._left = 1.25 * seconds
        self._until = until
        self.failed = ""

    def within_limits(self, item: Value) -> bool:
        """Whether the worker works out every expression in `item` in time."""
        fresh: Node = Num(Fraction(time.monotonic_ns()))  # asked for the first time: the worker itself must answer
        nodes = [leaf.node for leaf in leaves(item) if isinstance(leaf, Expression)] or [fresh]
        return all(self._ask(node, add(fresh, Num(Fraction(1, 7)))) is not None for node in nodes)

    def same(self, left: Value, right: Value) -> bool | None:
        """Whether two values are the same under the rules of docs/math_verifier.md. Symmetric."""
        if left == right and not isinstance(left, Number | Expression):
            return True
        if isinstance(left, Text) or isinstance(right, Text):
            return self._texts(left, right)
        if isinstance(left, Named) or isinstance(right, Named):
            return self._named(left, right)
        if isinstance(left, Equation) and isinstance(right, Equation):
            return exact.scaled(left.node, right.node)
        if isinstance(left, Number | Expression) and isinstance(right, Number | Expression):
            return self._expressions(left, right)
        if isinstance(left, Items) or isinstance(right, Items):
            return self._items(left, right)
        if isinstance(left, RealSet) or isinstance(right, RealSet):
            one, two = as_set(left), as_set(right)
            return one is not None and two is not None and self._sets(one, two)
        if isinstance(left, Ratio) or isinstance(right, Ratio):
            return self._ratios(left, right)
        if isinstance(left, Matrix) or isinstance(right, Matrix):
            return self._matrices(left, right)
        if isinstance(left, Ordered) and isinstance(right, Ordered):
            brackets = (left.opening, left.closing) == (right.opening, right.closing)
            return brackets and self._sequence(left.items, right.items)
        if isinstance(left, Inequality) and isinstance(right, Inequality):
            return left.relation == right.relation and self._proportional(left, right)
        return False

    def _texts(self, left: Value, right: Value) -> bool | None:
        if any(isinstance(side, Text) and side.beyond for side in (left, right)):
            single = Text | Number | Expression
            return None if isinstance(left, single) and isinstance(right, single) else False
        return False

    def _named(self, left: Value, right: Value) -> bool | None:
        if isinstance(left, Named) and isinstance(right, Named):
            if left.label == right.label:
                return self.same(left.value, right.value)
        elif isinstance(left, Named) and not isinstance(right, Equation):
            return self.same(left.value, right) if not isinstance(right, Choice) else False
        elif isinstance(right, Named) and not isinstance(left, Equation):
            return self._named(right, left)
        one, two = _equation(left), _equation(right)
        return False if one is None or two is None else exact.scaled(one, two)

    # --- several values ------------------------------------------------------------------------------------------
    def _sequence(self, left: tuple[Value, ...], right: tuple[Value, ...]) -> bool | None:
        if len(left) != len(right):
            return False
        return _all(self.same(one, two) for one, two in zip(left, right, strict=True))

    def _items(self, left: Value, right: Value) -> bool | None:
        if not (isinstance(left, Items) and isinstance(right, Items)):
            items, other = (left, right) if isinstance(left, Items) else (right, left)
            assert isinstance(items, Items)
            if isinstance(other, Ordered) and _assignment(items) and (other.opening, other.closing) == ("(", ")"):
                return self._sequence(tuple(i.value for i in items.items if isinstance(i, Named)), other.items)
            if isinstance(other, RealSet):
                points = as_set(items)
                return points is not None and self._sets(points, other)
            return False
        one, two = left.items, right.items
        if _assignment(left) != _assignment(right):
            bare = [tuple(i.value if isinstance(i, Named) else i for i in side) for side in (one, two)]
            return self._sequence(bare[0], bare[1])
        if all(isinstance(item, Ordered | Items) for item in (*one, *two)):
            one, two = self._distinct(one), self._distinct(two)
        return self._matched(one, two)

    def _distinct(self, items: tuple[Value, ...]) -> tuple[Value, ...]:
        kept: list[Value] = []
        for item in items:
            if not any(self.same(item, other) for other in kept):
                kept.append(item)
        return tuple(kept)

    def _matched(self, left: tuple[Value, ...], right: tuple[Value, ...]) -> bool | None:
        if len(left) != len(right):
            return False
        open_items = list(right)
        undecided = False
        for item in left:
            verdicts = [self.same(item, other) for other in open_items]
            if True in verdicts:
                del open_items[verdicts.index(True)]
            elif None in verdicts:
                undecided = True
            else:
                return False
        return None if undecided else True

    # --- structures ------------------------------------------------------------------------------------------------
    def _sets(self, left: RealSet, right: RealSet) -> bool | None:
        if len(left.pieces) != len(right.pieces):
            return False
        verdicts: list[bool | None] = []
        for one, two in zip(left.pieces, right.pieces, strict=True):
            if (one.low_closed, one.high_closed) != (two.low_closed, two.high_closed):
                return False
            verdicts += [self.nodes(one.low, two.low), self.nodes(one.high, two.high)]
        return _all(verdicts)

    def _ratios(self, left: Value, right: Value) -> bool | None:
        if isinstance(left, Ratio) and isinstance(right, Ratio):
            one, two = left.terms, right.terms
            if len(one) != len(two):
                return False
            if left.clock or right.clock:
                return _all(self.nodes(a, b) for a, b in zip(one, two, strict=True))
            pairs = zip(one[1:], two[1:], strict=True)
            return _all(self.nodes(mul(one[0], b), mul(two[0], a)) for a, b in pairs)
        ratio, other = (left, right) if isinstance(left, Ratio) else (right, left)
        assert isinstance(ratio, Ratio)
        if ratio.clock or len(ratio.terms) != 2 or not isinstance(other, Number | Expression) or other.unit:
            return False
        if isinstance(other, Number) and other.value.denominator == 1:
            return False
        try:
            return self.nodes(mul(ratio.terms[0], power(ratio.terms[1], MINUS)), _node(other))
        except NotMath:
            return False

    def _matrices(self, left: Value, right: Value) -> bool | None:
        if isinstance(left, Matrix) and isinstance(right, Matrix):
            if [len(row) for row in left.rows] != [len(row) for row in right.rows]:
                return False
            return _all(self._sequence(one, two) for one, two in zip(left.rows, right.rows, strict=True))
        matrix, other = (left, right) if isinstance(left, Matrix) else (right, left)
        assert isinstance(matrix, Matrix)
        if isinstance(other, Ordered) and (other.opening, other.closing) == ("(", ")") and len(matrix.rows[0]) == 1:
            return self._sequence(tuple(row[0] for row in matrix.rows), other.items)
        return False

    def _proportional(self, left: Inequality, right: Inequality) -> bool | None:
        one, two = exact.polynomial(left.node), exact.polynomial(right.node)
        if one is None or two is None:
            return self.nodes(left.node, right.node)
        ratios = {two[monomial] / one[monomial] for monomial in one} if one.keys() == two.keys() else set()
        return len(ratios) == 1 and (min(ratios) > 0 or left.relation == "!=")

    # --- expressions -----------------------------------------------------------------------------------------------
    def _expressions(self, left: Number | Expression, right: Number | Expression) -> bool | None:
        if left.unit and right.unit and left.unit != right.unit:
            return False
        for decimal, other in ((left, right), (right, left)):
            if isinstance(decimal, Number) and decimal.digits and _never_ends(other):
                return close(_node(other), decimal.value)
        if isinstance(left, Number) and isinstance(right, Number):
            return left.value == right.value
        return self.nodes(_node(left), _node(right))

    def nodes(self, left: Node, right: Node) -> bool | None:
        """Whether two expressions are equal wherever both are defined."""
        if left == right:
            return True
        infinite = [side for side in (left, right) if side in _INFINITIES]
        if infinite:
            return False
        if isinstance(left, Num) and isinstance(right, Num):
            return left.value == right.value
        if refuted(left, right):
            return False
        found = exact.equal(left, right)
        return self._ask(left, right) if found is None else found

    def _ask(self, left: Node, right: Node) -> bool | None:
        if self._left <= 0.02:
            return None
        left_over = self._until - time.monotonic()
        if left_over <= 0.02:
            self.failed = "no time was left for the worker"
            return None
        try:
            trees = encode(left), encode(right)
        except NotMath:
            return False
        except ValueError:  # more digits than the interpreter prints
            return None
        try:
            if not symbolic.comparer().warm(left_over):
                self.failed = "the worker was not up or not free in time"
                return None
            start = time.monotonic()
            seconds = min(self.seconds, self._left, self._until - start)
            verdict = symbolic.comparer().equal(*trees, seconds=max(seconds, 0.02))
            self._left -= time.monotonic() - start
        except symbolic.WorkerUnavailable as error:
            self.failed = str(error)
            return None
        return {symbolic.Verdict.EQUAL: True, symbolic.Verdict.UNEQUAL: False}.get(verdict)


_INFINITIES = (Const("inf"), mul(MINUS, Const("inf")))


def _node(item: Number | Expression) -> Node:
    return Num(item.value) if isinstance(item, Number) else item.node


def _never_ends(item: Number | Expression) -> bool:
    """Whether a value is a real constant that no decimal is."""
    if isinstance(item, Expression):
        return not names(item.node) and not contains_i(item.node) and item.node not in _INFINITIES
    rest = item.value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest > 1


def _assignment(items: Items) -> bool:
    """Whether these are values of different names: `p = 5, q = 2`."""
    labels = [item.label for item in items.items if isinstance(item, Named)]
    return len(labels) == len(items.items) == len(set(labels))


def _equation(item: Value) -> Node | None:
    """`label = expression` or an equation as `node = 0`; None for others and for a value without variables."""
    if isinstance(item, Equation):
        return item.node
    if isinstance(item, Named) and item.plain and isinstance(item.value, Number | Expression) and not item.value.unit:
        node = _node(item.value)
        return None if node in _INFINITIES else add(Sym(item.label), mul(MINUS, node))
    return None
