"""Exact probabilities as reduced fractions."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import combinations
from math import comb, prod

from tir_gym.envs.math_code.families.base import FRACTION, Family, Problem, fraction, listing, pick, size

__all__ = ["FAMILIES"]

_DICE = ((2, 6), (2, 10), (3, 6), (3, 8), (3, 10), (4, 7), (4, 8), (4, 10), (5, 7), (5, 8))


def _dice_total(rng: random.Random, level: int) -> Problem:
    count, typical = _DICE[level - 1]
    sides = [typical + rng.randrange(-1, 2) for _ in range(count)]
    target = (sum(sides) + count) // 2 + 1 + rng.randrange(1, count + 2)
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
    return Problem(f"{prompt} {FRACTION}", fraction(answer), program)


_URNS = ((2, 5), (3, 3), (3, 4), (3, 6), (4, 4), (4, 5), (4, 6), (4, 7), (5, 6), (5, 7))


def _urn_colours(rng: random.Random, level: int) -> Problem:
    kinds, typical = _URNS[level - 1]
    balls = [typical + rng.randrange(0, 3) for _ in range(kinds)]
    total = sum(balls)
    drawn = min(kinds + 1 + rng.randrange(4), total - max(balls))
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
    return Problem(f"{prompt} {FRACTION}", fraction(answer), program)


def _ring_walk(rng: random.Random, level: int) -> Problem:
    places = 5 + 2 * level + rng.randrange(2)
    hops = 3 + level + rng.randrange(2)
    forward, backward = rng.randrange(1, 5), rng.randrange(1, 4)
    whole = rng.randrange(3, 7)
    part = rng.randrange(1, whole)
    advances = rng.randrange(hops + 1)
    target = (advances * forward - (hops - advances) * backward) % places
    favourable = sum(
        comb(hops, k) * part**k * (whole - part) ** (hops - k)
        for k in range(hops + 1)
        if (k * forward - (hops - k) * backward - target) % places == 0
    )
    answer = Fraction(favourable, whole**hops)
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"{places} chairs stand in a circle, numbered 0 to {places - 1}. {name} starts at chair 0 and makes "
                f"{hops} independent moves: with probability {part}/{whole} it is {forward} chair(s) towards higher "
                f"numbers, otherwise {backward} chair(s) towards lower numbers (after {places - 1} comes 0). What is "
                f"the probability that the walk ends at chair {target}?"
            ),
            (
                f"A token sits at 0 on a clock face with positions 0, ..., {places - 1}. At each of {hops} ticks it "
                f"moves +{forward} modulo {places} with probability {part}/{whole} and -{backward} modulo {places} "
                f"otherwise. Find the probability that it is at {target} after the last tick."
            ),
        )
    )
    program = f"""from fractions import Fraction
chance = [Fraction(0)] * {places}
chance[0] = Fraction(1)
up = Fraction({part}, {whole})
for hop in range({hops}):
    after = [Fraction(0)] * {places}
    for place, p in enumerate(chance):
        after[(place + {forward}) % {places}] += p * up
        after[(place - {backward}) % {places}] += p * (1 - up)
    chance = after
chance[{target}]"""
    return Problem(f"{prompt} {FRACTION}", fraction(answer), program)


def _shared_birthdays(rng: random.Random, level: int) -> Problem:
    days = size(rng, level, 20, 220)
    people = 3 + level // 2 + rng.randrange(2)
    answer = 1 - Fraction(prod(range(days - people + 1, days + 1)), days**people)
    planet = rng.choice(pick(rng, "places", 3))
    prompt = rng.choice(
        (
            (
                f"On planet {planet} a year has {days} days. {people} inhabitants are chosen, each born on a "
                "uniformly random day independently of the others. What is the probability that at least two of them "
                "share a birthday?"
            ),
            (
                f"{people} keys are each put into one of {days} pigeonholes of the {planet} office, uniformly and "
                "independently. What is the probability that some pigeonhole gets at least two keys?"
            ),
        )
    )
    program = f"""from fractions import Fraction
distinct = [Fraction(1)] + [Fraction(0)] * {people}
for day in range({days}):
    left = {days} - day
    for k in range({people}, 0, -1):
        distinct[k] += distinct[k - 1] * k / {days}
1 - distinct[{people}]"""
    return Problem(f"{prompt} {FRACTION}", fraction(answer), program)


FAMILIES = (
    Family(
        "dice_total",
        "probability",
        "Unequal dice with up to 32,768 outcomes: the tail must be counted exactly and reduced.",
        _dice_total,
    ),
    Family(
        "urn_colours",
        "probability",
        "A signed sum of up to 32 large binomials over another, reduced to lowest terms.",
        _urn_colours,
    ),
    Family(
        "ring_walk",
        "probability",
        "Several binomial terms with powers up to the fourteenth that only coincide modulo the circle.",
        _ring_walk,
    ),
    Family(
        "shared_birthdays",
        "probability",
        "The exact fraction has up to twenty digits above and below and must be reduced.",
        _shared_birthdays,
    ),
)
