r"""Mathematical expressions: a bounded recursive-descent reader from cleaned LaTeX or plain maths to a small tree.

Nothing is evaluated but exact rational arithmetic within `MAX_BITS`. What the grammar does not cover raises `NotMath`,
what would grow past the bounds raises `TooLarge`. Products may be implicit (`2x`, `3\sqrt2`), division groups to the
left, `e`, `i` and `\pi` are constants, every other letter is a real variable.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

__all__ = [
    "MAX_BITS", "MAX_NESTING", "Const", "Node", "NotMath", "Num", "Op", "Sym", "TooLarge", "encode", "names", "read",
]  # fmt: skip

MAX_BITS = 1 << 16
MAX_NESTING = 32
_MAX_TOKENS = 1200
_MAX_HEIGHT = 80
"""Of a tree; `x!!!!` is one higher with each sign."""


class NotMath(ValueError):  # noqa: N818
    """The text is no expression of the grammar, or has no value (`1/0`)."""


class TooLarge(ValueError):  # noqa: N818
    """The expression is over the bounds on integers, exponents or nesting."""


@dataclass(frozen=True, slots=True)
class Num:
    """An exact rational."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Const:
    """`pi`, `e`, `i` or `inf`."""

    name: str


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable, subscript included: `x`, `x_1`, `\\alpha`."""

    name: str


@dataclass(frozen=True, slots=True)
class Op:
    """An operation: `add`, `mul`, `pow`, `root`, a function of `FUNCTIONS`, or `apply:f`, and its arguments."""

    op: str
    args: tuple[Node, ...]


Node: TypeAlias = Num | Const | Sym | Op

ZERO, MINUS = Num(Fraction(0)), Num(Fraction(-1))

FUNCTIONS = frozenset(
    """sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp abs floor ceil factorial
    binomial""".split()  # noqa: SIM905
)
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log"}
_CONSTANTS = {"e": "e", "i": "i", "pi": "pi", "\\pi": "pi"} | dict.fromkeys(["\\infty", "inf", "infinity", "oo"], "inf")
_GREEK = frozenset(
    """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda mu nu xi rho sigma tau phi varphi
    chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell""".split()  # noqa: SIM905
)


def add(*args: Node) -> Node:
    """A sum, its rational terms added up."""
    flat = [part for arg in args for part in (arg.args if isinstance(arg, Op) and arg.op == "add" else (arg,))]
    total = sum((part.value for part in flat if isinstance(part, Num)), Fraction(0))
    rest: list[Node] = [part for part in flat if not isinstance(part, Num)]
    if len(flat) > 1:
        _no_infinity(rest)
    if total or not rest:
        rest.append(_bounded(total))
    return rest[0] if len(rest) == 1 else Op("add", tuple(rest))


def mul(*args: Node) -> Node:
    """A product, its rational factors multiplied."""
    flat = [part for arg in args for part in (arg.args if isinstance(arg, Op) and arg.op == "mul" else (arg,))]
    total = Fraction(1)
    for part in flat:
        if isinstance(part, Num):
            total = _bounded(total * part.value).value
    rest: list[Node] = [part for part in flat if not isinstance(part, Num)]
    if Const("inf") in rest and (len(rest) > 1 or abs(total) != 1):
        raise NotMath("arithmetic with infinity")
    if not total or not rest:
        return Num(total)
    if total != 1:
        rest.insert(0, Num(total))
    return rest[0] if len(rest) == 1 else Op("mul", tuple(rest))


def power(base: Node, exponent: Node) -> Node:
    """A power; rational to an integer is worked out within the bounds."""
    _no_infinity([base, exponent])
    if isinstance(exponent, Num) and exponent.value == 1:
        return base
    if isinstance(base, Num) and isinstance(exponent, Num):
        value, top = base.value, exponent.value
        if value == 0:
            if top <= 0:
                raise NotMath("zero to the power of nothing or less")
            return ZERO
        if abs(value) == 1 and top.denominator == 1:
            return Num(value if top.numerator % 2 else Fraction(1))
        bits = max(value.numerator.bit_length(), value.denominator.bit_length())
        if bits * abs(top.numerator) > MAX_BITS:
            raise TooLarge("a power of too many digits")
        if top.denominator == 1:
            return Num(value**top.numerator)
    return Op("pow", (base, exponent))


def root(radicand: Node, index: Node) -> Node:
    """The principal square root, or the real root of odd index."""
    if not (isinstance(index, Num) and index.value.denominator == 1 and 2 <= index.value <= 64):
        return power(radicand, power(index, MINUS))
    _no_infinity([radicand])
    if isinstance(radicand, Num) and radicand.value >= 0:
        degree = int(index.value)
        top, bottom = (_exact_root(part, degree) for part in (radicand.value.numerator, radicand.value.denominator))
        if top is not None and bottom is not None:
            return Num(Fraction(top, bottom))
    return Op("root", (radicand, index))


def _exact_root(n: int, degree: int) -> int | None:
    if degree == 2:
        found = math.isqrt(n)
    elif n.bit_length() > 900:
        return None
    else:
        found = round(n ** (1 / degree))
    return found if found**degree == n else None


def call(name: str, args: tuple[Node, ...]) -> Node:
    """A function of `FUNCTIONS`; factorials, binomials, `abs`, `floor`, `ceil` of rationals are worked out."""
    _no_infinity(args)
    if all(isinstance(arg, Num) for arg in args):
        values = [arg.value for arg in args if isinstance(arg, Num)]
        whole = all(value.denominator == 1 and value >= 0 for value in values)
        if name == "abs":
            return Num(abs(values[0]))
        if name in {"floor", "ceil"}:
            return Num(Fraction((math.floor if name == "floor" else math.ceil)(values[0])))
        if name == "factorial":
            if not whole:
                raise NotMath("a factorial of no natural number")
            if values[0] > 2000:
                raise TooLarge("a factorial of too many digits")
            return Num(Fraction(math.factorial(int(values[0]))))
        if name == "binomial" and whole:
            n, k = int(values[0]), int(values[1])
            k = min(k, n - k) if k <= n else k
            if k <= n and k * n.bit_length() > MAX_BITS:
                raise TooLarge("a binomial coefficient of too many digits")
            return Num(Fraction(math.comb(n, k)))
    return Op(name, args)


def _bounded(value: Fraction) -> Num:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * MAX_BITS:
        raise TooLarge("a number of too many digits")
    return Num(value)


def _no_infinity(nodes: list[Node] | tuple[Node, ...]) -> None:
    if any(node == Const("inf") or (isinstance(node, Op) and Const("inf") in node.args) for node in nodes):
        raise NotMath("arithmetic with infinity")


def names(node: Node) -> frozenset[str]:
    """The variables of an expression."""
    if isinstance(node, Sym):
        return frozenset([node.name])
    if isinstance(node, Op):
        return frozenset().union(*(names(arg) for arg in node.args))
    return frozenset()


def encode(node: Node) -> list[Any]:
    """The tree as JSON data for `tir_gym.scoring.symbolic`: `["n", "p/q"]`, `["v", name]`, `["+", ...]`, and so on."""
    if isinstance(node, Num):
        return ["n", str(node.value)]
    if isinstance(node, Sym):
        return ["v", node.name]
    if isinstance(node, Const):
        return ["c", "oo" if node.name == "inf" else node.name]
    args = [encode(arg) for arg in node.args]
    if node.op == "root":
        inverse = ["n", str(1 / node.args[1].value)] if isinstance(node.args[1], Num) else ["^", args[1], ["n", "-1"]]
        if isinstance(node.args[0], Num) and node.args[0].value < 0 and inverse[1] != "1/2":
            return ["*", ["n", "-1"], ["^", ["n", str(-node.args[0].value)], inverse]]
        return ["^", args[0], inverse]
    if node.op.startswith("apply:"):
        raise NotMath("a function nobody defined")
    if node.op == "log":
        return ["f", "log", args[0], ["n", "10"]]
    signs = {"add": "+", "mul": "*", "pow": "^"}
    return [signs[node.op], *args] if node.op in signs else ["f", node.op.replace("arc", "a"), *args]


_TOKEN = re.compile(
    r"(?P<num>[0-9]++(?:\.[0-9]++)?|\.[0-9]++)|(?P<cmd>\\[A-Za-z]++)|(?P<letters>[A-Za-z]++)"
    r"|(?P<op>\\[{}|%]|[-+*/^_(){}\[\]|!%',=])|(?P<space>\s++)"
)


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotMath(f"{text[at]!r} is not part of the grammar")
        at = match.end()
        kind, part = match.lastgroup, match.group()
        if kind == "space":
            continue
        if kind == "letters" and part not in _ALIASES and part not in FUNCTIONS and part not in {"sqrt", "pi", "inf"}:
            if len(part) > 3:
                raise NotMath("a word")
            found.extend(part)
        else:
            found.append(part)
    if len(found) > _MAX_TOKENS:
        raise TooLarge("too many tokens")
    return found


def read(text: str) -> Node:
    """The expression written in the whole of `text`. Raises `NotMath` or `TooLarge`; time is linear in the text."""
    reader = _Reader(_tokens(text))
    node = reader.sum()
    if reader.at != len(reader.tokens):
        raise NotMath(f"{reader.peek()!r} is left over")
    row: list[Node] = [node]
    for _ in range(_MAX_HEIGHT):
        row = [arg for one in row if isinstance(one, Op) for arg in one.args]
        if not row:
            return node
    raise TooLarge("a tree too high to walk")


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.bars = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise NotMath(f"{expected or 'more'} expected")
        self.at += 1
        return token

    def sum(self) -> Node:
        terms = [self._signed()]
        while self.peek() in {"+", "-"}:
            sign = self.take()
            term = self.product()
            terms.append(mul(MINUS, term) if sign == "-" else term)
        return add(*terms)

    def _signed(self) -> Node:
        if self.peek() in {"+", "-"}:
            return mul(MINUS, self.product()) if self.take() == "-" else self.product()
        return self.product()

    def product(self) -> Node:
        factors = [self.power()]
        while True:
            token = self.peek()
            if token in {"*", "\\cdot", "\\times"}:
                self.take()
                factors.append(self.power())
            elif token in {"/", "\\div"}:
                self.take()
                factors.append(power(self.power(), MINUS))
            elif self._starts(token):
                if _number(token) and _number(self.tokens[self.at - 1]):
                    raise NotMath("two numbers side by side")
                factors.append(self.power())
            else:
                return mul(*factors)

    def _starts(self, token: str) -> bool:
        if token == "|":  # noqa: S105
            return self.bars == 0
        return bool(token) and (token[0].isalnum() or token[0] in ".([{" or (token[0] == "\\" and token in _ATOMS))

    def power(self) -> Node:
        node = self.atom()
        for _ in range(MAX_NESTING):
            token = self.peek()
            if token == "!":  # noqa: S105
                self.take()
                node = call("factorial", (node,))
            elif token in {"%", "\\%"}:
                self.take()
                node = mul(node, Num(Fraction(1, 100)))
            elif token == "^":  # noqa: S105
                self.take()
                degree = self._degree()
                node = mul(node, Const("pi"), Num(Fraction(1, 180))) if degree else power(node, self.script())
            else:
                return node
        raise TooLarge("too many signs in a row")

    def _degree(self) -> bool:
        for shape in (["\\circ"], ["{", "\\circ", "}"]):
            if self.tokens[self.at : self.at + len(shape)] == shape:
                self.at += len(shape)
                return True
        return False

    def script(self) -> Node:
        if self.peek() == "-":
            self.take()
            return mul(MINUS, self.atom())
        return self.atom()

    def argument(self) -> Node:
        """A braced group or, as LaTeX has it, a single digit or letter."""
        token = self.peek()
        if _number(token):
            if len(token) == 1:
                return Num(Fraction(self.take()))
            raise NotMath("which digits belong to the argument is unclear")
        return self.atom()

    def fraction(self) -> Node:
        token = self.peek()
        if _number(token) and len(token) == 2 and token.isdigit():
            self.take()
            top, bottom = Num(Fraction(token[0])), Num(Fraction(token[1]))
            return mul(top, power(bottom, MINUS))
        top_node = self.argument()
        return mul(top_node, power(self.argument(), MINUS))

    def group(self, closing: str) -> Node:
        self.take()
        bars, self.bars = self.bars, 0
        node = self.sum()
        self.bars = bars
        self.take(closing)
        return node

    def atom(self) -> Node:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise TooLarge("nested too deep")
        node = self._atom()
        self.depth -= 1
        return node

    def _atom(self) -> Node:
        token = self.peek()
        if _number(token):
            return self._numeral()
        if token in _PAIRS:
            name, closing = _PAIRS[token]
            node = self.group(closing)
            return call(name, (node,)) if name else node
        if token == "|":  # noqa: S105
            self.take()
            self.bars += 1
            node = self.sum()
            self.bars -= 1
            self.take("|")
            return call("abs", (node,))
        self.take()
        if token == "\\frac":  # noqa: S105
            return self.fraction()
        if token == "\\surd":  # noqa: S105
            return root(self.atom(), Num(Fraction(2)))
        if token == "\\binom":  # noqa: S105
            return call("binomial", (self.argument(), self.argument()))
        if token in {"\\sqrt", "sqrt"}:
            index = self.group("]") if self.peek() == "[" else Num(Fraction(2))
            return root(self.argument(), index)
        plain = token.removeprefix("\\")
        plain = _ALIASES.get(plain, plain)
        if plain in FUNCTIONS:
            return self._function(plain)
        if token in _CONSTANTS:
            return Const(_CONSTANTS[token])
        if token.isalpha() or plain in _GREEK:
            return self._name(token)
        raise NotMath(f"{token!r} cannot stand here")

    def _numeral(self) -> Node:
        token = self.take()
        value = Fraction(token)
        if self.peek() == "_":
            raise NotMath("a numeral in another base")
        if self.peek() == "\\frac" and token.isdigit():
            self.take()
            part = self.fraction()
            if not (isinstance(part, Num) and 0 < part.value < 1):
                return mul(Num(value), part)
            return Num(value + part.value)
        return _bounded(value)

    def _function(self, name: str) -> Node:
        if name in {"binomial", "factorial", "floor", "ceil", "abs", "exp"} and self.peek() not in {"(", "{"}:
            raise NotMath(f"{name} of what?")
        base: Node | None = None
        exponent: Node | None = None
        while self.peek() in {"^", "_"}:
            mark = self.take()
            if mark == "^":
                exponent = self.script()
            else:
                base = self.argument() if name == "log" else None
        if exponent == MINUS:
            if name not in {"sin", "cos", "tan"}:
                raise NotMath("an inverse function")
            name, exponent = "arc" + name, None
        if self.peek() in _PAIRS:
            argument = self.power()
        else:
            factors = [self.power()]
            while self._starts(self.peek()) and self.peek().removeprefix("\\") not in FUNCTIONS | {"("}:
                factors.append(self.power())
            argument = mul(*factors)
        if name == "exp":
            node: Node = power(Const("e"), argument)
        elif base is not None:
            node = mul(call("ln", (argument,)), power(call("ln", (base,)), MINUS))
        else:
            node = call(name, (argument,))
        return node if exponent is None else power(node, exponent)

    def _name(self, token: str) -> Node:
        if self.peek() == "_":
            self.take()
            if self.peek() == "{":
                self.take()
                start = self.at
                while self.take() != "}":
                    pass
                token += "_" + "".join(self.tokens[start : self.at - 1])
            else:
                token += "_" + self.take()
        while self.peek() == "'":
            token += self.take()
        if token[0] in "fghFGH" and self.peek() == "(":
            return Op(f"apply:{token}", (self.group(")"),))
        return Sym(token)


_PAIRS = {
    "(": ("", ")"),
    "{": ("", "}"),
    "[": ("", "]"),
    "\\lfloor": ("floor", "\\rfloor"),
    "\\lceil": ("ceil", "\\rceil"),
}
_PAIRS |= {"\\lvert": ("abs", "\\rvert")}
_ATOMS = frozenset(
    ["\\frac", "\\sqrt", "\\surd", "\\binom", "\\pi", "\\lfloor", "\\lceil", "\\lvert"]
    + [f"\\{name}" for name in FUNCTIONS | _ALIASES.keys() | _GREEK]
)


def _number(token: str) -> bool:
    return bool(token) and (token[0].isdigit() or (token[0] == "." and len(token) > 1))
