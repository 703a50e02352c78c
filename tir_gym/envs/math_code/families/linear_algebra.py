"""Matrices and systems of equations with integers."""

from __future__ import annotations

import random

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, pick, size

__all__ = ["FAMILIES", "bareiss"]


def bareiss(matrix: list[list[int]]) -> int:
    """Determinant of an integer matrix by fraction-free elimination (Bareiss 1968)."""
    rows = [row[:] for row in matrix]
    sign, previous = 1, 1
    for k in range(len(rows) - 1):
        if rows[k][k] == 0:
            swap = next((i for i in range(k + 1, len(rows)) if rows[i][k]), None)
            if swap is None:
                return 0
            rows[k], rows[swap] = rows[swap], rows[k]
            sign = -sign
        for i in range(k + 1, len(rows)):
            for j in range(k + 1, len(rows)):
                rows[i][j] = (rows[i][j] * rows[k][k] - rows[i][k] * rows[k][j]) // previous
        previous = rows[k][k]
    return sign * rows[-1][-1]


def _nonzero(rng: random.Random, bound: int) -> int:
    return rng.choice((-1, 1)) * rng.randrange(1, bound + 1)


def _determinant(rng: random.Random, level: int) -> Problem:
    order = 3 + (level - 1) // 2
    bound = 6 + 3 * level
    matrix = [[_nonzero(rng, bound) for _ in range(order)] for _ in range(order)]
    if level % 2:
        for place in rng.sample(range(order), order - 2):
            matrix[0][place] = 0
    prompt = rng.choice(
        (
            f"Compute the determinant of the {order} by {order} matrix with rows {listing(matrix)}.",
            f"Let M be the square matrix whose rows, from top to bottom, are {listing(matrix)}. What is det(M)?",
        )
    )
    program = f"""def det(rows):
    if len(rows) == 1:
        return rows[0][0]
    total = 0
    for j, head in enumerate(rows[0]):
        if head:
            minor = [row[:j] + row[j + 1:] for row in rows[1:]]
            total += (-1) ** j * head * det(minor)
    return total
det({matrix})"""
    return Problem(f"{prompt} {INTEGER}", str(bareiss(matrix)), program)


