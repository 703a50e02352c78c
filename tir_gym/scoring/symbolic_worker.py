"""The program that decides whether two mathematical expressions are equal; exec'd fresh by `symbolic`.

Standard library, mpmath and sympy only: it imports nothing of ours. It loads both libraries once, proves itself on
`1 = 1`, says so with `READY` and then forks one child for every comparison, under limits of memory, processor time and
wall time. The child's exit status is the verdict, so nothing an expression does can write a reply.

A request is `HEADER` (length of the text, seconds allowed) and a JSON text `[left, right]`; the reply is one byte:
`E`qual, `U`nequal, un`D`ecided, or out of `T`ime. Numbers and trees are built node by node; no text is ever evaluated.

How a verdict is reached (`decide`):

1. Both sides are evaluated with one set of values for the symbols after the other: rationals of both signs and of
   different sizes, fixed once and for all; where a side has no value, or no real one, is left out (complex values count
   if `i` occurs, if there are no symbols, or if there is no other point). Rational arithmetic is exact; all else is
   computed with 50, 100 and, if need be, 250 digits, and the change measures the error. One clear difference refutes.
   Agreement to 60 digits for a constant, or at `ENOUGH` points for an expression with symbols, counts as equal: a
   probabilistic identity test in the spirit of Schwartz (1980) and Zippel (1979). Two rationals are compared exactly.
2. What that leaves open is equal if the trees are the same, or if sympy reduces the difference to 0.
"""

import contextlib
import ctypes
import gc
import json
import math
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath
import sympy

HEADER = struct.Struct("!Id")
READY = b"R"
MEMORY = 300 << 20
"""Bytes of address space that a comparison may take beyond what the libraries hold."""
EXACT_BITS = 35_000
"""Rationals with more bits than this (about 10,000 digits) are not computed exactly."""
MAX_MAGNITUDE = 100
"""Arguments of functions, and logarithms of results, are computed up to 2 to this power."""
PRECISIONS = (50, 100, 250)
UNSEEN = 200
"""A term smaller than a sum by this many bits (60 digits) does not take part in an agreement to 60 digits."""
POINTS = 40
ENOUGH = 5

Tree: TypeAlias = tuple[Any, ...]
Value: TypeAlias = Any
"""A `Fraction` (exact), an mpmath real (infinities included) or an mpmath complex number (finite)."""

mp = mpmath.mp


class Undefined(Exception):  # noqa: N818
    """There is no value: division by zero, log 0, oo - oo."""


class OutOfReach(Exception):  # noqa: N818
    """The value is too large, or of a kind that is not computed here."""


def read(node: Any) -> Tree:
    """The tree of a JSON expression, rationals parsed. Raises `ValueError` for what is no expression."""
    match node:
        case ["n", str(text)]:
            above, _, below = text.partition("/")
            return ("n", Fraction(int(above), int(below or "1")))
        case ["v", str()] | ["c", "pi" | "e" | "i" | "oo"]:
            return tuple(node)
        case ["+" | "*" as head, _, *_] | ["^" as head, _, _]:
            return (head, *map(read, node[1:]))
        case ["f", str(name), *parts] if ARGUMENTS.get(name) == len(parts):
            return ("f", name, *map(read, parts))
    raise ValueError(f"not an expression: {node!r:.80}")


def leaves(tree: Tree) -> set[Tree]:
    """The symbols, constants and functions in a tree, each as its kind and name."""
    own = {tree[:2]} if tree[0] in ("v", "c", "f") else set()
    return own.union(*(leaves(part) for part in tree if isinstance(part, tuple)))


