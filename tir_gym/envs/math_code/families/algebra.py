"""Polynomials: their roots, powers, values and resultants."""

from __future__ import annotations

import random

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, polynomial
from tir_gym.envs.math_code.families.linear_algebra import bareiss

__all__ = ["FAMILIES"]


def _root_powers(rng: random.Random, level: int) -> Problem:
    degree = 2 + (level + 2) // 4
    power = 4 + 2 * level + rng.randrange(2)
    nonzero = (-7, -6, -5, -4, -3, -2, 2, 3, 4, 5, 6, 7)
    tail = [rng.choice(nonzero) for _ in range(degree)]
    sums: list[int] = [degree]
    for k in range(1, power + 1):
        total = -sum(tail[i - 1] * sums[k - i] for i in range(1, min(k, degree + 1)))
        sums.append(total - (k * tail[k - 1] if k <= degree else 0))
    text = polynomial([1, *tail])
    prompt = rng.choice(
        (
            (
                f"The complex roots of {text}, counted with multiplicity, are each raised to the power {power}. "
                "What is the sum of the results?"
            ),
            (
                f"Let r_1, ..., r_{degree} be all complex zeros (with multiplicity) of p(x) = {text}. Compute "
                f"r_1^{power} + ... + r_{degree}^{power}."
            ),
        )
    )
    program = f"""tail = {tail}
size = len(tail)
companion = [[-c for c in tail]] + [[int(i == j) for j in range(size)] for i in range(size - 1)]
power = [[int(i == j) for j in range(size)] for i in range(size)]
for step in range({power}):
    product = [[0] * size for row in power]
    for i in range(size):
        for j in range(size):
            for k in range(size):
                product[i][j] += power[i][k] * companion[k][j]
    power = product
sum(power[i][i] for i in range(size))"""
    return Problem(f"{prompt} {INTEGER}", str(sums[power]), program)


def _expansion(rng: random.Random, level: int) -> Problem:
    degree = 3
    exponent = 2 + 2 * level + rng.randrange(2)
    coefficients = [rng.randrange(1, 8) for _ in range(degree + 1)]
    wanted = degree * exponent // 2 + rng.randrange(-2, 3)
    bits = 4 + exponent * sum(coefficients).bit_length()
    packed = sum(value << (bits * i) for i, value in enumerate(coefficients)) ** exponent
    answer = (packed >> (bits * wanted)) & ((1 << bits) - 1)
    base = polynomial(coefficients[::-1])
    prompt = rng.choice(
        (
            f"What is the coefficient of x^{wanted} in the expansion of ({base})^{exponent}?",
            (
                f"The polynomial {base} is raised to the power {exponent} and multiplied out. Which number stands "
                f"before x^{wanted}?"
            ),
        )
    )
    program = f"""base = {coefficients}
result = [1]
for factor in range({exponent}):
    longer = [0] * (len(result) + len(base) - 1)
    for i, a in enumerate(result):
        for j, b in enumerate(base):
            longer[i + j] += a * b
    result = longer
result[{wanted}]"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _missing_value(rng: random.Random, level: int) -> Problem:
    degree = 1 + level
    coefficients = [rng.randrange(-6, 7) for _ in range(degree + 1)]
    places = rng.sample(range(-degree - 2, degree + 3), degree + 1)
    wanted = rng.choice((-1, 1)) * rng.randrange(degree + 3, degree + 8)
    points = []
    for x in [*places, wanted]:
        value = 0
        for c in coefficients:
            value = value * x + c
        points.append((x, value))
    _, answer = points.pop()
    known = "; ".join(f"p({x}) = {y}" for x, y in points)
    prompt = rng.choice(
        (
            f"A polynomial p of degree at most {degree} has the values {known}. What is p({wanted})?",
            (
                f"Exactly one polynomial p(x) of degree {degree} or less fits all of these: {known}. Find its value at "
                f"x = {wanted}."
            ),
        )
    )
    program = f"""from fractions import Fraction
points = {points}
row = [Fraction(y) for x, y in points]
for width in range(1, len(points)):
    for i in range(len(points) - width):
        left, right = points[i][0], points[i + width][0]
        row[i] = (({wanted} - left) * row[i + 1] - ({wanted} - right) * row[i]) / (right - left)
int(row[0])"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _root_product(rng: random.Random, level: int) -> Problem:
    degree, other = 2 + level // 2, 2 + (level - 1) // 2
    f = [1, *(rng.randrange(-5, 6) for _ in range(degree - 1)), rng.choice((-5, -3, -2, 2, 3, 5))]
    g = [rng.randrange(1, 4), *(rng.randrange(-5, 6) for _ in range(other - 1)), rng.choice((-4, -1, 1, 4))]
    sylvester = [[0] * i + f + [0] * (other - 1 - i) for i in range(other)]
    sylvester += [[0] * i + g + [0] * (degree - 1 - i) for i in range(degree)]
    prompt = rng.choice(
        (
            (
                f"Let r_1, ..., r_{degree} be all complex roots, with multiplicity, of {polynomial(f)}, and let g(x) = "
                f"{polynomial(g)}. What is the product g(r_1) * ... * g(r_{degree})?"
            ),
            (
                f"The polynomial {polynomial(g)} is evaluated at every complex zero of {polynomial(f)} (a multiple "
                "zero counts as often as its multiplicity), and the values are multiplied. Which integer results?"
            ),
        )
    )
    program = f"""from fractions import Fraction
def resultant(f, g):
    if len(g) == 1:
        return g[0] ** (len(f) - 1)
    rest = f
    while len(rest) >= len(g):
        factor = rest[0] / g[0]
        padded = g + [0] * (len(rest) - len(g))
        rest = [a - factor * b for a, b in zip(rest, padded)][1:]
    while rest and rest[0] == 0:
        rest = rest[1:]
    if not rest:
        return 0
    sign = -1 if len(f) % 2 == len(g) % 2 == 0 else 1
    return sign * g[0] ** (len(f) - len(rest)) * resultant(g, rest)
int(resultant([Fraction(c) for c in {f}], [Fraction(c) for c in {g}]))"""
    return Problem(f"{prompt} {INTEGER}", str(bareiss(sylvester)), program)


FAMILIES = (
    Family(
        "root_powers",
        "algebra",
        "The roots are irrational; sixteen or more steps of Newton's identities with growing numbers are needed.",
        "Newton's identities",
        _root_powers,
    ),
    Family(
        "expansion",
        "algebra",
        "A middle coefficient of a power above the thirteenth is a sum of many multinomial terms with over ten digits.",
        "one power of a large integer whose digits are the coefficients",
        _expansion,
    ),
    Family(
        "missing_value",
        "algebra",
        "Interpolation through eight to twelve scattered points with values of up to a dozen digits.",
        "the polynomial chosen first",
        _missing_value,
    ),
    Family(
        "root_product",
        "algebra",
        "The roots are irrational: a determinant of order nine or more, or a long chain of polynomial divisions.",
        "the determinant of Sylvester's matrix",
        _root_product,
    ),
)
