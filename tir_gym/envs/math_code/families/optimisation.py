"""Best choices: packing, routes and assignments."""

from __future__ import annotations

import random
from heapq import heappop, heappush
from itertools import pairwise

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, pick, size

__all__ = ["FAMILIES"]


def _backpack(rng: random.Random, level: int) -> Problem:
    goods = pick(rng, "goods", 4 + level)
    weights = [rng.randrange(5, 20) for _ in goods]
    values = [rng.randrange(100, 1000) for _ in goods]
    limit = sum(weights) // 2 + rng.randrange(-3, 4)
    best = [0] * (limit + 1)
    for weight, value in zip(weights, values, strict=True):
        for room in range(limit, weight - 1, -1):
            best[room] = max(best[room], best[room - weight] + value)
    crates = "; ".join(f"{good} {w} kg, {v}" for good, w, v in zip(goods, weights, values, strict=True))
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"{name} can load at most {limit} kg. One crate of each good is on offer, given as weight and value: "
                f"{crates}. Crates are taken whole or left. What is the greatest total value that can be loaded?"
            ),
            (
                f"A cart carries up to {limit} kg. The crates are (weight, value): {crates}. Each crate exists once "
                "and cannot be split. Find the largest total value of crates the cart can carry."
            ),
        )
    )
    program = f"""crates = {list(zip(weights, values, strict=True))}
loads = [(0, 0)]
for weight, value in crates:
    for load, worth in loads[:]:
        if load + weight <= {limit}:
            loads.append((load + weight, worth + value))
max(worth for load, worth in loads)"""
    return Problem(f"{prompt} {INTEGER}", str(best[limit]), program)


def _cheapest_route(rng: random.Random, level: int) -> Problem:
    places = pick(rng, "places", 4 + level)
    roads: dict[tuple[str, str], int] = {}
    for here, there in pairwise(places):
        roads[here, there] = rng.randrange(150, 700)
    while len(roads) < 3 * len(places):
        here, there = rng.sample(places, 2)
        if (here, there) != (places[0], places[-1]):
            roads.setdefault((here, there), rng.randrange(150, 1500))
    edges = [(here, there, toll) for (here, there), toll in roads.items()]
    rng.shuffle(edges)
    start, goal = places[0], places[-1]
    onward: dict[str, list[tuple[str, int]]] = {place: [] for place in places}
    for here, there, toll in edges:
        onward[here].append((there, toll))
    queue = [(0, start)]
    settled: dict[str, int] = {}
    while goal not in settled:
        cost, place = heappop(queue)
        if place not in settled:
            settled[place] = cost
            for there, toll in onward[place]:
                heappush(queue, (cost + toll, there))
    roads_text = ", ".join(f"{here} to {there} {toll}" for here, there, toll in edges)
    prompt = rng.choice(
        (
            (
                f"One-way roads and their tolls: {roads_text}. What is the smallest total toll of a trip from {start} "
                f"to {goal}?"
            ),
            (
                f"A courier may use only these one-way links, each with its price: {roads_text}. At what least total "
                f"price can a parcel get from {start} to {goal}?"
            ),
        )
    )
    program = f"""roads = {edges}
cost = {{{start!r}: 0}}
for sweep in range({len(places) - 1}):
    for here, there, toll in roads:
        if here in cost and cost[here] + toll < cost.get(there, 10**9):
            cost[there] = cost[here] + toll
cost[{goal!r}]"""
    return Problem(f"{prompt} {INTEGER}", str(settled[goal]), program)


_SHIFTS = ((2, 4), (3, 4), (3, 5), (4, 5), (3, 7), (4, 6), (4, 7), (5, 7), (5, 8), (6, 8))
"""Workers and jobs, by level."""


