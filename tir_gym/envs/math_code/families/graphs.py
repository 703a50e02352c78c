"""Counting and measuring in small random graphs."""

from __future__ import annotations

import random

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, pick
from tir_gym.envs.math_code.families.linear_algebra import bareiss

__all__ = ["FAMILIES"]

_NETWORKS = ((4, 4), (4, 5), (5, 6), (5, 7), (5, 8), (6, 9), (6, 10), (6, 11), (7, 12), (7, 13))


def _connected_graph(rng: random.Random, nodes: int, edges: int, triangle: bool = False) -> list[tuple[int, int]]:
    """Edges (a, b), a < b, of a random connected graph; with a triangle, walks of every large length exist."""
    chosen = [(rng.randrange(node), node) for node in range(1, nodes)]
    if triangle:
        chosen[:2] = [(0, 1), (0, 2), (1, 2)]
    others = [(a, b) for b in range(nodes) for a in range(b) if (a, b) not in chosen]
    chosen += rng.sample(others, edges - len(chosen))
    rng.shuffle(chosen)
    return chosen


def _network_offers(rng: random.Random, level: int) -> Problem:
    nodes, edges = _NETWORKS[level - 1]
    places = pick(rng, "places", nodes)
    links = _connected_graph(rng, nodes, edges)
    offers = [rng.randrange(1, 8) for _ in links]
    laplacian = [[0] * nodes for _ in range(nodes)]
    for (a, b), count in zip(links, offers, strict=True):
        laplacian[a][a] += count
        laplacian[b][b] += count
        laplacian[a][b] -= count
        laplacian[b][a] -= count
    answer = bareiss([row[1:] for row in laplacian[1:]])
    cables = [(places[a], places[b], count) for (a, b), count in zip(links, offers, strict=True)]
    text = listing([f"{a}-{b} ({count})" for a, b, count in cables])
    prompt = rng.choice(
        (
            (
                f"{nodes} villages can be joined by cables on these lines, with the number of rival offers for each "
                f"line in brackets: {text}. Exactly {nodes - 1} lines are to be built so that all villages are "
                "connected with one another, and for each of them one of its offers is accepted. In how many ways "
                "can lines and offers be chosen?"
            ),
            (
                f"A multigraph has the vertices {listing(places)} and these edges, with the number of parallel copies "
                f"in brackets: {text}. Copies are distinguishable. How many spanning trees does it have?"
            ),
        )
    )
    program = f"""from itertools import combinations
cables = {cables}
ways = 0
for chosen in combinations(cables, {nodes - 1}):
    group = {{place: place for cable in cables for place in cable[:2]}}
    offers = 1
    for a, b, count in chosen:
        old, new = group[a], group[b]
        if old == new:
            break
        offers *= count
        group = {{place: new if mark == old else mark for place, mark in group.items()}}
    else:
        ways += offers
ways"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _distance_sum(rng: random.Random, level: int) -> Problem:
    nodes = 5 + level
    links = _connected_graph(rng, nodes, nodes + 3)
    lengths = [rng.randrange(1, 30) for _ in links]
    near: list[list[tuple[int, int]]] = [[] for _ in range(nodes)]
    for (a, b), length in zip(links, lengths, strict=True):
        near[a].append((b, length))
        near[b].append((a, length))
    answer = 0
    for start in range(nodes):
        best = [10**9] * nodes
        best[start] = 0
        queue = [start]
        for node in queue:
            for other, length in near[node]:
                if best[node] + length < best[other]:
                    best[other] = best[node] + length
                    queue.append(other)
        answer += sum(best[start + 1 :])
    text = ", ".join(f"{a}-{b}: {length}" for (a, b), length in zip(links, lengths, strict=True))
    prompt = rng.choice(
        (
            (
                f"Stations 0 to {nodes - 1} are joined by two-way tracks with these lengths: {text}. Add up the "
                "shortest distances between the two stations of every unordered pair of different stations. What is "
                "the sum?"
            ),
            (
                f"An undirected graph on the vertices 0, ..., {nodes - 1} has the weighted edges {text}. Compute the "
                "sum of the shortest-path lengths over all unordered pairs of distinct vertices."
            ),
        )
    )
    program = f"""tracks = {[(a, b, length) for (a, b), length in zip(links, lengths, strict=True)]}
n = {nodes}
far = [[0 if i == j else 10**9 for j in range(n)] for i in range(n)]
for a, b, length in tracks:
    far[a][b] = far[b][a] = length
for k in range(n):
    for i in range(n):
        for j in range(n):
            if far[i][k] + far[k][j] < far[i][j]:
                far[i][j] = far[i][k] + far[k][j]
