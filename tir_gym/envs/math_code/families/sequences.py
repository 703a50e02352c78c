"""Recurrences followed far beyond what can be written out."""

from __future__ import annotations

import random

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, pick, size

__all__ = ["FAMILIES"]


def _quadratic_map(rng: random.Random, level: int) -> Problem:
    modulus = rng.randrange(700, 5000)
    a, b, c = (rng.randrange(1, modulus) for _ in range(3))
    start = rng.randrange(modulus)
    index = size(rng, level, 100, 20_100)
    seen: dict[int, int] = {}
    orbit: list[int] = []
    x = start
    while x not in seen:
        seen[x] = len(orbit)
        orbit.append(x)
        x = (a * x * x + b * x + c) % modulus
    entry = seen[x]
    answer = orbit[index] if index < len(orbit) else orbit[entry + (index - entry) % (len(orbit) - entry)]
    prompt = rng.choice(
        (
            (
                f"A sequence starts with x_0 = {start}, and x_(n+1) is the remainder of {a}*x_n^2 + {b}*x_n + {c} on "
                f"division by {modulus}. Find x_{index}."
            ),
            (
                f"A toy random number generator holds the number {start}. Each press of its button replaces the "
                f"number x by ({a}*x^2 + {b}*x + {c}) mod {modulus}. Which number does it hold after {index} presses?"
            ),
        )
    )
    program = f"""x = {start}
for press in range({index}):
    x = ({a} * x * x + {b} * x + {c}) % {modulus}
x"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


Matrix = tuple[tuple[int, int, int], ...]


def _times(left: Matrix, right: Matrix, modulus: int) -> Matrix:
    columns = tuple(zip(*right, strict=True))
    return tuple(
        (
            (r[0] * columns[0][0] + r[1] * columns[0][1] + r[2] * columns[0][2]) % modulus,
            (r[0] * columns[1][0] + r[1] * columns[1][1] + r[2] * columns[1][2]) % modulus,
            (r[0] * columns[2][0] + r[1] * columns[2][1] + r[2] * columns[2][2]) % modulus,
        )
        for r in left
    )


def _savings(rng: random.Random, level: int) -> Problem:
    p, q = rng.randrange(1, 10), rng.randrange(1, 10)
    first, second = rng.randrange(1, 50), rng.randrange(1, 50)
    modulus = rng.randrange(1000, 100_000)
    terms = size(rng, level, 60, 12_060)
    step: Matrix = ((p, q, 0), (1, 0, 0), (0, 1, 1))
    power: Matrix = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    left = terms
    while left:
        if left & 1:
            power = _times(power, step, modulus)
        step = _times(step, step, modulus)
        left >>= 1
    answer = (power[2][0] * second + power[2][1] * first) % modulus
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"Let a_1 = {first}, a_2 = {second} and a_n = {p}*a_(n-1) + {q}*a_(n-2) for n > 2. What is the "
                f"remainder of a_1 + a_2 + ... + a_{terms} on division by {modulus}?"
            ),
            (
                f"{name} draws a row of numbers: first {first}, then {second}, and each next number is {p} times the "
                f"last one plus {q} times the one before it. After {terms} numbers {name} adds them all up. What is "
                f"the sum modulo {modulus}?"
            ),
        )
    )
    program = f"""older, newer = {first}, {second}
total = 0
for n in range({terms}):
    total = (total + older) % {modulus}
    older, newer = newer, ({p} * newer + {q} * older) % {modulus}
total"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _self_sieve(rng: random.Random, level: int) -> Problem:
    start = rng.randrange(2, 40)
    first, second = sorted(rng.sample(range(2, 12), 2))
    index = size(rng, level, 30, 1530)
    modulus = rng.randrange(40, 300)
    counts: dict[int, int] = {}
    value = start
    for _ in range(index):
        seen = counts.get(value, 0)
        counts[value] = seen + 1
        value = (first * value + second * seen + 1) % modulus
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"A list begins with {start}. If its last number is v, and v occurs k times in the list before that "
                f"last place, then the next number is the remainder of {first}*v + {second}*k + 1 modulo {modulus}. "
                f"What is the number at place {index + 1} of the list (the first place is 1)?"
            ),
            (
                f"{name} writes {start} on a tape and then goes on like this {index} times: let v be the newest "
                f"number and k how often v stood on the tape before; write ({first}*v + {second}*k + 1) mod "
                f"{modulus}. Which number is newest at the end?"
            ),
        )
    )
    program = f"""tape = [{start}]
for n in range({index}):
    v = tape[-1]
    k = tape[:-1].count(v)
    tape.append(({first} * v + {second} * k + 1) % {modulus})
tape[-1]"""
    return Problem(f"{prompt} {INTEGER}", str(value), program)


FAMILIES = (
    Family(
        "quadratic_map",
        "sequences",
        "Thousands of squarings modulo a four-digit number; the cycle must be found to shorten it.",
        _quadratic_map,
    ),
    Family(
        "recurrence_sum",
        "sequences",
        "Thousands of terms modulo a large number, or a dozen squarings of a 3 by 3 matrix.",
        _savings,
    ),
    Family(
        "self_counting_tape",
        "sequences",
        "Each of several hundred terms depends on how often a value was seen before: nothing shortens it.",
        _self_sieve,
    ),
)
