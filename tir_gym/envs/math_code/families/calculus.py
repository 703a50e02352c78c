"""Areas, derivatives, extrema and integrals, all exact."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise
from math import factorial, lcm

from tir_gym.envs.math_code.families.base import EXACT, INTEGER, Family, Problem, listing, polynomial, size

__all__ = ["FAMILIES"]


def _product(roots: list[int]) -> list[int]:
    """Coefficients of (x - r_1)(x - r_2)..., highest power first."""
    coefficients = [1]
    for root in roots:
        coefficients = [a - root * b for a, b in zip([*coefficients, 0], [0, *coefficients], strict=True)]
    return coefficients


def _enclosed_area(rng: random.Random, level: int) -> Problem:
    reach = size(rng, level, 6, 36)
    meetings = sorted(rng.sample(range(-reach, reach + 1), 3 + (level - 1) // 4))
    scale = rng.choice((-3, -2, -1, 1, 2, 3))
    difference = [scale * c for c in _product(meetings)]
    lower = [*(rng.randrange(-9, 10) for _ in difference[1:]), rng.randrange(1, 10)]
    lower[0] += lower[0] == -scale
    upper = [a + b for a, b in zip(lower, difference, strict=True)]
    answer = Fraction(0)
    for left, right in pairwise(meetings):
        moved = _product([meeting - left for meeting in meetings])
        width = right - left
        piece = sum((Fraction(c * width**k, k) for k, c in enumerate(reversed(moved), 1)), Fraction(0))
        answer += abs(scale * piece)
    f, g = polynomial(upper), polynomial(lower)
    prompt = rng.choice(
        (
            (
                f"The graphs of f(x) = {f} and g(x) = {g} meet only at points whose x is an integer from {-reach} to "
                f"{reach}. What is the total area of all the regions enclosed between the two graphs?"
            ),
            (
                f"Two curves, y = {f} and y = {g}, cross exactly where x takes certain integer values between "
                f"{-reach} and {reach}. Find the area that lies between them from the first crossing to the last."
            ),
        )
    )
    program = f"""from fractions import Fraction
height = [a - b for a, b in zip({upper}, {lower})]
meetings = []
for x in range(-{reach}, {reach} + 1):
    value = 0
    for c in height:
        value = value * x + c
    if value == 0:
        meetings.append(x)
def integral(x):
    return sum(Fraction(c, k) * x**k for k, c in enumerate(reversed(height), 1))
sum(abs(integral(b) - integral(a)) for a, b in zip(meetings, meetings[1:]))"""
    return Problem(f"{prompt} {EXACT}", str(answer), program)


def _nth_derivative(rng: random.Random, level: int) -> Problem:
    order = 3 + 2 * level + rng.randrange(2)
    a, b, c = (rng.choice((-4, -3, -2, -1, 1, 2, 3, 4)) for _ in range(3))
    answer = 0
    for k in range(order // 3 + 1):
        for j in range((order - 3 * k) // 2 + 1):
            i = order - 3 * k - 2 * j
            answer += a**i * b**j * c**k * (factorial(order) // (factorial(i) * factorial(j) * factorial(k)))
    inside = polynomial([c, b, a, 0])
    prompt = rng.choice(
        (
            f"Let f(x) = exp({inside}). What is the value of its derivative of order {order} at x = 0?",
            (
                f"The function exp({inside}) is differentiated {order} times and the result is evaluated at x = 0. "
                "Which integer comes out?"
            ),
        )
    )
    program = f"""from math import comb
inner = [{a}, {2 * b}, {6 * c}]
values = [1]
while len(values) <= {order}:
    n = len(values) - 1
    values.append(sum(comb(n, k) * d * values[n - k] for k, d in enumerate(inner) if k <= n))
