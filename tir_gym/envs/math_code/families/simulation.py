"""Processes that have to be run: shuffles, automata, queues and circles."""

from __future__ import annotations

import random
from heapq import heapreplace

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, listing, pick, size

__all__ = ["FAMILIES"]


def _shuffles(rng: random.Random, level: int) -> Problem:
    half = rng.randrange(28, 34)
    cards = 2 * half
    cut = rng.randrange(3, cards - 3)
    times = size(rng, level, 10, 1510)
    source = [0] * cards
    for place in range(cards):
        cut_place = place // 2 + (half if place % 2 else 0)
        source[place] = (cut_place + cut) % cards
    factors = rng.sample(range(2, 40), 5)
    answer = 0
    for place in range(5):
        cycle = [place]
        while source[cycle[-1]] != place:
            cycle.append(source[cycle[-1]])
        answer += factors[place] * (cycle[times % len(cycle)] + 1)
    name = rng.choice(pick(rng, "names", 3))
    opening = rng.choice(
        (
            f"{name} has a pile of cards numbered 1 to {cards} from top to bottom.",
            f"Cards 1 to {cards} lie in order, 1 on top.",
        )
    )
    terms = " + ".join(f"{factor}*c{place}" for place, factor in enumerate(factors, 1))
    prompt = (
        f"{opening} One round consists of two moves: first the top {cut} cards are moved, in their order, under the "
        "others; then the pile is halved and the halves are interleaved perfectly, starting with the top card of the "
        f"upper half. After {times} rounds, let the top five cards, from the top down, be c1, c2, c3, c4, c5. What is "
        f"{terms}?"
    )
    program = f"""pile = list(range(1, {cards} + 1))
for turn in range({times}):
    pile = pile[{cut}:] + pile[:{cut}]
    mixed = []
    for upper, lower in zip(pile[:{half}], pile[{half}:]):
        mixed += [upper, lower]
    pile = mixed
sum(factor * card for factor, card in zip({factors}, pile))"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


_RULES = (30, 45, 54, 73, 75, 86, 89, 101, 106, 110, 124, 129, 135, 137, 149, 150, 169, 193, 225)


def _automaton(rng: random.Random, level: int) -> Problem:
    width = 10 + 2 * level + rng.randrange(2)
    steps = 4 + 4 * level + rng.randrange(4)
    rule = rng.choice(_RULES)
    row = rng.randrange(1, 1 << width)
    cells = format(row, f"0{width}b")
    full = (1 << width) - 1
    for _ in range(steps):
        left = (row >> 1) | ((row & 1) << (width - 1))
        right = ((row << 1) & full) | (row >> (width - 1))
        after = 0
        for pattern in range(8):
            if rule >> pattern & 1:
                match = left if pattern & 4 else ~left
                match &= row if pattern & 2 else ~row
                after |= match & (right if pattern & 1 else ~right)
        row = after & full
    table = ", ".join(f"{pattern:03b} becomes {rule >> pattern & 1}" for pattern in range(7, -1, -1))
    prompt = rng.choice(
        (
            (
                f"A ring of {width} lamps shows {cells} (1 is on; the last lamp is next to the first). At every tick "
                f"all lamps change at once by their left neighbour, own state and right neighbour: {table}. Read the "
                f"row after {steps} ticks as a binary number, first lamp as the highest digit. What is it in decimal?"
            ),
            (
                f"An elementary cellular automaton with rule number {rule} (Wolfram's numbering: {table}) runs on a "
                f"circular row of {width} cells that starts as {cells}. What is the row after {steps} steps, read as "
                "a binary number with the first cell most significant and written in decimal?"
            ),
        )
    )
    program = f"""cells = [int(c) for c in {cells!r}]
width = len(cells)
for step in range({steps}):
    after = []
    for i in range(width):
        pattern = 4 * cells[i - 1] + 2 * cells[i] + cells[(i + 1) % width]
        after.append({rule} >> pattern & 1)
    cells = after
int("".join(map(str, cells)), 2)"""
    return Problem(f"{prompt} {INTEGER}", str(row), program)


def _service_desk(rng: random.Random, level: int) -> Problem:
    customers = 5 + 3 * level + rng.randrange(3)
    desks = rng.randrange(1, 4)
    arrivals = [rng.randrange(5)]
    for _ in range(customers - 1):
        arrivals.append(arrivals[-1] + rng.randrange(0, 5))
    lengths = [rng.randrange(2 * desks, 5 * desks + 4) for _ in range(customers)]
    free = [0] * desks
    answer = 0
    for arrival, length in zip(arrivals, lengths, strict=True):
        begin = max(free[0], arrival)
        heapreplace(free, begin + length)
        answer += begin - arrival
    people = listing([f"{arrival}/{length}" for arrival, length in zip(arrivals, lengths, strict=True)])
    place = rng.choice(pick(rng, "places", 3))
    noun = "desk" if desks == 1 else "desks"
    prompt = rng.choice(
        (
            (
                f"The post office of {place} has {desks} {noun} and one line; whoever is first in line goes to a desk "
                "as soon as one is free. The customers, in the order of the line, as minute of arrival/minutes of "
                f"service: {people}. A desk that finishes at minute t can begin with the next customer at minute t. "
                "How many minutes do all customers together spend waiting in line?"
            ),
            (
                f"Jobs arrive at a printer room with {desks} printer(s) and are printed first come, first served, "
                "each on one printer that is free (a printer freed at time t can start at t). Arrival time/printing "
                f"time in order: {people}. What is the sum of the waiting times of all jobs before their printing "
                "starts?"
            ),
        )
    )
    program = f"""from collections import deque
