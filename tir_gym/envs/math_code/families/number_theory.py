"""Divisibility, coprimality, congruences and digits."""

from __future__ import annotations

import random
from itertools import combinations
from math import lcm

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, pick, size

__all__ = ["FAMILIES"]


def _lockers(rng: random.Random, level: int) -> Problem:
    count = size(rng, level, 200, 9200)
    steps = sorted(rng.sample(range(12, 21), 3 + level // 4))
    names = pick(rng, "names", len(steps))
    answer = 0
    for width in range(1, len(steps) + 1):
        for chosen in combinations(steps, width):
            answer += (-1) ** (width + 1) * width * (count // lcm(*chosen))
    deeds = listing(
        [f"{name} marks every locker whose number is a multiple of {n}" for name, n in zip(names, steps, strict=True)]
    )
    prompt = rng.choice(
        (
            f"A corridor has lockers numbered from 1 to {count}. {deeds}. How many lockers are marked exactly once?",
            (
                f"{count} lockers stand in a row and are numbered from 1. {deeds}. Count the lockers that carry "
                "exactly one mark."
            ),
        )
    )
    program = f"""marks = [0] * {count}
for step in {steps}:
    for locker in range(step, {count} + 1, step):
        marks[locker - 1] += 1
marks.count(1)"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _common_factor(rng: random.Random, level: int) -> Problem:
    middle = 20 + 14 * level
    rows = middle + rng.randrange(-12, 13)
    columns = 2 * middle - rows + rng.randrange(5)
    factor = rng.randrange(1, 3)
    wide, high = rows // factor, columns // factor
    limit = min(wide, high)
    mobius = [0, 1] + [0] * limit
    for i in range(1, limit + 1):
        if mobius[i]:
            for multiple in range(2 * i, limit + 1, i):
                mobius[multiple] -= mobius[i]
    answer = sum(mobius[d] * (wide // d) * (high // d) for d in range(1, limit + 1))
    prompt = rng.choice(
        (
            (
                f"How many ordered pairs (a, b) of integers with 1 <= a <= {rows} and 1 <= b <= {columns} have "
                f"greatest common divisor exactly {factor}?"
            ),
            (
                f"A card shows an integer a from 1 to {rows} on its front and an integer b from 1 to {columns} on its "
                "back, and every combination is printed once. On how many cards is the greatest common divisor of a "
                f"and b equal to {factor}?"
            ),
        )
    )
    program = f"""from math import gcd
count = 0
for a in range(1, {rows} + 1):
    for b in range(1, {columns} + 1):
        count += gcd(a, b) == {factor}
count"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


_SMALL_PRIMES = (11, 13, 17, 19, 23, 29, 31)


def _is_prime(n: int) -> bool:
    if n < 4:
        return n > 1
    if n % 2 == 0:
        return False
    divisor = 3
    while divisor * divisor <= n:
        if n % divisor == 0:
            return False
        divisor += 2
    return True


def _congruence_roots(rng: random.Random, level: int) -> Problem:
    small = rng.choice(_SMALL_PRIMES)
    large = size(rng, level, 600, 20_600) // small
    while large == small or not _is_prime(large):
        large += 1
    modulus = small * large
    slope, root = rng.randrange(1, modulus), rng.randrange(1, modulus)
    constant = -(root * root + slope * root) % modulus
    inverse = pow(small, -1, large)
    answer = 0
    for prime_root in {root % small, -(slope + root) % small}:
        for other in {root % large, -(slope + root) % large}:
            answer += prime_root + small * ((other - prime_root) * inverse % large)
    prompt = rng.choice(
        (
            (
                f"Let S be the set of integers x with 0 <= x < {modulus} for which x^2 + {slope}x + {constant} is "
                f"divisible by {modulus}. What is the sum of the elements of S?"
            ),
            (
                f"Find the sum of all residues x modulo {modulus} (taken from 0 to {modulus - 1}) that satisfy x^2 + "
                f"{slope}x + {constant} = 0 modulo {modulus}."
            ),
        )
    )
    program = f"""residues = range({modulus})
sum(x for x in residues if (x * x + {slope} * x + {constant}) % {modulus} == 0)"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _digit_sum_count(limit: int, modulus: int, residue: int) -> int:
    """Integers in 0..limit whose digit sum leaves `residue`, by dynamic programming over digits."""
    counts = [0] * modulus
    prefix = 0
    for digit in map(int, str(limit)):
        fresh = [0] * modulus
        for total, ways in enumerate(counts):
            for other in range(10):
                fresh[(total + other) % modulus] += ways
        for other in range(digit):
            fresh[(prefix + other) % modulus] += 1
        counts, prefix = fresh, prefix + digit
    return counts[residue] + (prefix % modulus == residue)


def _digit_sums(rng: random.Random, level: int) -> Problem:
    low = rng.randrange(100, 5000)
    high = low + size(rng, level, 300, 5300)
    modulus = rng.randrange(5, 14)
    residue = rng.randrange(modulus)
    answer = _digit_sum_count(high, modulus, residue) - _digit_sum_count(low - 1, modulus, residue)
    prompt = rng.choice(
        (
            (
                f"How many integers n with {low} <= n <= {high} have a digit sum that leaves remainder {residue} when "
                f"divided by {modulus}?"
            ),
            (
                f"Tickets are numbered from {low} to {high} inclusive. A ticket wins if the sum of its decimal digits "
                f"is congruent to {residue} modulo {modulus}. How many tickets win?"
            ),
        )
    )
    program = f"""wins = 0
for ticket in range({low}, {high} + 1):
    digits = 0
    while ticket:
        ticket, digit = divmod(ticket, 10)
        digits += digit
    wins += digits % {modulus} == {residue}
wins"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _divisor_sum(rng: random.Random, level: int) -> Problem:
    low = rng.randrange(450, 550)
    high = low + size(rng, level, 15, 515)
    answer = 0
    for divisor in range(1, high + 1):
        first, last = -(-low // divisor), high // divisor
        answer += divisor * (last - first + 1)
    prompt = rng.choice(
        (
            (
                f"For every integer n from {low} to {high} take the sum of all positive divisors of n (1 and n "
                "included). What is the total of these sums?"
            ),
            f"Let s(n) be the sum of the positive divisors of n. Compute s({low}) + s({low + 1}) + ... + s({high}).",
        )
    )
    program = f"""total = 0
for n in range({low}, {high} + 1):
    d = 1
    while d * d < n:
        if n % d == 0:
            total += d + n // d
        d += 1
    if d * d == n:
        total += d
total"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


FAMILIES = (
    Family(
        "lockers",
        "number theory",
        "Exactly-one counting over four or five divisors takes fifteen or more signed floor terms of common multiples.",
        "inclusion-exclusion over sets of steps",
        _lockers,
    ),
    Family(
        "common_factor",
        "number theory",
        "Over ten thousand gcds, or a Moebius sum of more than a hundred floor products.",
        "Moebius inversion",
        _common_factor,
    ),
    Family(
        "congruence_roots",
        "number theory",
        "The modulus is a product of two unknown primes: it must be factored, solved twice and recombined four times.",
        "one root chosen, the others by the Chinese remainder theorem",
        _congruence_roots,
    ),
    Family(
        "digit_sums",
        "number theory",
        "Thousands of digit sums, or a digit recurrence with a table of residues for five places, twice.",
        "a recurrence over decimal places",
        _digit_sums,
    ),
    Family(
        "divisor_sum",
        "number theory",
        "The divisors of over two hundred numbers, or several hundred floor quotients at two bounds.",
        "each divisor's multiples in the range",
        _divisor_sum,
    ),
)
