"""Combinatorics: exact counts of paths, words, distributions and subsets."""

from __future__ import annotations

import random
from math import comb, gcd

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, pick, size

__all__ = ["FAMILIES"]


def _blocked_paths(rng: random.Random, level: int) -> Problem:
    width, height = 4 + 2 * level + rng.randrange(2), 4 + 2 * level + rng.randrange(2)
    cells = [(x, y) for x in range(1, width) for y in range(1, height)]
    closed = sorted(rng.sample(cells, 2 + level // 2))
    ways: list[int] = []
    for x, y in [*closed, (width, height)]:
        through = sum(
            ways[i] * comb(x - a + y - b, x - a) for i, (a, b) in enumerate(closed[: len(ways)]) if a <= x and b <= y
        )
        ways.append(comb(x + y, x) - through)
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"{name} walks on a grid of streets from the crossing (0, 0) to the crossing ({width}, {height}), "
                "always one block east (x grows by 1) or one block north (y grows by 1). The crossings "
                f"{listing(closed)} are closed. How many different routes avoid all closed crossings?"
            ),
            (
                f"Count the lattice paths from (0, 0) to ({width}, {height}) with unit steps right or up that pass "
                f"through none of the points {listing(closed)}."
            ),
        )
    )
    program = f"""closed = {closed}
ways = {{(0, 0): 1}}
for x in range({width} + 1):
    for y in range({height} + 1):
        if (x, y) in closed:
            ways[x, y] = 0
        elif x or y:
            ways[x, y] = ways.get((x - 1, y), 0) + ways.get((x, y - 1), 0)
ways[{width}, {height}]"""
    return Problem(f"{prompt} {INTEGER}", str(ways[-1]), program)


_WORD_SIZES = ((3, 4), (3, 5), (4, 4), (3, 6), (4, 5), (3, 7), (5, 5), (4, 6), (3, 8), (4, 7))


def _codewords(rng: random.Random, level: int) -> Problem:
    letters, length = _WORD_SIZES[level - 1]
    alphabet = sorted(rng.sample("ABCDEFGHKLMNPRSTVXYZ", letters))
    modulus = rng.randrange(3, 8)
    values = rng.sample(range(1, 30), letters)
    if len({value % modulus for value in values}) == 1:
        values[0] += 1
    points = dict(zip(alphabet, values, strict=True))
    first, second = rng.sample([a + b for a in alphabet for b in alphabet], 2)
    remainder = sum(rng.choice(values) for _ in range(length)) % modulus
    states = {("", 0): 1}
    for _ in range(length):
        fresh: dict[tuple[str, int], int] = {}
        for (last, total), count in states.items():
            for letter, value in points.items():
                if last + letter not in {first, second}:
                    state = (letter, (total + value) % modulus)
                    fresh[state] = fresh.get(state, 0) + count
        states = fresh
    answer = sum(count for (_, total), count in states.items() if total == remainder)
    worth = listing([f"{letter} ({value})" for letter, value in points.items()])
    prompt = rng.choice(
        (
            (
                f"A code word has {length} letters, each one of {worth}, repeats allowed; the points of a letter are "
                f"given in brackets. Neither {first} nor {second} may occur as two neighbouring letters in this "
                f"order, and the sum of the points of all letters must leave remainder {remainder} when divided by "
                f"{modulus}. How many code words are there?"
            ),
            (
                f"Letters and their weights are {worth}. How many strings of {length} of these letters (a letter may "
                f"repeat) contain neither of the blocks {first} and {second} and have a total weight that leaves "
                f"remainder {remainder} modulo {modulus}?"
            ),
        )
    )
    program = f"""from itertools import product
points = {points}
count = 0
for letters in product(points, repeat={length}):
    word = "".join(letters)
    if {first!r} in word or {second!r} in word:
        continue
    if sum(points[letter] for letter in word) % {modulus} == {remainder}:
        count += 1
count"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


_SHARE_SIZES = ((3, 4), (3, 6), (3, 8), (4, 5), (4, 6), (4, 7), (5, 5), (4, 9), (5, 6), (5, 7))


def _capped_shares(rng: random.Random, level: int) -> Problem:
    people, cap = _SHARE_SIZES[level - 1]
    caps = [cap + rng.randrange(-2, 3) for _ in range(people)]
    total = sum(caps) // 2 + rng.randrange(-2, 3)
    names = pick(rng, "names", people)
    items = rng.choice(pick(rng, "items", 3))
    ways = [1] + [0] * total
    for limit in caps:
        ways = [sum(ways[max(0, n - limit) : n + 1]) for n in range(total + 1)]
    limits = listing([f"{name} {limit}" for name, limit in zip(names, caps, strict=True)])
    prompt = rng.choice(
        (
            (
                f"{total} identical {items} are shared out among {listing(names)}; somebody may get none. The most "
                f"that each can take: {limits}. In how many ways can all of them be shared out?"
            ),
            (
                f"In how many ways can {total} indistinguishable {items} be given to {listing(names)} if nobody gets "
                f"more than this: {limits}? A share of zero is allowed and nothing is left over."
            ),
        )
    )
    program = f"""from itertools import product