def _baskets(rng: random.Random, level: int) -> Problem:
    kinds = 1 + level
    goods = pick(rng, "goods", kinds)
    prices = [rng.randrange(12, 400) for _ in goods]
    baskets: list[list[int]] = []
    for i in range(kinds):
        basket = [0] * kinds
        for other in rng.sample(range(kinds), min(kinds, 3)):
            basket[other] = rng.randrange(1, 4)
        basket[i] = 0
        basket[i] = sum(basket) + rng.randrange(1, 4)
        baskets.append(basket)
    rng.shuffle(baskets)
    totals = [sum(n * price for n, price in zip(basket, prices, strict=True)) for basket in baskets]
    order = [rng.randrange(1, 10) for _ in goods]

    def parcel(amounts: list[int]) -> str:
        return listing([f"{n} of {good}" for n, good in zip(amounts, goods, strict=True) if n])

    bills = "; ".join(f"{parcel(basket)}: {total} cents" for basket, total in zip(baskets, totals, strict=True))
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"A shop sells packets of {listing(goods)}, each kind at its own fixed price. These bills are known. "
                f"{bills}. How many cents does {name} pay for {parcel(order)}?"
            ),
            (
                f"{name} finds old receipts that list packets bought and the total paid. {bills}. Prices have not "
                f"changed. What does an order of {parcel(order)} cost, in cents?"
            ),
        )
    )
    program = f"""from fractions import Fraction
rows = [[Fraction(n) for n in basket] + [Fraction(total)] for basket, total in zip({baskets}, {totals})]
size = len(rows)
for k in range(size):
    pivot = next(i for i in range(k, size) if rows[i][k])
    rows[k], rows[pivot] = rows[pivot], rows[k]
    rows[k] = [value / rows[k][k] for value in rows[k]]
    for i in range(size):
        if i != k:
            factor = rows[i][k]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k])]
int(sum(n * row[-1] for n, row in zip({order}, rows)))"""
    answer = sum(n * price for n, price in zip(order, prices, strict=True))
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _minor_sum(rng: random.Random, level: int) -> Problem:
    order, rank = _MINORS[level - 1]
    matrix = [[rng.randrange(-9, 10) for _ in range(order)] for _ in range(order)]
    product, coefficient = matrix, sum(matrix[i][i] for i in range(order))
    for k in range(2, rank + 1):
        shifted = [[value - coefficient * (i == j) for j, value in enumerate(row)] for i, row in enumerate(product)]
        columns = list(zip(*shifted, strict=True))
        product = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in matrix]
        coefficient = sum(product[i][i] for i in range(order)) // k
    answer = (-1) ** (rank + 1) * coefficient
    prompt = rng.choice(
        (
            (
                f"A principal minor of order {rank} of a square matrix is the determinant that is left when only the "
                f"rows and the columns with the same {rank} indices are kept. What is the sum of all principal minors "
                f"of order {rank} of the matrix with rows {listing(matrix)}?"
            ),
            (
                f"Let A be the {order} by {order} matrix with rows {listing(matrix)} and p(x) = det(xI + A). What is "
                f"the coefficient of x^{order - rank} in p(x)?"
            ),
        )
    )
    program = f"""from itertools import combinations, permutations
matrix = {matrix}
total = 0
for kept in combinations(range({order}), {rank}):
    for images in permutations(kept):
        product = 1
        for i, j in zip(kept, images):
            product *= matrix[i][j]
        if sum(a > b for a, b in combinations(images, 2)) % 2:
            product = -product
        total += product
total"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


_MINORS = ((4, 2), (5, 2), (4, 3), (5, 3), (6, 3), (5, 4), (6, 4), (7, 4), (8, 4), (7, 5))
"""Order of the matrix and of the minors, by level."""


def _repeated_map(rng: random.Random, level: int) -> Problem:
    matrix = [[rng.randrange(1, 10) for _ in range(3)] for _ in range(3)]
    stocks = [rng.randrange(1, 100) for _ in range(3)]
    modulus = rng.randrange(1000, 100_000)
    times = size(rng, level, 40, 1540)
    vector, square, left = stocks, matrix, times
    while left:
        if left & 1:
            vector = [sum(a * b for a, b in zip(row, vector, strict=True)) % modulus for row in square]
        left >>= 1
        columns = list(zip(*square, strict=True))
        square = [[sum(a * b for a, b in zip(row, c, strict=True)) % modulus for c in columns] for row in square]
    rows = listing(matrix)
    prompt = rng.choice(
        (
            (
                f"Let A be the matrix with rows {rows} and v the column vector {stocks}. Every entry of A^{times} v is "
                f"reduced modulo {modulus} (to 0, ..., {modulus - 1}). What is the sum of the three remainders?"
            ),
            (
                f"Three registers hold {listing(stocks)}. In every round all three are replaced at once by the linear "
                f"combinations of the old ones with coefficients {rows}, each taken modulo {modulus}. What is the sum "
                f"of the registers after {times} rounds?"
            ),
        )
    )
    program = f"""matrix, vector = {matrix}, {stocks}
for turn in range({times}):
    vector = [sum(a * b for a, b in zip(row, vector)) % {modulus} for row in matrix]
sum(vector)"""
    return Problem(f"{prompt} {INTEGER}", str(sum(vector)), program)


FAMILIES = (
    Family(
        "determinant",
        "linear algebra",
        "A 5 by 5 to 7 by 7 determinant with two-digit entries has up to 5,040 signed products.",
        "fraction-free elimination (Bareiss 1968)",
        _determinant,
    ),
    Family(
        "baskets",
        "linear algebra",
        "A system of seven to eleven equations in as many unknown prices needs exact elimination.",
        "prices chosen first",
        _baskets,
    ),
    Family(
        "minor_sum",
        "linear algebra",
        "Five or more determinants of order four or five with signed entries, or a characteristic polynomial.",
        "the recurrence of Faddeev and Le Verrier",
        _minor_sum,
    ),
    Family(
        "repeated_map",
        "linear algebra",
        "Hundreds of matrix-vector products modulo a large number, or a dozen matrix squarings.",
        "repeated squaring",
        _repeated_map,
    ),
)
