"""Recurrences, ordered lists and growing words, followed far beyond what can be written out."""

from __future__ import annotations

import random
from math import exp, log

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, pick, size

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
    program = f"""numbers = [{first}, {second}]
while len(numbers) < {terms}:
    numbers.append(({p} * numbers[-1] + {q} * numbers[-2]) % {modulus})
sum(numbers) % {modulus}"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _smooth_numbers(rng: random.Random, level: int) -> Problem:
    primes = sorted(rng.sample((2, 3, 5, 7, 11, 13, 17, 19), 3))
    place = size(rng, level, 12, 262)
    logs = [log(prime) for prime in primes]
    bound = exp((6 * place * logs[0] * logs[1] * logs[2]) ** (1 / 3))
    numbers = [1]
    for prime in primes:
        layer = numbers
        while layer := [number * prime for number in layer if number * prime <= bound]:
            numbers = numbers + layer
    answer = sorted(numbers)[place - 1]
    prompt = rng.choice(
        (
            (
                f"List in increasing order, beginning with 1, all positive integers that have no prime factors other "
                f"than {listing(primes)}. Which number is at place {place} of the list (1 is at place 1)?"
            ),
            (
                f"A number is good if it can be written as {primes[0]}^a * {primes[1]}^b * {primes[2]}^c with integers "
                f"a, b, c >= 0. What is the good number number {place} in order of size (1 is the first)?"
            ),
        )
    )
    program = f"""primes = {primes}
numbers, places = [1], [0, 0, 0]
while len(numbers) < {place}:
    options = [prime * numbers[i] for prime, i in zip(primes, places)]
    numbers.append(min(options))
    places = [i + (option == numbers[-1]) for option, i in zip(options, places)]
numbers[-1]"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _word_growth(rng: random.Random, level: int) -> Problem:
    letters = rng.sample("ABCDEFGH", 4)
    rules = {letter: rng.choice(letters) + rng.choice(letters) for letter in letters}
    for letter, other in zip(letters, letters[1:] + letters[:1], strict=True):
        rules[letter] = rng.choice((other + rules[letter][1], rules[letter][0] + other))
    rounds = 5 + level
    shown = rng.randrange(2 ** (rounds - 1), 2**rounds)
    wanted = letters[0]
    for _ in range(rounds):
        wanted = rng.choice(rules[wanted])
    counts = [{letter: int(letter == wanted) for letter in letters}]
    for _ in range(rounds):
        counts.append({letter: sum(counts[-1][child] for child in rules[letter]) for letter in letters})
    answer, here = 0, letters[0]
    for depth in range(rounds - 1, -1, -1):
        if shown >> depth & 1:
            answer += counts[depth][rules[here][0]]
            here = rules[here][1]
        else:
            here = rules[here][0]
    table = listing([f"{letter} by {rules[letter]}" for letter in sorted(letters)])
    prompt = rng.choice(
        (
            (
                f"A word grows in rounds: in each round all its letters are replaced at once, {table}. It starts as "
                f"{letters[0]}. How many of the first {shown} letters are {wanted} after {rounds} rounds?"
            ),
            (
                f"Consider the substitution that replaces {table}. Apply it {rounds} times to the one-letter word "
                f"{letters[0]} and keep the first {shown} letters of the result. How often does {wanted} occur in them?"
            ),
        )
    )
    program = f"""rules = {rules}
word = {letters[0]!r}
for turn in range({rounds}):
    word = "".join([rules[letter] for letter in word])
word[:{shown}].count({wanted!r})"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


FAMILIES = (
    Family(
        "quadratic_map",
        "sequences",
        "Thousands of squarings modulo a four-digit number; the cycle must be found to shorten it.",
        "the cycle of the map",
        _quadratic_map,
    ),
    Family(
        "recurrence_sum",
        "sequences",
        "Thousands of terms modulo a large number, or a dozen squarings of a 3 by 3 matrix.",
        "repeated squaring of a matrix",
        _savings,
    ),
    Family(
        "smooth_numbers",
        "sequences",
        "More than a hundred products of three primes have to be put in order.",
        "all products up to a bound, sorted",
        _smooth_numbers,
    ),
    Family(
        "word_growth",
        "sequences",
        "Over a thousand letters, or letter counts of four words for eleven or more rounds along a binary expansion.",
        "letter counts by round, and a descent to the last letter kept",
        _word_growth,
    ),
)