caps = {caps}
ways = 0
for shares in product(*(range(cap + 1) for cap in caps)):
    if sum(shares) == {total}:
        ways += 1
ways"""
    return Problem(f"{prompt} {INTEGER}", str(ways[total]), program)


def _subset_window(rng: random.Random, level: int) -> Problem:
    numbers = sorted(rng.sample(range(3, 100), level + 4))
    total = sum(numbers)
    low = total // 5 + rng.randrange(total // 5)
    high = total // 2 + rng.randrange(total // 3)
    field = len(numbers) + 1
    packed = 1
    for number in numbers:
        packed += packed << (field * number)
    window = (packed >> (field * low)) & ((1 << (field * (high - low + 1))) - 1)
    answer = window % ((1 << field) - 1)
    prompt = rng.choice(
        (
            (
                f"Consider the set {{{', '.join(map(str, numbers))}}}. How many of its subsets have a sum of at least "
                f"{low} and at most {high}?"
            ),
            (
                f"Weights of {listing(numbers)} grams are on a shelf, one of each. How many different selections of "
                f"them weigh at least {low} grams and no more than {high} grams together?"
            ),
        )
    )
    program = f"""from itertools import combinations
numbers = {numbers}
count = 0
for width in range(len(numbers) + 1):
    for subset in combinations(numbers, width):
        if {low} <= sum(subset) <= {high}:
            count += 1
count"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _coin_change(rng: random.Random, level: int) -> Problem:
    coins = sorted(rng.sample(range(16, 32), 4))
    if gcd(*coins) > 1:
        coins[-1] += 1
    spare = size(rng, level, 80, 1280)
    amount = spare + sum(coins)
    ways = [1] + [0] * spare
    for coin in coins:
        for part in range(coin, spare + 1):
            ways[part] += ways[part - coin]
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"In {name}'s country there are coins of {listing(coins)} cents. In how many ways can {amount} cents "
                "be paid exactly if at least one coin of every kind is used? The order of the coins does not matter."
            ),
            (
                f"How many quadruples (a, b, c, d) of positive integers satisfy {coins[0]}a + {coins[1]}b + "
                f"{coins[2]}c + {coins[3]}d = {amount}?"
            ),
        )
    )
    program = f"""ways = 0
for a in range(1, {amount} // {coins[3]} + 1):
    left = {amount} - {coins[3]} * a
    for b in range(1, left // {coins[2]} + 1):
        rest = left - {coins[2]} * b
        for c in range(1, rest // {coins[1]} + 1):
            last = rest - {coins[1]} * c
            if last > 0 and last % {coins[0]} == 0:
                ways += 1
ways"""
    return Problem(f"{prompt} {INTEGER}", str(ways[spare]), program)


FAMILIES = (
    Family(
        "blocked_paths",
        "combinatorics",
        "Hundreds of additions of numbers with up to a dozen digits, or an inclusion-exclusion over seven points.",
        _blocked_paths,
    ),
    Family(
        "codewords",
        "combinatorics",
        "Two forbidden blocks and a points condition need an automaton with dozens of states or thousands of words.",
        _codewords,
    ),
    Family(
        "capped_shares",
        "combinatorics",
        "Unequal caps make inclusion-exclusion run over up to 32 subsets, most of them with large binomials.",
        _capped_shares,
    ),
    Family(
        "subset_window",
        "combinatorics",
        "Up to sixteen thousand subsets, or a table of several hundred sums updated a dozen times.",
        _subset_window,
    ),
    Family(
        "coin_change",
        "combinatorics",
        "A partition count with four part sizes has no short formula; thousands of cases are examined.",
        _coin_change,
    ),
)
