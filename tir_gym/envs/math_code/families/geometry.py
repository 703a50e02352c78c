"""Counting lattice points in plane figures."""

from __future__ import annotations

import random
from math import gcd, isqrt

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, size

__all__ = ["FAMILIES"]


def _triangle_points(rng: random.Random, level: int) -> Problem:
    span = size(rng, level, 24, 134)
    third = span // 3
    left = (rng.randrange(third), rng.randrange(third))
    right = (span - rng.randrange(third), rng.randrange(third))
    top = (third + rng.randrange(third), span - rng.randrange(third))
    corners = [left, right, top]
    sides = list(zip(corners, [right, top, left], strict=True))
    doubled = abs(sum(a * d - c * b for (a, b), (c, d) in sides))
    border = sum(gcd(a - c, b - d) for (a, b), (c, d) in sides)
    answer = (doubled - border + 2) // 2
    rng.shuffle(corners)
    one, two, three = corners
    prompt = rng.choice(
        (
            (
                f"How many points with integer coordinates lie strictly inside the triangle with corners {one}, {two} "
                f"and {three}?"
            ),
            (
                f"A triangular field has its corner posts at {one}, {two} and {three} on a square grid. A tree stands "
                "at every grid point strictly inside the field (not on its border). How many trees are there?"
            ),
        )
    )
    program = f"""corners = {corners}
inside = 0
for x in range({span} + 1):
    for y in range({span} + 1):
        turns = []
        for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1]):
            turns.append((c - a) * (y - b) - (d - b) * (x - a))
        inside += min(turns) > 0 or max(turns) < 0
inside"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _ellipse_points(rng: random.Random, level: int) -> Problem:
    a, b = rng.randrange(2, 7), rng.randrange(2, 7)
    reach = size(rng, level, 15, 85)
    high = (a + b) * reach * reach // 2
    low = high // rng.randrange(3, 9)

    def within(bound: int) -> int:
        widest = isqrt(bound // a)
        return sum(2 * isqrt((bound - a * x * x) // b) + 1 for x in range(-widest, widest + 1))

    answer = within(high) - within(low - 1)
    prompt = rng.choice(
        (
            (
                f"How many pairs (x, y) of integers (negative ones and zero included) satisfy {low} <= {a}x^2 + "
                f"{b}y^2 <= {high}?"
            ),
            (
                "Lamps stand at all points of the plane with integer coordinates. The lamp at (x, y) is lit if "
                f"{a}x^2 + {b}y^2 is at least {low} and at most {high}. How many lamps are lit?"
            ),
        )
    )
    program = f"""from math import isqrt
lit = 0
for x in range(-isqrt({high} // {a}), isqrt({high} // {a}) + 1):
    for y in range(-isqrt({high} // {b}), isqrt({high} // {b}) + 1):
        if {low} <= {a} * x * x + {b} * y * y <= {high}:
            lit += 1
lit"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


FAMILIES = (
    Family(
        "triangle_points",
        "geometry",
        "Areas and border counts with three-digit coordinates and three gcds, or ten thousand orientation tests.",
        _triangle_points,
    ),
    Family(
        "ellipse_points",
        "geometry",
        "More than a hundred exact integer square roots, or over ten thousand tests; there is no formula.",
        _ellipse_points,
    ),
)
