"""Linear algebra and polynomials with integers."""

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


def _determinant(rng: random.Random, level: int) -> Problem:
    order = 3 + (level - 1) // 2
    bound = 6 + 3 * level
    matrix = [[rng.randrange(-bound, bound + 1) for _ in range(order)] for _ in range(order)]
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
        minor = [row[:j] + row[j + 1:] for row in rows[1:]]
        total += (-1) ** j * head * det(minor)
    return total
det({matrix})"""
    return Problem(f"{prompt} {INTEGER}", str(bareiss(matrix)), program)


def _baskets(rng: random.Random, level: int) -> Problem:
    kinds = 2 + level // 2
    goods = pick(rng, "goods", kinds)
    prices = [rng.randrange(12, 400) for _ in goods]
    baskets: list[list[int]] = []
    for i in range(kinds):
        basket = [rng.randrange(4) for _ in goods]
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


def _polynomial(coefficients: list[int]) -> str:
    """`x^3 + 2x^2 - 5` from coefficients with the highest power first."""
    text = ""
    degree = len(coefficients) - 1
    for i, value in enumerate(coefficients):
        power = degree - i
        if value:
            size_ = "" if abs(value) == 1 and power else str(abs(value))
            variable = "" if power == 0 else "x" if power == 1 else f"x^{power}"
            sign = "-" if value < 0 else "+"
            text += f" {sign} {size_}{variable}"
    return text.removeprefix(" + ").replace(" - ", "-", 1) if text.startswith(" - ") else text.removeprefix(" + ")


def _root_powers(rng: random.Random, level: int) -> Problem:
    degree = 2 + (level + 2) // 4
    power = 4 + 2 * level + rng.randrange(2)
    nonzero = (-5, -4, -3, -2, 2, 3, 4, 5)
    tail = [rng.choice(nonzero) for _ in range(degree)]
    sums: list[int] = [degree]
    for k in range(1, power + 1):
        total = -sum(tail[i - 1] * sums[k - i] for i in range(1, min(k, degree + 1)))
        sums.append(total - (k * tail[k - 1] if k <= degree else 0))
    polynomial = _polynomial([1, *tail])
    prompt = rng.choice(
        (
            (
                f"The complex roots of {polynomial}, counted with multiplicity, are each raised to the power {power}. "
                "What is the sum of the results?"
            ),
            (
                f"Let r_1, ..., r_{degree} be all complex zeros (with multiplicity) of p(x) = {polynomial}. Compute "
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
    base = _polynomial(coefficients[::-1])
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


def _horner_range(rng: random.Random, level: int) -> Problem:
    degree = 2 + rng.randrange(3)
    coefficients = [rng.randrange(1, 10), *(rng.randrange(-9, 10) for _ in range(degree))]
    start = rng.randrange(-20, 20)
    count = size(rng, level, 20, 1020)
    stop = start + count - 1
    answer = sum(
        c * (_power_sum(stop, degree - i) - _power_sum(start - 1, degree - i)) for i, c in enumerate(coefficients)
    )
    prompt = rng.choice(
        (
            (
                f"Let p(x) = {_polynomial(coefficients)}. Compute p({start}) + p({start + 1}) + ... + p({stop}), the "
                "sum over all integers in that range."
            ),
            (
                f"A machine prints the value of {_polynomial(coefficients)} for every integer x from {start} to "
                f"{stop} inclusive. What is the sum of the printed values?"
            ),
        )
    )
    program = f"""total = 0
for x in range({start}, {stop} + 1):
    value = 0
    for c in {coefficients}:
        value = value * x + c
    total += value
total"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _power_sum(n: int, power: int) -> int:
    """1^power + ... + n^power as a polynomial in n; for negative n its continuation, so differences are range sums."""
    if power == 0:
        return n
    if power == 1:
        return n * (n + 1) // 2
    if power == 2:
        return n * (n + 1) * (2 * n + 1) // 6
    if power == 3:
        return (n * (n + 1) // 2) ** 2
    return n * (n + 1) * (2 * n + 1) * (3 * n * n + 3 * n - 1) // 30


FAMILIES = (
    Family(
        "determinant",
        "linear algebra",
        "A 5 by 5 to 7 by 7 determinant with two-digit entries has up to 5,040 signed products.",
        _determinant,
    ),
    Family(
        "baskets",
        "linear algebra",
        "A system of five to seven equations in as many unknown prices needs exact elimination.",
        _baskets,
    ),
    Family(
        "root_powers",
        "algebra",
        "The roots are irrational; fourteen or more steps of Newton's identities with growing numbers are needed.",
        _root_powers,
    ),
    Family(
        "expansion",
        "algebra",
        "A middle coefficient of a power above the twelfth is a sum of many multinomial terms with over ten digits.",
        _expansion,
    ),
    Family(
        "polynomial_sum",
        "algebra",
        "Hundreds of values of a polynomial, or power-sum formulas up to the fourth degree with large arguments.",
        _horner_range,
    ),
)
