"""Lattice points, covered areas and hulls in the plane."""

from __future__ import annotations

import random
from itertools import pairwise
from math import isqrt

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, size

__all__ = ["FAMILIES"]

Point = tuple[int, int]


def _field_and_pond(rng: random.Random, level: int) -> Problem:
    span = size(rng, level, 18, 78)
    third = span // 3
    left = (rng.randrange(third), rng.randrange(third))
    right = (span - rng.randrange(third), rng.randrange(third))
    top = (third + rng.randrange(third), span - rng.randrange(third))
    corners = [left, right, top]
    middle = (third + rng.randrange(third), third // 2 + rng.randrange(third))
    area = rng.randrange(span, span * span // 10)
    sides = list(zip(corners, [right, top, left], strict=True))
    answer = 0
    for x in range(span + 1):
        low, high = 0, span
        for (a, b), (c, d) in sides:
            offset = (d - b) * (x - a)
            if c > a:
                low = max(low, b + offset // (c - a) + 1)
            elif c < a:
                high = min(high, b - offset // (a - c) - 1)
            elif offset >= 0:
                high = -1
        reach = area - (x - middle[0]) ** 2
        half = isqrt(reach) if reach >= 0 else -1
        wet = min(high, middle[1] + half) - max(low, middle[1] - half) + 1
        answer += max(0, high - low + 1) - (max(0, wet) if half >= 0 else 0)
    rng.shuffle(corners)
    one, two, three = corners
    prompt = rng.choice(
        (
            (
                f"How many points with integer coordinates lie strictly inside the triangle with corners {one}, {two} "
                f"and {three} and at a distance of more than sqrt({area}) from the point {middle}?"
            ),
            (
                f"A triangular field has its corner posts at {one}, {two} and {three} on a square grid. A round pond "
                f"covers all points (x, y) with (x - {middle[0]})^2 + (y - {middle[1]})^2 <= {area}. A tree stands at "
                "every grid point strictly inside the field (not on its border) that is not covered by the pond. How "
                "many trees are there?"
            ),
        )
    )
    program = f"""corners = {corners}
trees = 0
for x in range({span} + 1):
    for y in range({span} + 1):
        turns = []
        for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1]):
            turns.append((c - a) * (y - b) - (d - b) * (x - a))
        if min(turns) > 0 or max(turns) < 0:
            trees += (x - {middle[0]}) ** 2 + (y - {middle[1]}) ** 2 > {area}
trees"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _ellipse_points(rng: random.Random, level: int) -> Problem:
    a, b = rng.randrange(2, 7), rng.randrange(2, 7)
    reach = size(rng, level, 12, 62)
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


def _double_cover(rng: random.Random, level: int) -> Problem:
    side = size(rng, level, 14, 74)
    sheets = []
    for _ in range(4 + level // 3):
        left, bottom = rng.randrange(side // 2), rng.randrange(side // 2)
        sheets.append(
            (left, bottom, left + side // 4 + rng.randrange(side // 4), bottom + side // 4 + rng.randrange(side // 4))
        )
    columns = sorted({x for left, _, right, _ in sheets for x in (left, right)})
    rows = sorted({y for _, bottom, _, top in sheets for y in (bottom, top)})
    answer = 0
    for x, next_x in pairwise(columns):
        here = [(bottom, top) for left, bottom, right, top in sheets if left <= x < right]
        height = sum(next_y - y for y, next_y in pairwise(rows) if sum(bottom <= y < top for bottom, top in here) >= 2)
        answer += (next_x - x) * height
    text = listing([f"({a}, {b})-({c}, {d})" for a, b, c, d in sheets])
    prompt = rng.choice(
        (
            (
                "Rectangular sheets with sides parallel to the axes are given by their lower left and upper right "
                f"corners: {text}. What is the area of the region that is covered by at least two sheets?"
            ),
            (
                f"Lights illuminate the rectangles {text} (opposite corners; sides parallel to the axes). How large is "
                "the area that is lit by two or more of them?"
            ),
        )
    )
    program = f"""layers = {{}}
for left, bottom, right, top in {sheets}:
    for x in range(left, right):
        for y in range(bottom, top):
            layers[x, y] = layers.get((x, y), 0) + 1
sum(1 for depth in layers.values() if depth > 1)"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _hull_area(rng: random.Random, level: int) -> Problem:
    border: list[Point] = []
    while not border:
        points = [(rng.randrange(-50, 51), rng.randrange(-50, 51)) for _ in range(5 + 2 * level)]
        border = _hull(sorted(points))
    answer = abs(sum(a * d - b * c for (a, b), (c, d) in zip(border, border[1:] + border[:1], strict=True)))
    prompt = rng.choice(
        (
            (
                f"A rubber band is stretched round nails at {listing(points)} and let go, so that it encloses them "
                "all. What is twice the area that it encloses?"
            ),
            (
                f"Let H be the convex hull of the points {listing(points)}. Compute the area of H and double it. "
                "Which integer results?"
            ),
        )
    )
    program = f"""from itertools import permutations
points = {points}
doubled = 0
for (a, b), (c, d) in permutations(points, 2):
    turns = [(c - a) * (y - b) - (d - b) * (x - a) for x, y in points]
    if min(turns) == 0:
        doubled += a * d - b * c
doubled"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _hull(points: list[Point]) -> list[Point]:
    """The corners of the convex hull in order (Andrew 1979), or none where a point lies on a side or occurs twice."""
    border: list[Point] = []
    for half in (points, points[::-1]):
        chain: list[Point] = []
        for x, y in half:
            while len(chain) > 1:
                (a, b), (c, d) = chain[-2:]
                turn = (c - a) * (y - b) - (d - b) * (x - a)
                if turn == 0:
                    return []
                if turn > 0:
                    break
                chain.pop()
            chain.append((x, y))
        border += chain[:-1]
    return border


FAMILIES = (
    Family(
        "field_and_pond",
        "geometry",
        "Thousands of points, or interval ends with square roots for dozens of columns.",
        "intervals of each column",
        _field_and_pond,
    ),
    Family(
        "ellipse_points",
        "geometry",
        "Dozens of exact integer square roots, or thousands of tests; there is no formula.",
        "integer square roots, column by column",
        _ellipse_points,
    ),
    Family(
        "double_cover",
        "geometry",
        "Six or seven rectangles overlap in dozens of pieces, or thousands of unit squares.",
        "strips between the sides' coordinates",
        _double_cover,
    ),
    Family(
        "hull_area",
        "geometry",
        "Seventeen or more points: the hull must be found by hundreds of orientation tests before its area.",
        "monotone chains (Andrew 1979)",
        _hull_area,
    ),
)