sum(far[i][j] for i in range(n) for j in range(i))"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _long_routes(rng: random.Random, level: int) -> Problem:
    nodes = 5 + level // 4
    length = 6 + 2 * level + rng.randrange(2)
    links = _connected_graph(rng, nodes, nodes + 2, triangle=True)
    matrix = [[0] * nodes for _ in range(nodes)]
    for a, b in links:
        matrix[a][b] = matrix[b][a] = 1
    start, end = rng.randrange(nodes), rng.randrange(nodes)
    middle = rng.randrange(nodes)
    half = length // 2
    answer = _walks(matrix, start, middle, half) * _walks(matrix, middle, end, length - half)
    places = pick(rng, "places", nodes)
    text = listing([f"{places[a]}-{places[b]}" for a, b in links])
    prompt = rng.choice(
        (
            (
                f"Two-way ferries run on the lines {text}. A route of exactly {length} crossings starts in "
                f"{places[start]}, is in {places[middle]} after crossing number {half} and ends in {places[end]}; "
                "places and lines may be used again. How many such routes are there?"
            ),
            (
                f"Count the walks with {length} steps in the undirected graph with edges {text} that begin at "
                f"{places[start]}, end at {places[end]} and stand on {places[middle]} right after step {half}."
            ),
        )
    )
    program = f"""lines = {[(places[a], places[b]) for a, b in links]}
routes = {{{places[start]!r}: 1}}
for crossing in range(1, {length} + 1):
    after = {{}}
    for a, b in lines + [(b, a) for a, b in lines]:
        after[b] = after.get(b, 0) + routes.get(a, 0)
    if crossing == {half}:
        after = {{{places[middle]!r}: after[{places[middle]!r}]}}
    routes = after
routes.get({places[end]!r}, 0)"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _walks(matrix: list[list[int]], start: int, end: int, length: int) -> int:
    """Entry (start, end) of matrix^length by repeated squaring."""
    row = [int(i == start) for i in range(len(matrix))]
    square = matrix
    while length:
        if length & 1:
            row = [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*square, strict=True)]
        length >>= 1
        if length:
            columns = list(zip(*square, strict=True))
            square = [[sum(x * y for x, y in zip(line, column, strict=True)) for column in columns] for line in square]
    return row[end]


def _feuding_guests(rng: random.Random, level: int) -> Problem:
    count = 4 + level
    guests = pick(rng, "names", count)
    feuds = _connected_graph(rng, count, count + 1)
    hats = [rng.randrange(1, 6) for _ in guests]
    foes = [0] * count
    for a, b in feuds:
        foes[a] |= 1 << b
        foes[b] |= 1 << a
    known = {0: 1}

    def parties(left: int) -> int:
        if left not in known:
            last = left.bit_length() - 1
            without = left & ~(1 << last)
            known[left] = parties(without) + hats[last] * parties(without & ~foes[last])
        return known[left]

    answer = parties((1 << count) - 1)
    wardrobe = listing([f"{guest} {n}" for guest, n in zip(guests, hats, strict=True)])
    quarrels = listing([f"{guests[a]}-{guests[b]}" for a, b in feuds])
    prompt = rng.choice(
        (
            (
                f"These people do not sit down together: {quarrels}. A host invites any group in which no two are on "
                "bad terms (nobody at all is allowed, too), and everybody invited wears one of their hats. Hats owned: "
                f"{wardrobe}. How many pairs of a group and a choice of hats are there?"
            ),
            (
                f"A graph has the edges {quarrels} and positive vertex weights: {wardrobe}. For every independent set "
                "of vertices, the empty one included (its product is 1), take the product of the weights in it. What "
                "is the sum of these products?"
            ),
        )
    )
    program = f"""hats = {hats}
feuds = {feuds}
parties = {{frozenset(): 1}}
for guest, number in enumerate(hats):
    foes = {{a + b - guest for a, b in feuds if guest in (a, b)}}
    for party in list(parties):
        if party.isdisjoint(foes):
            parties[party | {{guest}}] = number * parties[party]
sum(parties.values())"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


FAMILIES = (
    Family(
        "network_offers",
        "graphs",
        "Over a hundred sets of lines with products of offers, or a determinant of order five or six.",
        "the matrix-tree theorem (Kirchhoff)",
        _network_offers,
    ),
    Family(
        "distance_sum",
        "graphs",
        "The shortest paths between 55 or more pairs of stations have to be found and added.",
        "relaxation from every station",
        _distance_sum,
    ),
    Family(
        "long_routes",
        "graphs",
        "Eighteen or more steps of a vector recurrence over the whole graph, with growing numbers.",
        "repeated squaring of the adjacency matrix",
        _long_routes,
    ),
    Family(
        "feuding_guests",
        "graphs",
        "A hundred to several hundred independent sets, each with a product of weights.",
        "branching on one guest, with memory",
        _feuding_guests,
    ),
)
