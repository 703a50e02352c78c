r"""Exact comparison of expressions in this process: quotients of polynomials over roots, constants and functions.

An expression becomes a numerator and a denominator, polynomials with rational coefficients over *generators*:
variables, `\pi`, `e`, `i`, roots of primes and of other expressions, powers and functions by the form of their
arguments. Roots and `i` are reduced (`\sqrt2\sqrt3 = \sqrt6`, `i^2 = -1`), so a cross product of zero proves equality
wherever both sides are defined. One that is not zero proves inequality where the generators are independent. Work is
bounded: `TooBig` says where this module does not reach.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

from tir_gym.scoring.expression import Const, Node, Num, Op, Sym

__all__ = ["Quotient", "TooBig", "equal", "polynomial", "quotient", "scaled"]

MAX_TERMS = 160
MAX_WORK = 6000
MAX_POWER = 40
MAX_BITS = 1 << 17

Monomial: TypeAlias = tuple[tuple[str, int], ...]
Polynomial: TypeAlias = dict[Monomial, Fraction]
Quotient: TypeAlias = tuple[Polynomial, Polynomial]
_ONE: Polynomial = {(): Fraction(1)}
_SURE_PRIMES = 1_000_000
"""What is left above this after division by all primes below 1,000 need not be a prime."""


class TooBig(ArithmeticError):  # noqa: N818
    """The bounds of this module do not suffice."""


class _Forms:
    """The generators met so far: name -> (index, radicand) of a root, None of any other; and the work done."""

    def __init__(self) -> None:
        self.roots: dict[str, tuple[int, Polynomial]] = {}
        self.opaque = False
        self.work = 0

    def spend(self, amount: int) -> None:
        self.work += amount
        if self.work > MAX_WORK:
            raise TooBig

    def add(self, left: Polynomial, right: Polynomial) -> Polynomial:
        self.spend(len(right))
        total = dict(left)
        for monomial, coefficient in right.items():
            value = total.get(monomial, 0) + coefficient
            if value:
                total[monomial] = value
            else:
                total.pop(monomial, None)
        if len(total) > MAX_TERMS:
            raise TooBig
        return total

    def multiply(self, left: Polynomial, right: Polynomial) -> Polynomial:
        total: Polynomial = {}
        for one, first in left.items():
            self.spend(len(right))
            for two, second in right.items():
                value = first * second
                if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
                    raise TooBig
                total = self.add(total, self._reduced(one, two, value))
        return total

    def _reduced(self, one: Monomial, two: Monomial, value: Fraction) -> Polynomial:
        powers = dict(one)
        for name, exponent in two:
            powers[name] = powers.get(name, 0) + exponent
        extra: list[Polynomial] = []
        for name in list(powers):
            if name == "i" and powers[name] >= 2:
                turns, powers[name] = divmod(powers[name], 2)
                value *= (-1) ** turns
            elif name in self.roots:
                index, radicand = self.roots[name]
                turns, powers[name] = divmod(powers[name], index)
                extra += [radicand] * turns
        form: Polynomial = {tuple(sorted((name, n) for name, n in powers.items() if n)): value}
        for factor in extra:
            form = self.multiply(form, factor)
        return form

    def quotient(self, node: Node) -> Quotient:
        if isinstance(node, Num):
            return ({(): node.value} if node.value else {}), _ONE
        if isinstance(node, Sym):
            return {((f"v:{node.name}", 1),): Fraction(1)}, _ONE
        if isinstance(node, Const):
            if node.name == "inf":
                raise TooBig
            return {((node.name, 1),): Fraction(1)}, _ONE
        if node.op == "add":
            top: Polynomial = {}
            bottom = _ONE
            for arg in node.args:
                other_top, other_bottom = self.quotient(arg)
                if bottom == other_bottom:
                    top = self.add(top, other_top)
                else:
                    top = self.add(self.multiply(top, other_bottom), self.multiply(other_top, bottom))
                    bottom = self.multiply(bottom, other_bottom)
            return top, bottom
        if node.op == "mul":
            top, bottom = _ONE, _ONE
            for arg in node.args:
                other_top, other_bottom = self.quotient(arg)
                top, bottom = self.multiply(top, other_top), self.multiply(bottom, other_bottom)
            return top, bottom
        if node.op == "pow":
            return self._power(node.args[0], node.args[1])
        if node.op == "root" and isinstance(node.args[1], Num):
            return self._root(node.args[0], int(node.args[1].value))
        return self._generator(f"{node.op}({','.join(self._key(arg) for arg in node.args)})")

    def _generator(self, name: str, exponent: int = 1) -> Quotient:
        self.opaque = True
        if len(name) > 4000:
            raise TooBig
        return {((name, exponent),): Fraction(1)}, _ONE

    def _key(self, node: Node) -> str:
        top, bottom = self.quotient(node)
        lead = bottom[min(bottom)] if bottom else Fraction(1)
        parts = [sorted((m, c / lead) for m, c in part.items()) for part in (top, bottom)]
        self.spend(8 * (len(top) + len(bottom)))
        return ";".join(",".join(f"{c}*{m}" for m, c in part) for part in parts)

    def _power(self, base: Node, exponent: Node) -> Quotient:
        if isinstance(exponent, Num):
            if exponent.value.denominator == 1:
                return self._whole(self.quotient(base), int(exponent.value))
            if isinstance(base, Num) and base.value < 0 and exponent.value.denominator != 2:
                return self._generator(f"pow({base.value},{exponent.value})")
            if exponent.value.denominator <= 64:
                return self._whole(self._root(base, exponent.value.denominator), exponent.value.numerator)
        terms = exponent.args if isinstance(exponent, Op) and exponent.op == "add" else (exponent,)
        result: Quotient = _ONE, _ONE
        bases = _primes(base.value) if isinstance(base, Num) else None
        for part, times in bases.items() if bases else [(base, 1)]:
            for term in terms:
                factor = self._term(part, term, times)
                result = self.multiply(result[0], factor[0]), self.multiply(result[1], factor[1])
        return result

    def _term(self, base: Node, term: Node, times: int) -> Quotient:
        """`base` to the power `term * times`, the rational factor of the exponent split off."""
        scale, rest = Fraction(times), term
        if isinstance(term, Num):
            return self._power(base, Num(term.value * times))
        if isinstance(term, Op) and term.op == "mul" and isinstance(term.args[0], Num):
            scale *= term.args[0].value
            rest = term.args[1] if len(term.args) == 2 else Op("mul", term.args[1:])
        name = f"pow({self._key(base)})({self._key(rest)})/{scale.denominator}"
        return self._whole(self._generator(name), scale.numerator)

    def _whole(self, base: Quotient, exponent: int) -> Quotient:
        if exponent < 0:
            base, exponent = base[::-1], -exponent
            if not base[1]:
                raise ZeroDivisionError
        if exponent > MAX_POWER and (len(base[0]) > 1 or len(base[1]) > 1):
            raise TooBig
        result: Quotient = _ONE, _ONE
        while exponent:
            if exponent & 1:
                result = self.multiply(result[0], base[0]), self.multiply(result[1], base[1])
            exponent >>= 1
            if exponent:
                base = self.multiply(base[0], base[0]), self.multiply(base[1], base[1])
        return result

    def _root(self, node: Node, index: int) -> Quotient:
        top, bottom = self.quotient(node)
        if not bottom:
            raise ZeroDivisionError
        # a root of top/bottom is the root of top*bottom^(n-1), over bottom: right wherever the bottom is positive
        if len(bottom) > 1 or index > 6:
            return self._generator(f"root{index}({self._key(node)})")
        for _ in range(index - 1):
            top = self.multiply(top, bottom)
        if not top:
            return {}, _ONE
        scale = abs(min(top.values(), key=abs)) if len(top) > 1 else abs(next(iter(top.values())))
        whole = scale.numerator * scale.denominator ** (index - 1)
        result: Polynomial = {(): Fraction(1, scale.denominator)}
        for prime, times in _factors(whole).items():
            turns, left = divmod(times, index)
            self.opaque |= prime > _SURE_PRIMES
            result = self.multiply(result, {(): Fraction(prime**turns)})
            if left:
                name = f"root{index}:{prime}"
                self.roots[name] = index, {(): Fraction(prime)}
                result = self.multiply(result, {((name, left),): Fraction(1)})
        rest = {monomial: coefficient / scale for monomial, coefficient in top.items()}
        if rest == {(): Fraction(-1)}:
            if index == 2:
                return self.multiply(result, {(("i", 1),): Fraction(1)}), bottom
            if index % 2 == 0:
                raise TooBig
            return self.multiply(result, {(): Fraction(-1)}), bottom
        if rest != _ONE:
            self.opaque = True
            name = f"root{index}({sorted(rest.items())})"
            self.roots[name] = index, rest
            result = self.multiply(result, {((name, 1),): Fraction(1)})
        return result, bottom

    def independent(self, form: Polynomial) -> bool:
        """Whether `form`, reduced and not empty, cannot vanish: variables, square roots of primes, `i`, pi or e."""
        used = {name for monomial in form for name, _ in monomial}
        kinds = {name.partition(":")[0] for name in used if name.startswith("root")}
        return not self.opaque and len(kinds) <= 1 and not {"pi", "e"} <= used and (not kinds or kinds == {"root2"})


def _factors(value: int) -> dict[int, int]:
    """The prime factors below 1,000 with their multiplicities; what is left counts as one."""
    if value.bit_length() > 4000:
        raise TooBig
    found: dict[int, int] = {}
    prime = 2
    while prime < 1000 and prime * prime <= value:
        while value % prime == 0:
            found[prime] = found.get(prime, 0) + 1
            value //= prime
        prime += 1 if prime == 2 else 2
    if value > 1:
        found[value] = found.get(value, 0) + 1
    return found


def _primes(value: Fraction) -> dict[Node, int] | None:
    if value <= 0 or value == 1:
        return None
    top, bottom = _factors(value.numerator), _factors(value.denominator)
    return {Num(Fraction(p)): n for p, n in (*top.items(), *((p, -n) for p, n in bottom.items()))}


def quotient(node: Node) -> Quotient:
    """Numerator and denominator of one expression. Raises `TooBig`, or `ZeroDivisionError` where it has no value."""
    return _Forms().quotient(node)


def polynomial(node: Node) -> Polynomial | None:
    """The polynomial over variables that an expression is, None where it is none or too big."""
    forms = _Forms()
    try:
        top, bottom = forms.quotient(node)
    except (TooBig, ZeroDivisionError, ValueError):  # ValueError: too many digits to print
        return None
    if forms.opaque or list(bottom) != [()]:
        return None
    return {monomial: coefficient / bottom[()] for monomial, coefficient in top.items()}


def equal(left: Node, right: Node) -> bool | None:
    """Whether two expressions are equal wherever both are defined; None where this module cannot say."""
    forms = _Forms()
    try:
        one, two = forms.quotient(left), forms.quotient(right)
        if not one[1] or not two[1]:
            return None
        crossed = forms.multiply(two[0], one[1])
        difference = forms.add(
            forms.multiply(one[0], two[1]), {monomial: -value for monomial, value in crossed.items()}
        )
    except (TooBig, ZeroDivisionError, ValueError):  # ValueError: too many digits to print
        return None
    if not difference:
        return True
    return False if forms.independent(difference) else None


def scaled(left: Node, right: Node) -> bool | None:
    """Whether the numerators of two expressions agree up to a rational factor: whether `left = 0` is `right = 0`."""
    forms = _Forms()
    try:
        one, two = forms.quotient(left)[0], forms.quotient(right)[0]
    except (TooBig, ZeroDivisionError, ValueError):  # ValueError: too many digits to print
        return None
    if not one or not two or one.keys() != two.keys():
        return False
    return len({one[monomial] / two[monomial] for monomial in one}) == 1