values[-1]"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _extreme_values(rng: random.Random, level: int) -> Problem:
    reach = size(rng, level, 5, 35)
    simple = 2 + level // 4
    *turns, flat = rng.sample(range(-reach, reach + 1), simple + 1)
    turns.sort()
    sign = rng.choice((-1, 1))
    slope = [sign * c for c in _product([*turns, flat, flat])]
    powers = range(len(slope), 0, -1)
    scale = lcm(*powers)
    f = [scale * c // k for c, k in zip(slope, powers, strict=True)] + [rng.randrange(-99, 100)]
    answer = 0
    for turn in reversed(turns):
        answer -= sign * sum(c * turn**k for k, c in enumerate(reversed(f)))
        sign = -sign
    prompt = rng.choice(
        (
            (
                f"All zeros of the derivative of f(x) = {polynomial(f)} are integers from {-reach} to {reach}. Add the "
                "values of f at all its local maxima and subtract the values of f at all its local minima. What is "
                "the result?"
            ),
            (
                f"The curve y = {polynomial(f)} has horizontal tangents only where x is an integer between {-reach} "
                f"and {reach}. Let A be the sum of its local maximum values (the y of each local maximum) and B the "
                "sum of its local minimum values. Compute A - B."
            ),
        )
    )
    program = f"""from fractions import Fraction
f = {f}
slope = [c * k for c, k in zip(f, range(len(f) - 1, 0, -1))]
def value(coefficients, x):
    total = 0
    for c in coefficients:
        total = total * x + c
    return total
result = 0
for x in range(-{reach}, {reach} + 1):
    before, after = value(slope, x - Fraction(1, 2)), value(slope, x + Fraction(1, 2))
    if before > 0 > after:
        result += value(f, x)
    elif before < 0 < after:
        result -= value(f, x)
result"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _upper_envelope(rng: random.Random, level: int) -> Problem:
    reach = rng.randrange(12, 25)
    slopes = sorted(rng.sample(range(-12, 13), 4 + level))
    lines = [(m, rng.randrange(-5, 6) - reach * m * m // 24) for m in slopes]
    top: list[tuple[int, int]] = []
    turns: list[Fraction] = []
    for m, c in lines:
        turn = Fraction(-reach)
        while top:
            turn = Fraction(top[-1][1] - c, m - top[-1][0])
            if not turns or turn > turns[-1]:
                break
            top.pop()
            turns.pop()
        if top:
            turns.append(turn)
        top.append((m, c))
    low, high = Fraction(-reach), Fraction(reach)
    ends = [low, *(max(low, min(turn, high)) for turn in turns), high]
    answer = Fraction(0)
    for (m, c), (left, right) in zip(top, pairwise(ends), strict=True):
        answer += (right - left) * (m * (left + right) + 2 * c) / 2
    rng.shuffle(lines)
    terms = listing([polynomial([m, c]) or "0" for m, c in lines])
    prompt = rng.choice(
        (
            (
                f"For every real x let f(x) be the largest of the numbers {terms}. What is the integral of f from "
                f"{-reach} to {reach}?"
            ),
            (
                f"The graph of f is the upper envelope of the lines y = L(x) with L(x) one of {terms}: f(x) is the "
                f"greatest of these values at x. Integrate f over the interval from x = {-reach} to x = {reach}."
            ),
        )
    )
    program = f"""from fractions import Fraction
from itertools import combinations
lines = {lines}
ends = {{Fraction(-{reach}), Fraction({reach})}}
for (m, c), (n, d) in combinations(lines, 2):
    x = Fraction(d - c, m - n)
    if -{reach} < x < {reach}:
        ends.add(x)
ends = sorted(ends)
tops = [max(m * x + c for m, c in lines) for x in ends]
sum((ends[i + 1] - ends[i]) * (tops[i] + tops[i + 1]) / 2 for i in range(len(ends) - 1))"""
    return Problem(f"{prompt} {EXACT}", str(answer), program)


FAMILIES = (
    Family(
        "enclosed_area",
        "calculus",
        "The crossings of two quartics or quintics must be found and two or more pieces integrated exactly.",
        "known crossings, each piece expanded round its left end",
        _enclosed_area,
    ),
    Family(
        "nth_derivative",
        "calculus",
        "A derivative of order fifteen or more: dozens of multinomial terms with over ten digits.",
        "the coefficients of three exponential series",
        _nth_derivative,
    ),
    Family(
        "extreme_values",
        "calculus",
        "Polynomials of degree six and seven with large coefficients: turning points are to be found and told apart.",
        "known zeros of the derivative, signs that alternate",
        _extreme_values,
    ),
    Family(
        "upper_envelope",
        "calculus",
        "Ten or more lines: which of dozens of intersections lie on the envelope, and the exact area of each piece.",
        "the envelope built line by line in order of slope",
        _upper_envelope,
    ),
)