def _job_assignment(rng: random.Random, level: int) -> Problem:
    count, choices = _SHIFTS[level - 1]
    workers, jobs = pick(rng, "names", count), pick(rng, "jobs", choices)
    hours = [[rng.randrange(100, 1000) for _ in jobs] for _ in workers]
    best = {0: 0}
    for row in hours:
        fresh: dict[int, int] = {}
        for taken, total in best.items():
            for job, cost in enumerate(row):
                if not taken >> job & 1:
                    state = taken | 1 << job
                    fresh[state] = min(fresh.get(state, total + cost), total + cost)
        best = fresh
    table = "; ".join(
        f"{worker}: {listing([f'{job} {cost}' for job, cost in zip(jobs, row, strict=True)])}"
        for worker, row in zip(workers, hours, strict=True)
    )
    aim, extreme = rng.choice((("pay", "least"), ("cost", "smallest")))
    prompt = (
        f"Each of {count} workers gets exactly one of the jobs {listing(jobs)}, and no job is given twice. What each "
        f"worker charges: {table}. What is the {extreme} possible total {aim}?"
    )
    program = f"""from itertools import permutations
charges = {hours}
def total(jobs):
    return sum(row[job] for row, job in zip(charges, jobs))
min(total(jobs) for jobs in permutations(range({choices}), {count}))"""
    answer = min(best.values())
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _bookings(rng: random.Random, level: int) -> Problem:
    count = 6 + 2 * level
    lengths = rng.sample([6 + 13 * i // count for i in range(count)], count)
    wishes = []
    for i, length in enumerate(lengths):
        start = 58 * i // count + rng.randrange(3)
        wishes.append((start, start + length, rng.randrange(100, 1000)))
    wishes.sort()
    best = [0] * 80
    by_end: dict[int, list[tuple[int, int]]] = {}
    for start, end, fee in wishes:
        by_end.setdefault(end, []).append((start, fee))
    for day in range(1, 80):
        best[day] = max([best[day - 1], *(best[start] + fee for start, fee in by_end.get(day, ()))])
    shuffled = rng.sample(wishes, count)
    text = ", ".join(f"{start}-{end}: {fee}" for start, end, fee in shuffled)
    place = rng.choice(pick(rng, "places", 3))
    prompt = rng.choice(
        (
            (
                f"The hall of {place} can be rented by one group at a time. The requests, as first day-last day: fee, "
                f"are {text}. A group leaves on its last day in time for another one that begins on that day. Which "
                "greatest total fee can be earned by accepting requests that do not overlap?"
            ),
            (
                f"Each of these intervals (start-end: weight) may be chosen or not: {text}. Two chosen intervals may "
                "touch at an end but not overlap. What is the largest possible sum of weights?"
            ),
        )
    )
    program = f"""wishes = {wishes}
def earn(free, index):
    if index == len(wishes):
        return 0
    start, end, fee = wishes[index]
    without = earn(free, index + 1)
    if start < free:
        return without
    return max(without, fee + earn(end, index + 1))
earn(0, 0)"""
    return Problem(f"{prompt} {INTEGER}", str(best[-1]), program)


def _production_plan(rng: random.Random, level: int) -> Problem:
    goods, machines = pick(rng, "goods", 2), 3
    reach = size(rng, level, 10, 60)
    needs = [(rng.randrange(3, 12), rng.randrange(3, 12)) for _ in range(machines)]
    hours = [(a + b) * reach // 2 + rng.randrange(a + b) for a, b in needs]
    profit, other = rng.randrange(51, 200), rng.randrange(51, 200)
    answer = 0
    for x in range(min(limit // a for (a, _), limit in zip(needs, hours, strict=True)) + 1):
        y = min((limit - a * x) // b for (a, b), limit in zip(needs, hours, strict=True))
        answer = max(answer, profit * x + other * y)
    uses = "; ".join(f"{a} and {b}, {limit}" for (a, b), limit in zip(needs, hours, strict=True))
    prompt = rng.choice(
        (
            (
                f"A mill makes whole crates of {goods[0]} (profit {profit}) and of {goods[1]} (profit {other}) on "
                f"{machines} machines. For each machine, the minutes that a crate of {goods[0]} and a crate of "
                f"{goods[1]} need on it and the minutes it can run: {uses}. Every crate needs all machines. What is "
                "the greatest possible profit?"
            ),
            (
                f"Let x and y be non-negative integers. Maximise {profit}x + {other}y under the conditions "
                f"{listing([f'{a}x + {b}y <= {limit}' for (a, b), limit in zip(needs, hours, strict=True)])}. What is "
                "the greatest value?"
            ),
        )
    )
    program = f"""limits = {[(a, b, limit) for (a, b), limit in zip(needs, hours, strict=True)]}
best = x = 0
while all(a * x <= limit for a, b, limit in limits):
    y = 0
    while all(a * x + b * y <= limit for a, b, limit in limits):
        best = max(best, {profit} * x + {other} * y)
        y += 1
    x += 1
best"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


FAMILIES = (
    Family(
        "backpack",
        "optimisation",
        "Greedy choice fails; up to sixteen thousand selections or a table of more than a thousand cells.",
        "a table over weights",
        _backpack,
    ),
    Family(
        "cheapest_route",
        "optimisation",
        "Thirty or more one-way tolls between ten or more places: many detours are cheaper than the obvious roads.",
        "Dijkstra's algorithm",
        _cheapest_route,
    ),
    Family(
        "job_assignment",
        "optimisation",
        "360 to 20,160 assignments of three-digit charges, or the Hungarian method without slips.",
        "a table over sets of jobs taken",
        _job_assignment,
    ),
    Family(
        "bookings",
        "optimisation",
        "Eighteen or more overlapping intervals: thousands of compatible selections, or a careful table over time.",
        "a table over days",
        _bookings,
    ),
    Family(
        "production_plan",
        "optimisation",
        "The best whole numbers may lie off the corners of the region: dozens of columns with three bounds each.",
        "the highest point of every column",
        _production_plan,
    ),
)
