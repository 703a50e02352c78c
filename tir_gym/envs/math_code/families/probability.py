"""Exact probabilities as reduced fractions."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import combinations
from math import comb, factorial, prod

from tir_gym.envs.math_code.families.base import FRACTION, Family, Problem, listing, pick

__all__ = ["FAMILIES"]

_DICE = ((3, 5), (3, 6), (3, 7), (3, 9), (3, 11), (4, 7), (4, 8), (4, 10), (5, 7), (5, 8))


def _dice_total(rng: random.Random, level: int) -> Problem:
    count, typical = _DICE[level - 1]
    sides = [typical + rng.randrange(-1, 2) for _ in range(count)]
    target = (sum(sides) + count) // 2 + rng.choice((-2, -1, 2, 3, 4))
    ways = {0: 1}
    for faces in sides:
        fresh: dict[int, int] = {}
        for total, count_ in ways.items():
            for face in range(1, faces + 1):
                fresh[total + face] = fresh.get(total + face, 0) + count_
        ways = fresh
    answer = Fraction(sum(n for total, n in ways.items() if total >= target), prod(sides))
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"{name} rolls one fair die for each of these numbers of faces: {listing(sides)} (a die with n faces "
                f"shows 1 to n). What is the probability that the total is at least {target}?"
            ),
            (
                f"Fair dice with {listing(sides)} faces, numbered from 1, are thrown together. Find the probability "
                f"of a sum of {target} or more."
            ),
        )
    )
    program = f"""from fractions import Fraction
from itertools import product
sides = {sides}
good = rolls = 0
for faces in product(*(range(1, n + 1) for n in sides)):
    rolls += 1
    good += sum(faces) >= {target}
Fraction(good, rolls)"""
    return Problem(f"{prompt} {FRACTION}", str(answer), program)


_URNS = ((3, 3), (3, 4), (3, 5), (3, 6), (4, 4), (4, 5), (4, 6), (4, 7), (5, 6), (5, 7))


def _urn_colours(rng: random.Random, level: int) -> Problem:
    kinds, typical = _URNS[level - 1]
    balls = [typical + rng.randrange(0, 3) for _ in range(kinds)]
    total = sum(balls)
    drawn = kinds + rng.randrange(total - max(balls) - kinds + 1)
    missing = 0
    for width in range(kinds + 1):
        for absent in combinations(balls, width):
            missing += (-1) ** width * comb(total - sum(absent), drawn)
    answer = Fraction(missing, comb(total, drawn))
    content = listing([f"{n} {colour}" for n, colour in zip(balls, pick(rng, "colours", kinds), strict=True)])
    prompt = rng.choice(
        (
            (
                f"An urn holds {content} balls. {drawn} balls are drawn at random without replacement. What is the "
                "probability that every colour appears among them?"
            ),
            (
                f"A bag contains {content} counters. If {drawn} counters are taken out blindly, all at once, how "
                "likely is it that at least one counter of each colour is taken?"
            ),
        )
    )
    program = f"""from fractions import Fraction
from itertools import product
from math import comb
balls = {balls}
good = 0
for taken in product(*(range(1, n + 1) for n in balls)):
    if sum(taken) == {drawn}:
        ways = 1
        for n, k in zip(balls, taken):
            ways *= comb(n, k)
        good += ways
Fraction(good, comb(sum(balls), {drawn}))"""
    return Problem(f"{prompt} {FRACTION}", str(answer), program)


_TARGETS = ((2, 2), (2, 3), (3, 3), (3, 4), (4, 4), (4, 5), (5, 5), (5, 6), (6, 6), (6, 7))


def _series(rng: random.Random, level: int) -> Problem:
    ours, theirs = rng.sample(_TARGETS[level - 1], 2)
    whole = rng.randrange(6, 13)
    odds = [rng.randrange(1, whole) for _ in range(ours + theirs - 1)]
    ways = [1]
    for odd in odds:
        ways = [a * (whole - odd) + b * odd for a, b in zip([*ways, 0], [0, *ways], strict=True)]
    answer = Fraction(sum(ways[ours:]), whole ** len(odds))
    one, two = pick(rng, "names", 2)
    chances = listing([f"{odd}/{whole}" for odd in odds])
    prompt = rng.choice(
        (
            (
                f"{one} and {two} play a series of games without draws. {one}'s chances of winning game 1, game 2 and "
                f"so on are {chances}, independently. The series ends when {one} has won {ours} games (then {one} "
                f"wins the series) or {two} has won {theirs} (then {two} does). What is the probability that {one} "
                "wins the series?"
            ),
            (
                f"Independent trials succeed with the probabilities {chances}, in this order. They stop as soon as "
                f"there are {ours} successes or {theirs} failures. How likely is it that the successes come first?"
            ),
        )
    )
    program = f"""from fractions import Fraction