class Evaluation:
    """Evaluates trees at one point with the current precision of mpmath: principal values, or real numbers only."""

    def __init__(self, point: dict[str, Fraction], real: bool) -> None:
        self.point, self.real = point, real
        self.lossy = False
        """Whether a rational was rounded, or a term lost beside a larger one: agreement then proves nothing."""

    def value(self, tree: Tree) -> Value:
        """The value of a tree. Raises `Undefined`, `OutOfReach`, or whatever mpmath raises at a pole."""
        match tree:
            case ("n", number):
                return number
            case ("v", name):
                return self.point[name]
            case ("c", name):
                return {"pi": +mp.pi, "e": +mp.e, "i": mp.mpc(0, 1), "oo": mp.inf}[name]
            case ("+", *terms):
                return self.total([self.value(term) for term in terms])
            case ("*", *factors):
                return self.product([self.value(factor) for factor in factors])
            case ("^", base, exponent):
                return self.power(self.value(base), self.value(exponent))
        return self.function(tree[1], [self.value(argument) for argument in tree[2:]])

    def checked(self, value: Value) -> Value:
        """The value, unless it is none here: nan, or complex where real ones are asked. No complex infinities."""
        if isinstance(value, Fraction):
            return value
        if mp.isnan(value) or (self.real and isinstance(value, mp.mpc)):
            raise Undefined
        if isinstance(value, mp.mpc) and not mp.isfinite(value):
            raise OutOfReach
        return value

    def bounded(self, value: Fraction) -> Value:
        """The same number, rounded if it is too large to go on with exactly."""
        if value.numerator.bit_length() + value.denominator.bit_length() <= EXACT_BITS:
            return value
        self.lossy = True
        return inexact(value)

    def total(self, terms: list[Value]) -> Value:
        """The sum, exact as far as the terms are. Where they cancel, it is as large as their errors may be, never 0."""
        exact: Value = Fraction(0)
        others = []
        for term in terms:
            if both_exact(exact, term):
                exact = self.bounded(exact + term)
            else:
                others.append(inexact(term))
        if not others:
            return exact
        result = self.checked(sum(others, inexact(exact)))
        if mp.isinf(result):
            return result
        size, exact_size, sizes = mp.mag(result), mp.mag(inexact(exact)), [mp.mag(term) for term in others]
        noise = max(exact_size, *sizes) - mp.prec + 4
        if size < noise:
            return mp.ldexp(1, noise)
        unseen, noise = size - UNSEEN, size - mp.prec + 60
        self.lossy |= (exact != 0 and exact_size < unseen) or any(noise < each < unseen for each in sizes)
        return result

    def product(self, factors: list[Value]) -> Value:
        """The product, exact as far as the factors are; an exact 0 stays exact."""
        result: Value = Fraction(1)
        for factor in sorted(factors, key=lambda factor: not isinstance(factor, Fraction)):
            if both_exact(result, factor):
                result = self.bounded(result * factor)
            elif not (isinstance(result, Fraction) and result == 0 and mp.isfinite(factor)):
                result = self.checked(inexact(result) * inexact(factor))
        return result

    def power(self, base: Value, exponent: Value) -> Value:
        """The principal value; 0 to the power 0 is 1, as in sympy."""
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            return self.whole_power(base, exponent.numerator)
        base, exponent = inexact(tidy(base)), inexact(tidy(exponent))
        if mp.isinf(base) or mp.isinf(exponent):
            return infinite_power(base, exponent)
        if base == 0:
            if mp.re(exponent) > 0:
                return Fraction(0)
            raise Undefined
        if mp.mag(exponent) + abs(mp.mag(base)).bit_length() > MAX_MAGNITUDE:
            raise OutOfReach
        return self.checked(mp.power(base, exponent))

    def whole_power(self, base: Value, exponent: int) -> Value:
        """A power with an integer exponent."""
        if base == 0 and exponent < 0:
            raise Undefined
        if isinstance(base, Fraction):
            if base in (-1, 0, 1):
                return base ** (2 - exponent % 2) if exponent else Fraction(1)
            if (base.numerator.bit_length() + base.denominator.bit_length()) * abs(exponent) <= EXACT_BITS:
                return base**exponent
            self.lossy = True
            base = inexact(base)
        if mp.isinf(base):
            if exponent == 0:
                raise Undefined
        elif base != 0 and abs(mp.mag(base)).bit_length() + exponent.bit_length() > MAX_MAGNITUDE:
            raise OutOfReach
        return self.checked(base**exponent)

    def function(self, name: str, arguments: list[Value]) -> Value:
        """The value of a function."""
        if name == "binomial":
            return self.binomial(*arguments)
        if name == "log":
            above, below = (self.function("ln", [argument]) for argument in arguments)
            return self.product([above, self.whole_power(below, -1)])
        argument = tidy(arguments[0])
        if name in ("floor", "ceil"):
            return rounded(argument, math.floor if name == "floor" else math.ceil)
        if name == "abs":
            return abs(argument)
        if name == "factorial":
            return self.factorial(argument)
        argument = inexact(argument)
        if mp.isinf(argument):
            if name not in LIMITED:
                raise Undefined
        elif name == "ln" and argument == 0:
            raise Undefined
        elif name not in ("ln", "atan") and mp.mag(argument) > MAX_MAGNITUDE:
            raise OutOfReach
        return self.checked(FUNCTIONS[name](argument))

    def factorial(self, argument: Value) -> Value:
        """n!, by the gamma function where n is no natural number."""
        if isinstance(argument, Fraction) and argument.denominator == 1 and 0 <= argument <= 2000:
            return Fraction(math.factorial(argument.numerator))
        self.lossy |= isinstance(argument, Fraction) and argument.denominator == 1
        argument = inexact(argument)
        if not mp.isinf(argument) and mp.mag(argument) > MAX_MAGNITUDE - 10:
            raise OutOfReach
        return self.checked(mp.factorial(argument))

    def binomial(self, above: Value, below: Value) -> Value:
        """Binomial coefficient: 0 for a negative integer below, by the gamma function beyond natural numbers."""
        if both_exact(above, below) and above.denominator == below.denominator == 1:
            if below < 0:
                return Fraction(0)
            n, k = above.numerator, below.numerator
            if n >= 0 and min(k, max(n - k, 0)) * n.bit_length() <= EXACT_BITS:
                return Fraction(math.comb(n, k))
            self.lossy = True
        above, below = inexact(tidy(above)), inexact(tidy(below))
        if mp.isinf(above) or mp.isinf(below) or max(mp.mag(above), mp.mag(below)) > MAX_MAGNITUDE - 10:
            raise OutOfReach
        return self.checked(mp.binomial(above, below))


FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    name: getattr(mp, name)
    for name in ("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "ln")
}
LIMITED = ("exp", "ln", "atan", "sinh", "cosh", "tanh")
"""Functions that are taken at oo and -oo."""
ARGUMENTS = dict.fromkeys((*FUNCTIONS, "abs", "floor", "ceil", "factorial"), 1) | {"log": 2, "binomial": 2}
SYMPY_NAMES = {"ln": "log", "abs": "Abs", "ceil": "ceiling"}


def both_exact(left: Value, right: Value) -> bool:
    """Whether both are rationals."""
    return isinstance(left, Fraction) and isinstance(right, Fraction)


def inexact(value: Value) -> Value:
    """A value as an mpmath number of the current precision."""
    return mp.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def tidy(value: Value) -> Value:
    """Drops a real or imaginary part that is only rounding, so that it cannot choose the side of a branch cut."""
    if not isinstance(value, mp.mpc):
        return value
    gap = mp.prec - 20
    if mp.mag(value.imag) <= mp.mag(value.real) - gap:
        return value.real
    if mp.mag(value.real) <= mp.mag(value.imag) - gap:
        return mp.mpc(0, value.imag)
    return value


def rounded(value: Value, whole: Callable[[Value], int]) -> Value:
    """`floor` or `ceil` of a real number; what is an integer but for rounding counts as that integer."""
    if isinstance(value, Fraction):
        return Fraction(whole(value))
    if isinstance(value, mp.mpc) or mp.isinf(value) or mp.mag(value) > mp.prec:
        raise OutOfReach
    near = mp.nint(value)
    if mp.mag(value - near) <= max(mp.mag(value), 0) - mp.prec + 30:
        return Fraction(int(near))
    return Fraction(int(mp.floor(value) if whole is math.floor else mp.ceil(value)))


def infinite_power(base: Value, exponent: Value) -> Value:
    """A real power in which the base is oo or the exponent oo or -oo, and which has a limit. Raises `Undefined`."""
    if isinstance(base, mp.mpc) or isinstance(exponent, mp.mpc) or base <= 0 or base == 1 or exponent == 0:
        raise Undefined
    return mp.inf if (base > 1) == (exponent > 0) else Fraction(0)


