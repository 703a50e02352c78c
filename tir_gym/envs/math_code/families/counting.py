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


_WORD_SIZES = ((3, 4), (3, 5), (4, 4), (3, 6), (4, 5), (3, 7), (5, 5), (4, 6), (3, 8), (5, 6))


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


_SHARE_SIZES = ((3, 7), (3, 9), (3, 11), (4, 7), (4, 8), (4, 9), (4, 10), (4, 11), (5, 8), (5, 9))


def _unequal_shares(rng: random.Random, level: int) -> Problem:
    people, cap = _SHARE_SIZES[level - 1]
    caps = [cap + change for change in rng.sample((-2, -1, -1, 0, 0, 1, 1, 2), people)]
    total = sum(caps) // 2 + rng.randrange(-3, 3)
    names = pick(rng, "names", people)
    items = rng.choice(pick(rng, "items", 3))
    bits = 20
    served = [1] + [0] * (2**people - 1)
    for share in range(max(caps) + 1):
        takers = [1 << person for person, limit in enumerate(caps) if share <= limit]
        for group in range(2**people - 1, 0, -1):
            served[group] += sum(served[group ^ taker] for taker in takers if group & taker) << (bits * share)
    answer = served[-1] >> (bits * total) & ((1 << bits) - 1)
    limits = listing([f"{name} {limit}" for name, limit in zip(names, caps, strict=True)])
    prompt = rng.choice(
        (
            (
                f"{total} identical {items} are shared out among {listing(names)}, all of them. No two people get the "
                f"same number (one of them may get none). The most that each can take: {limits}. In how many ways can "
                "they be shared out?"
            ),
            (
                f"In how many ways can {total} indistinguishable {items} be given to {listing(names)} if all shares "
                f"are different and nobody gets more than this: {limits}? A share of zero is allowed and nothing is "
                "left over."
            ),
        )
    )
    program = f"""caps = {caps}
def ways(left, shares):
    if len(shares) == len(caps):
        return int(left == 0)
    free = [n for n in range(min(left, caps[len(shares)]) + 1) if n not in shares]
    return sum(ways(left - n, [*shares, n]) for n in free)
ways({total}, [])"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


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
    program = f"""sums = [0]
for number in {numbers}:
    sums += [total + number for total in sums]
sum({low} <= total <= {high} for total in sums)"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _coin_change(rng: random.Random, level: int) -> Problem:
    coins = sorted(rng.sample(range(20, 32), 4))
    if gcd(*coins) > 1:
        coins[-1] += 1
    spare = size(rng, level, 160, 1160)
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
        "Hundreds of additions of up to a dozen digits, or an inclusion-exclusion over five or more points.",
        "inclusion-exclusion over the first closed crossing",
        _blocked_paths,
    ),
    Family(
        "codewords",
        "combinatorics",
        "Two forbidden blocks and a points condition need an automaton with dozens of states or thousands of words.",
        "an automaton over last letter and remainder",
        _codewords,
    ),
    Family(
        "unequal_shares",
        "combinatorics",
        "Different caps and different shares: hundreds of cases, and no formula for both conditions at once.",
        "a table over groups served, share by share",
        _unequal_shares,
    ),
    Family(
        "subset_window",
        "combinatorics",
        "A thousand to sixteen thousand subsets, or a table of several hundred sums updated a dozen times.",
        "the digits of one large product",
        _subset_window,
    ),
    Family(
        "coin_change",
        "combinatorics",
        "A partition count with four part sizes has no short formula; thousands of cases are examined.",
        "a table over amounts",
        _coin_change,
    ),
)