customers = deque(zip({arrivals}, {lengths}))
line, busy = deque(), []
minute = waited = 0
while customers or line:
    busy = [left - 1 for left in busy if left > 1]
    while customers and customers[0][0] == minute:
        line.append(customers.popleft()[1])
    while line and len(busy) < {desks}:
        busy.append(line.popleft())
    waited += len(line)
    minute += 1
waited"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _counting_out(rng: random.Random, level: int) -> Problem:
    people = size(rng, level, 60, 2060)
    step = rng.randrange(3, 40)
    keep = 3
    answer = 0
    for turn in range(keep):
        seat = (step - 1) % (turn + 1)
        for circle in range(turn + 2, people + 1):
            seat = (seat + step) % circle
        answer += seat + 1
    item = rng.choice(("children", "sailors", "monks", "actors"))
    prompt = rng.choice(
        (
            (
                f"{people} {item} numbered 1 to {people} stand in a circle. They are counted 1, 2, ..., {step}, "
                f"starting with number 1; whoever is counted {step} leaves, and the next one still standing is "
                f"counted 1 again. What is the sum of the numbers of the last {keep} to leave, the very last one "
                "included?"
            ),
            (
                f"In a circle of {people} {item} (numbers 1 to {people}) counting runs round and round from number 1, "
                f"and whoever is counted {step} drops out before the count restarts at 1 with the next in the circle, "
                f"until nobody is left. Add the numbers of the final {keep} that drop out. What is the sum?"
            ),
        )
    )
    program = f"""from collections import deque
circle = deque(range(1, {people} + 1))
gone = []
while circle:
    circle.rotate(-{step - 1})
    gone.append(circle.popleft())
sum(gone[-{keep}:])"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _sandpile(rng: random.Random, level: int) -> Problem:
    side = 5
    heights = [rng.randrange(4) for _ in range(side * side)]
    row, column = rng.randrange(1, side - 1), rng.randrange(1, side - 1)
    grains = size(rng, level, 10, 110)
    near = _NEIGHBOURS
    piles = heights[:]
    piles[row * side + column] += grains
    unstable = [row * side + column]
    while unstable:
        cell = unstable.pop()
        fallen, piles[cell] = divmod(piles[cell], 4)
        if fallen:
            for other in near[cell]:
                piles[other] += fallen
                if piles[other] >= 4:
                    unstable.append(other)
    answer = sum((place + 1) * height for place, height in enumerate(piles))
    table = [heights[i : i + side] for i in range(0, side * side, side)]
    prompt = rng.choice(
        (
            (
                f"Sand lies on a {side} by {side} board; the numbers of grains, row by row, are {listing(table)}. "
                f"{grains} more grains are dropped one after the other on row {row + 1}, column {column + 1} (counted "
                "from 1). Whenever a cell holds 4 grains or more, it topples: 4 of its grains leave, one to each of "
                "the four neighbouring cells, where those beyond the edge are lost; this goes on until no cell holds "
                f"4, then the next grain is dropped. At the end number the cells 1 to {side * side}, row by row, and "
                "multiply each cell's number by its grains. What is the sum of the products?"
            ),
            (
                f"In the abelian sandpile model on a {side} by {side} grid (a cell with at least 4 grains gives one "
                "to each orthogonal neighbour, grains pushed off the grid vanish) the rows of the initial stable "
                f"configuration are {listing(table)}. Add {grains} grains at the cell in row {row + 1} and column "
                f"{column + 1} (rows and columns are counted from 1) and stabilise. With h_1, ..., h_{side * side} the "
                f"final heights read row by row, compute 1*h_1 + 2*h_2 + ... + {side * side}*h_{side * side}."
            ),
        )
    )
    program = f"""board = {table}
def drop(row, column):
    board[row][column] += 1
    if board[row][column] == 4:
        board[row][column] = 0
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < {side} and 0 <= c < {side}:
                drop(r, c)
for grain in range({grains}):
    drop({row}, {column})
sum(number * height for number, height in enumerate(sum(board, []), 1))"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


_NEIGHBOURS = tuple(
    tuple(
        5 * r + c
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        if 0 <= r < 5 and 0 <= c < 5
    )
    for row in range(5)
    for column in range(5)
)
"""Cells beside each cell of a board of five by five."""


FAMILIES = (
    Family(
        "shuffles",
        "simulation",
        "Hundreds of rounds on over fifty cards; a shortcut needs the cycles of the whole permutation.",
        "the cycles of one round",
        _shuffles,
    ),
    Family(
        "automaton",
        "simulation",
        "Hundreds of cell updates of a chaotic rule, where one slip changes the whole row.",
        "whole rows as bits of one integer",
        _automaton,
    ),
    Family(
        "service_desk",
        "simulation",
        "Twenty or more customers over several desks have to be followed minute by minute.",
        "a heap of the times at which desks are free",
        _service_desk,
    ),
    Family(
        "counting_out",
        "simulation",
        "Over a thousand eliminations, or a recurrence modulo every circle size, three times over.",
        "Josephus's recurrence over circle sizes",
        _counting_out,
    ),
    Family(
        "sandpile",
        "simulation",
        "Hundreds of topplings on a board of 25 cells, each of which can set off others.",
        "all grains at once, toppled in bulk (the model is abelian)",
        _sandpile,
    ),
)