def agree(left: Tree, right: Tree, point: dict[str, Fraction], real: bool) -> bool | None:
    """Whether both trees have the same value at a point; None where precision or size do not let it be told."""
    earlier: tuple[Value, Value, int] | None = None
    for digits in PRECISIONS:
        mp.dps = digits
        evaluation = Evaluation(point, real)
        a, b = evaluation.value(left), evaluation.value(right)
        if both_exact(a, b):
            return bool(a == b)
        a, b = inexact(a), inexact(b)
        if mp.isinf(a) or mp.isinf(b):
            return None if point else bool(a == b)
        if earlier:
            error = abs(a - earlier[0]) + abs(b - earlier[1])
            gap, scale = abs(a - b), max(abs(a), abs(b))
            if gap > error * mp.mpf(10) ** 10 and gap > scale * mp.mpf(10) ** (20 - earlier[2]):
                return False
            nothing = digits == PRECISIONS[-1] and scale <= min(error, mp.mpf(10) ** -40) / mp.mpf(10) ** 20
            stable = error <= scale / mp.mpf(10) ** 10 and gap <= scale * mp.mpf(10) ** (40 - digits)
            if not evaluation.lossy and (stable or nothing):
                return True
        earlier = a, b, digits
    return None


def point(number: int, names: list[str]) -> dict[str, Fraction]:
    """Values for the symbols: below 10, far out, or below 1; all positive, all negative, or of mixed signs.

    A negative number gives whole ones from 1 to 24, where floors and ceilings jump."""
    if number < 0:
        return {name: Fraction(-number * (6 * position + 1) % 24 + 1) for position, name in enumerate(names)}
    chance = random.Random(number)
    scale = Fraction((1, 1, 500, 500, 0, 1, 500, 0)[number % 8] or Fraction(1, 10))
    values = {}
    for position, name in enumerate(names):
        size = scale * Fraction(int(1 + chance.random() * 9999), 1009)
        positive = (True, False, position % 2 == 0, position % 2 == 1, True)[number % 5]
        values[name] = size if positive else -size
    return values


def numerical(left: Tree, right: Tree) -> str:
    """The numerical verdict: `E`, `U`, or an empty string where it is open."""
    found = leaves(left) | leaves(right)
    names = sorted(name for kind, name in found if kind == "v")
    points = POINTS if names else 1
    whole = 24 if names and found & {("f", "floor"), ("f", "ceil")} else 0
    for real in (True, False) if names and ("c", "i") not in found else (False,):
        agreed = undefined = 0
        for number in range(-whole, points):
            try:
                same = agree(left, right, point(number, names), real)
            except (Undefined, ZeroDivisionError, ValueError):  # mpmath raises the latter two at poles
                undefined += number >= 0
                continue
            except (OutOfReach, OverflowError):
                continue
            if same is False:
                return "U"
            agreed += number >= 0 and same is True
            if agreed == min(ENOUGH, points):
                return "E"
        if undefined < points:
            return ""
    return "U"


def build(tree: Tree) -> Any:
    """The sympy expression of a tree, symbols real. Raises `OutOfReach` where sympy would compute a huge number."""
    match tree:
        case ("n", number):
            return sympy.Rational(number.numerator, number.denominator)
        case ("v", name):
            return sympy.Symbol(name, real=True)
        case ("c", name):
            return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}[name]
        case ("+", *terms):
            return sympy.Add(*map(build, terms))
        case ("*", *factors):
            return sympy.Mul(*map(build, factors))
        case ("^", left, right):
            base, exponent = build(left), build(right)
            numbers = [] if base.is_Add else base.atoms(sympy.Rational)
            size = max((int(each.p).bit_length() + int(each.q).bit_length() for each in numbers), default=0)
            if not (exponent.is_Rational and size * abs(exponent) > EXACT_BITS):
                return sympy.Pow(base, exponent)
            raise OutOfReach
    name, arguments = tree[1], list(map(build, tree[2:]))
    if name in ("factorial", "binomial") and any(n.is_Integer and abs(n) > 2000 for n in arguments):
        raise OutOfReach
    return getattr(sympy, SYMPY_NAMES.get(name) or name)(*arguments)


