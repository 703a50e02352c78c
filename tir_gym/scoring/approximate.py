"""Refuting equality by numbers: expressions in floats at fixed points, each value with a bound on its rounding error.

Variables are real. Without `i` on either side an expression that leaves the reals on the way is undefined there; two
expressions are compared where both are defined. A refutation needs a difference far beyond both error bounds.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

from tir_gym.scoring.expression import MINUS, Const, Node, Num, Op, Sym, names

__all__ = ["close", "contains_i", "refuted", "value"]

_Value: TypeAlias = tuple[complex, float]
_EPS = 4e-16
_MOST = 1e120


class _UndefinedError(ArithmeticError):
    """No sure value in floats."""


_BASE = (0.7310585786, 1.2020569031, 0.3678794411, 1.9318516525, 0.5671432904, 1.4513692348, 0.9159655941, 2.3447025)
_WHOLE = (5.0, 3.0, 7.0, 2.0, 9.0, 4.0, 8.0, 6.0)
_MANY = 8


def _points(variables: list[str]) -> list[dict[str, float]]:
    """Two points with positive values, two of whole numbers, three with negative ones; each variable has its own."""
    found = []
    for turn, table, signs in (
        (0, _BASE, 0), (3, _BASE, 0), (0, _WHOLE, 0), (3, _WHOLE, 0),
        (1, _BASE, ~0), (2, _BASE, 0x5555), (5, _BASE, 0x3336),
    ):  # fmt: skip
        point = {}
        for k, name in enumerate(variables):
            size = table[(k + turn) % _MANY] + (k // _MANY) * (math.pi if table is _BASE else _MANY)
            point[name] = -size if signs >> k % 16 & 1 else size
        found.append(point)
    return found


def contains_i(node: Node) -> bool:
    """Whether the imaginary unit occurs."""
    return node == Const("i") or (isinstance(node, Op) and any(contains_i(arg) for arg in node.args))


def refuted(left: Node, right: Node) -> bool:
    """Whether the two differ for certain at one of the points at which both have a value."""
    variables = sorted(names(left) | names(right))
    if len(variables) > 24:
        return False
    wide = not variables or contains_i(left) or contains_i(right)
    for point in _points(variables) if variables else [{}]:
        try:
            one, two = _evaluate(left, point, wide), _evaluate(right, point, wide)
        except (ArithmeticError, ValueError):
            continue
        if abs(one[0] - two[0]) > 16 * (one[1] + two[1]) + 1e-11 * max(abs(one[0]), abs(two[0]), 1e-290):
            return True
    return False


def value(node: Node) -> float | None:
    """The real number that an expression without variables is (infinities included), None where that is not sure."""
    if node == Const("inf"):
        return math.inf
    if isinstance(node, Op) and node.op == "mul" and node.args == (MINUS, Const("inf")):
        return -math.inf
    try:
        number, error = _evaluate(node, {}, True)
    except (ArithmeticError, ValueError, KeyError):
        return None
    return number.real if abs(number.imag) <= error and error <= 1e-9 * max(1.0, abs(number)) else None


def close(node: Node, decimal: Fraction) -> bool:
    """Whether an expression without variables is within 1e-12 of its own size from `decimal`."""
    try:
        number, error = _evaluate(node, {}, True)
        near = float(decimal)
    except (ArithmeticError, ValueError, KeyError):
        return False
    return abs(number - near) + error <= 1e-12 * abs(near)


def _evaluate(node: Node, point: dict[str, float], wide: bool) -> _Value:
    if isinstance(node, Num):
        exact = float(node.value)
        result: _Value = complex(exact), abs(exact) * _EPS
    elif isinstance(node, Sym):
        return complex(point[node.name]), 0.0
    elif isinstance(node, Const):
        if node.name == "inf":
            raise _UndefinedError
        constant = {"pi": math.pi, "e": math.e, "i": 1j}[node.name]
        return complex(constant), abs(constant) * _EPS
    else:
        result = _operate(node.op, [_evaluate(arg, point, wide) for arg in node.args], wide)
    number, error = result
    if not (cmath.isfinite(number) and abs(number) < _MOST and error < _MOST):
        raise _UndefinedError
    if not wide and abs(number.imag) > error:
        raise _UndefinedError
    return (complex(number.real), error) if not wide else result


def _operate(op: str, args: list[_Value], wide: bool) -> _Value:
    (x, dx) = args[0]
    if op == "add":
        total = sum((number for number, _ in args), 0j)
        return total, sum(error for _, error in args) + _EPS * len(args) * max(abs(number) for number, _ in args)
    if op == "mul":
        for y, dy in args[1:]:
            x, dx = x * y, abs(x) * dy + abs(y) * dx + dx * dy + _EPS * abs(x * y)
        return x, dx
    if op == "pow":
        return _power(args[0], args[1], wide)
    if op == "root":
        index = round(args[1][0].real)
        if index % 2 and abs(x.imag) <= dx and x.real < 0:
            number, error = _power((-x, dx), (1 / index + 0j, _EPS), wide)
            return -number, error
        return _power((x, dx), (1 / index + 0j, _EPS), wide)
    if op == "binomial":
        return _binomial(args[0], args[1])
    if op == "factorial":
        if abs(x.imag) > dx or dx > 1e-9 or not -0.9 < x.real < 100:
            raise _UndefinedError
        number = math.gamma(x.real + 1)
        return complex(number), number * (1e-13 + 5 * dx)
    if op in {"floor", "ceil"}:
        if abs(x.imag) > dx or abs(x.real) > 1e12 or (dx and abs(x.real - round(x.real)) <= dx * 2):
            raise _UndefinedError
        return complex(math.floor(x.real) if op == "floor" else math.ceil(x.real)), 0.0
    if op == "abs":
        return complex(abs(x)), dx + _EPS * abs(x)
    if op not in _FUNCTIONS:
        raise _UndefinedError
    step = max(dx * 4, 1e-9 * max(abs(x), 1e-3))
    function = _FUNCTIONS[op]
    number = complex(function(x))
    if op in _CUT and abs(x.imag) <= step and abs(x.real - _CUT[op]) <= step:
        raise _UndefinedError
    slope = max(abs(complex(function(x + step)) - number), abs(complex(function(x - step)) - number)) / step
    return number, slope * dx * 2 + 8 * _EPS * (abs(number) + slope * abs(x))


def _power(base: _Value, exponent: _Value, wide: bool) -> _Value:
    (x, dx), (y, dy) = base, exponent
    if abs(x) <= dx:
        raise _UndefinedError
    whole = abs(y.imag) <= dy and abs(y.real - round(y.real)) <= dy
    if whole and abs(y) < 1e6:
        y = complex(round(y.real))
        dy = 0.0
        number = x ** round(y.real)
    else:
        if abs(x.imag) <= dx and x.real < 0:
            if not wide or abs(y - 0.5) > 1e-12:
                raise _UndefinedError
            x = complex(x.real, 0.0)
        number = x**y
    return number, abs(number) * (abs(y) * dx / (abs(x) - dx) + abs(cmath.log(x)) * dy + 8 * _EPS * (1 + abs(y)))


def _binomial(top: _Value, bottom: _Value) -> _Value:
    n, k = top[0].real, bottom[0].real
    if not (0 <= k <= n <= 100) or max(top[1], bottom[1]) > 1e-9:
        raise _UndefinedError
    number = math.gamma(n + 1) / math.gamma(k + 1) / math.gamma(n - k + 1)
    return complex(number), number * 1e-12


_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "arcsin": cmath.asin, "arccos": cmath.acos,
    "arctan": cmath.atan, "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh, "ln": cmath.log,
    "log": cmath.log10, "cot": lambda z: 1 / cmath.tan(z), "sec": lambda z: 1 / cmath.cos(z),
    "csc": lambda z: 1 / cmath.sin(z),
}  # fmt: skip
_CUT = {"ln": 0.0, "log": 0.0}