odds = {odds}
def win(ours, theirs):
    if ours == {ours}:
        return Fraction(1)
    if theirs == {theirs}:
        return Fraction(0)
    odd = Fraction(odds[ours + theirs], {whole})
    return odd * win(ours + 1, theirs) + (1 - odd) * win(ours, theirs + 1)
win(0, 0)"""
    return Problem(f"{prompt} {FRACTION}", str(answer), program)


_WHEELS = ((4, 2), (5, 2), (5, 3), (6, 3), (7, 3), (7, 4), (8, 4), (9, 4), (9, 5), (10, 5))


def _loaded_wheel(rng: random.Random, level: int) -> Problem:
    sections, spins = _WHEELS[level - 1]
    weights = [rng.randrange(1, 12) for _ in range(sections)]
    distinct = [1] + [0] * spins
    for weight in weights:
        for k in range(spins, 0, -1):
            distinct[k] += weight * distinct[k - 1]
    answer = Fraction(factorial(spins) * distinct[spins], sum(weights) ** spins)
    name, planet = rng.choice(pick(rng, "names", 3)), rng.choice(pick(rng, "places", 3))
    prompt = rng.choice(
        (
            (
                f"A wheel of fortune has {sections} sections of {listing(weights)} equal steps; it stops at every step "
                f"with the same probability. {name} spins it {spins} times. What is the probability that all spins end "
                "in different sections?"
            ),
            (
                f"On planet {planet} the seasons last {listing(weights)} days and every birthday is equally likely. "
                f"{spins} inhabitants are chosen independently. What is the probability that no two of them were born "
                "in the same season?"
            ),
        )
    )
    program = f"""from fractions import Fraction
weights = {weights}
seen = {{frozenset(): Fraction(1)}}
for spin in range({spins}):
    after = {{}}
    for old, chance in seen.items():
        for section, weight in enumerate(weights):
            if section not in old:
                new = old | {{section}}
                after[new] = after.get(new, 0) + chance * weight / {sum(weights)}
    seen = after
sum(seen.values())"""
    return Problem(f"{prompt} {FRACTION}", str(answer), program)


def _stairway(rng: random.Random, level: int) -> Problem:
    inner = 2 + 2 * level
    whole = rng.randrange(4, 8)
    odds = [rng.randrange(1, whole) for _ in range(inner)]
    start = rng.randrange(inner // 3 + 1, 2 * inner // 3 + 2)
    products = [Fraction(1)]
    for odd in odds:
        products.append(products[-1] * Fraction(whole - odd, odd))
    answer = sum(products[:start]) / sum(products)
    name = rng.choice(pick(rng, "names", 3))
    chances = listing([f"{odd}/{whole}" for odd in odds])
    prompt = rng.choice(
        (
            (
                f"{name} stands on step {start} of a stairway with steps 0 to {inner + 1}. From step i (0 < i < "
                f"{inner + 1}) the next move goes one step up with probability p_i and one step down otherwise, where "
                f"p_1, ..., p_{inner} are {chances}. The walk ends on step 0 or on step {inner + 1}. What is the "
                f"probability that it ends on step {inner + 1}?"
            ),
            (
                f"A gambler owns {start} coins and plays until {inner + 1} coins or none are left. With i coins the "
                f"next coin is won with probability p_i and lost otherwise; p_1, ..., p_{inner} are {chances}. Find "
                f"the probability of reaching {inner + 1} coins."
            ),
        )
    )
    program = f"""from fractions import Fraction
up, answer = Fraction(0), Fraction(1)
for step, odd in enumerate({odds}, 1):
    p = Fraction(odd, {whole})
    up = p / (1 - (1 - p) * up)
    if step >= {start}:
        answer *= up
answer"""
    return Problem(f"{prompt} {FRACTION}", str(answer), program)


FAMILIES = (
    Family(
        "dice_total",
        "probability",
        "Four or five unequal dice with thousands of outcomes: the tail must be counted exactly and reduced.",
        "a table of totals, die by die",
        _dice_total,
    ),
    Family(
        "urn_colours",
        "probability",
        "A signed sum of sixteen or more large binomials over another, reduced to lowest terms.",
        "inclusion-exclusion over absent colours",
        _urn_colours,
    ),
    Family(
        "series",
        "probability",
        "Eight or more games with different odds: hundreds of courses of play, or a table of exact fractions.",
        "all games played out, counted by wins",
        _series,
    ),
    Family(
        "loaded_wheel",
        "probability",
        "A symmetric polynomial of degree four or five in seven or more unequal weights, over a large power.",
        "the elementary symmetric polynomial",
        _loaded_wheel,
    ),
    Family(
        "stairway",
        "probability",
        "Fourteen or more steps with different odds; the fraction has over a dozen digits above and below.",
        "sums of products of odds ratios (ruin in a varying chain)",
        _stairway,
    ),
)