def prove(left: Tree, right: Tree) -> str:
    """Sympy's verdict: `E` if the difference reduces to 0, `U` if to another rational or a side has no value, or ""."""
    a, b = build(left), build(right)
    if any(side.has(sympy.nan, sympy.zoo) for side in (a, b)):
        return "U"
    if a.has(sympy.oo, -sympy.oo) or b.has(sympy.oo, -sympy.oo):
        return "E" if a == b else ""
    difference = a - b
    for reduce in (sympy.expand, lambda d: sympy.cancel(sympy.together(d)), sympy.simplify):
        difference = reduce(difference)
        if difference.is_Rational:
            return "E" if difference == 0 else "U"
    return ""


def decide(text: bytes) -> str:
    """The verdict on a request: `E`, `U` or `D`."""
    try:
        left, right = map(read, json.loads(text))
    except ZeroDivisionError:
        return "U"
    verdict = numerical(left, right)
    if not verdict:
        with contextlib.suppress(OutOfReach):
            verdict = prove(left, right)
    return verdict or ("E" if left == right else "D")


_libc = ctypes.CDLL(None, use_errno=True)
_SET_PDEATHSIG, _SET_NO_NEW_PRIVS = 1, 38
_CODES = {"E": 10, "U": 11, "D": 12}
_REPLIES = {code: verdict.encode() for verdict, code in _CODES.items()}


def _confine(seconds: float, parent: int, memory: int) -> None:
    """Limit this child for good. Exits if its parent is gone."""
    _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.close(0)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds) + 1,) * 2)


def compare(text: bytes, seconds: float, memory: int, ends: list[int]) -> bytes:
    """Decide in a child, killed after `seconds`. Ends this process if one of the descriptors `ends` reports."""
    parent, deadline = os.getpid(), time.monotonic() + seconds
    child = os.fork()
    if child == 0:
        code = _CODES["D"]
        try:
            _confine(seconds, parent, memory)
            code = _CODES[decide(text)]
        finally:
            os._exit(code)
    handle = os.pidfd_open(child)
    reported, _, _ = select.select([handle, *ends], [], [], max(0.0, deadline - time.monotonic()))
    if reported != [handle]:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(handle)
    if set(reported) & set(ends) or (reported and code == -signal.SIGKILL):  # somebody else killed it: start afresh
        os._exit(1)
    return _REPLIES.get(code, b"D") if reported else b"T"


_WARM = (
    ["+", ["^", ["f", "sin", ["v", "x"]], ["n", "2"]], ["^", ["f", "cos", ["v", "x"]], ["n", "2"]]],
    ["f", "exp", ["*", ["c", "pi"], ["c", "i"]]],
    ["f", "ln", ["^", ["n", "2"], ["f", "factorial", ["n", "1/3"]]]],
    ["f", "atan", ["*", ["^", ["n", "2"], ["n", "1/2"]], ["c", "e"]]],
)


def main(host: int) -> None:
    """Serve the process `host` on descriptor 0 until that closes or the host ends.

    The host is watched by a descriptor: a parent-death signal would come when the *thread* that started us ends.
    """
    watched = os.pidfd_open(host)
    if os.getppid() != host:
        return
    channel = socket.socket(fileno=0)
    requests = channel.makefile("rb")
    _libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 32)):
        resource.setrlimit(limit, (most, most))
    for tree in map(read, _WARM):
        numerical(tree, tree)
        prove(tree, read(["n", "1"]))
    gc.collect()
    gc.freeze()
    with open("/proc/self/statm", encoding="ascii") as sizes:  # noqa: PTH123
        memory = int(sizes.read().split()[0]) * resource.getpagesize() + MEMORY
    ends = [channel.fileno(), watched]
    if compare(b'[["n","1"],["n","1"]]', 5.0, memory, ends) != b"E":
        raise SystemExit("1 = 1 was not found equal")
    channel.sendall(READY)
    while watched not in select.select(ends, [], [])[0]:
        header = requests.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        length, seconds = HEADER.unpack(header)
        channel.sendall(compare(requests.read(length), seconds, memory, ends))


if __name__ == "__main__":
    main(int(sys.argv[1]))
