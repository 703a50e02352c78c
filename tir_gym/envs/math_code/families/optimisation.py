"""Best choices: packing, routes and assignments."""

from __future__ import annotations

import random
from heapq import heappop, heappush
from itertools import pairwise

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, pick

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


def _job_assignment(rng: random.Random, level: int) -> Problem:
    count = 3 + (level - 1) // 2
    workers, jobs = pick(rng, "names", count), pick(rng, "jobs", count)
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
        f"Each of {count} workers gets exactly one of the jobs {listing(jobs)}, and every job is done once. What each "
        f"worker charges: {table}. What is the {extreme} possible total {aim}?"
    )
    program = f"""from itertools import permutations
charges = {hours}
best = None
for jobs in permutations(range({count})):
    total = 0
    for row, job in zip(charges, jobs):
        total += row[job]
    if best is None or total < best:
        best = total
best"""
    (answer,) = best.values()
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


FAMILIES = (
    Family(
        "backpack",
        "optimisation",
        "Greedy choice fails; up to sixteen thousand selections or a table of more than a thousand cells.",
        _backpack,
    ),
    Family(
        "cheapest_route",
        "optimisation",
        "Around forty one-way tolls over a dozen places: many detours are cheaper than the obvious roads.",
        _cheapest_route,
    ),
    Family(
        "job_assignment",
        "optimisation",
        "120 to 5,040 assignments of three-digit charges, or the Hungarian method without slips.",
        _job_assignment,
    ),
)
