"""Questions about small tables given in the prompt."""

from __future__ import annotations

import random
from bisect import bisect_right, insort

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, pick, size

__all__ = ["FAMILIES"]


def _sales_table(rng: random.Random, level: int) -> Problem:
    lines = 6 + 4 * level + rng.randrange(4)
    places, goods = pick(rng, "places", 4), pick(rng, "goods", 4)
    wanted_place, wanted_good = rng.choice(places), rng.choice(goods)
    least = rng.randrange(8, 20)
    rows: list[tuple[str, str, int, int]] = []
    for _ in range(lines):
        place, good = rng.choice(places), rng.choice(goods)
        quantity, price = rng.randrange(1, 40), rng.randrange(15, 400)
        rows.append((place, good, quantity, price))
    in_town = sum(quantity * price for place, _, quantity, price in rows if place == wanted_place)
    large = [row for row in rows if row[1] == wanted_good and row[2] >= least]
    answer = in_town + sum(row[2] * row[3] for row in large if row[0] != wanted_place)
    text = "\n".join(f"{place},{good},{quantity},{price}" for place, good, quantity, price in rows)
    table = f"town,good,quantity,price\n{text}"
    prompt = rng.choice(
        (
            (
                f"Sales as comma-separated values, prices in cents per piece:\n{table}\nWhat is the total revenue in "
                f"cents of the sales that were made in {wanted_place} or that sold at least {least} pieces of "
                f"{wanted_good} (or both)?"
            ),
            (
                f"Here is a table:\n{table}\nAdd quantity times price over all rows whose town is {wanted_place}, or "
                f"whose good is {wanted_good} with a quantity of {least} or more; a row that fits both counts once. "
                "What is the sum?"
            ),
        )
    )
    program = f"""import csv
import io
table = {table!r}
revenue = {{}}
for number, row in enumerate(csv.DictReader(io.StringIO(table))):
    in_town = row["town"] == {wanted_place!r}
    large = row["good"] == {wanted_good!r} and int(row["quantity"]) >= {least}
    if in_town or large:
        revenue[number] = int(row["quantity"]) * int(row["price"])
sum(revenue.values())"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _best_town(rng: random.Random, level: int) -> Problem:
    count = 8 + 4 * level
    people, towns, goods = pick(rng, "names", 6), pick(rng, "places", 3), pick(rng, "goods", 5)
    homes = {person: towns[i % 3] for i, person in enumerate(people)}
    prices = {good: rng.randrange(15, 400) for good in goods}
    orders = [(rng.choice(people), rng.choice(goods), rng.randrange(1, 40)) for _ in range(count)]
    totals = [0, 0, 0]
    for town, home in enumerate(towns):
        for good in goods:
            totals[town] += prices[good] * sum(n for who, what, n in orders if what == good and homes[who] == home)
    customers = "\n".join(f"{person},{homes[person]}" for person in rng.sample(people, 6))
    catalogue = "\n".join(f"{good},{price}" for good, price in prices.items())
    sales = "\n".join(f"{person},{good},{n}" for person, good, n in orders)
    tables = f"customer,town\n{customers}\n\ngood,price\n{catalogue}\n\ncustomer,good,quantity\n{sales}"
    prompt = rng.choice(
        (
            (
                f"Three tables of a trader, prices in cents per piece:\n{tables}\nThe revenue of a town is the sum "
                "of quantity times price over all orders of its customers. How large is the revenue of the town that "
                "brings in most, in cents?"
            ),
            (
                f"Customers, goods and orders are listed in three tables:\n{tables}\nFor each town add up what its "
                "customers pay for all their orders. What is the greatest of these sums?"
            ),
        )
    )
    program = f"""customers, goods, orders = [block.splitlines()[1:] for block in {tables!r}.split("\\n\\n")]
town = dict(line.split(",") for line in customers)
price = dict(line.split(",") for line in goods)
revenue = {{}}
for line in orders:
    customer, good, quantity = line.split(",")
    revenue.setdefault(town[customer], []).append(int(quantity) * int(price[good]))
max(map(sum, revenue.values()))"""
    return Problem(f"{prompt} {INTEGER}", str(max(totals)), program)


def _busy_minutes(rng: random.Random, level: int) -> Problem:
    count, needed = 3 + level, 2 + level // 4
    people = pick(rng, "names", count)
    opening, span = rng.randrange(300, 400), size(rng, level, 300, 900)
    shifts = []
    for _ in people:
        begin = opening + rng.randrange(span // 2)
        shifts.append((begin, begin + span // 3 + rng.randrange(span // 6)))
    events = sorted([(begin, 1) for begin, _ in shifts] + [(end, -1) for _, end in shifts])
    answer = present = before = 0
    for minute, change in events:
        answer += (minute - before) * (present >= needed)
        present += change
        before = minute
    table = "\n".join(f"{who},{_clock(begin)},{_clock(end)}" for who, (begin, end) in zip(people, shifts, strict=True))
    prompt = rng.choice(
        (
            (
                f"Attendance of one day, with times of arrival and leaving:\nname,from,to\n{table}\nFor how many "
                f"minutes were at least {needed} people present at the same time?"
            ),
            (
                f"A log of machine runs, each from a start up to an end time:\nmachine,from,to\n{table}\nHow many "
                f"minutes long, in total, are the stretches of time in which {needed} or more machines were running?"
            ),
        )
    )
    program = f"""log = {table!r}
def minutes(clock):
    hours, rest = clock.split(":")
    return 60 * int(hours) + int(rest)
shifts = [tuple(minutes(clock) for clock in line.split(",")[1:]) for line in log.splitlines()]
busy = 0
for minute in range(min(shifts)[0], max(end for begin, end in shifts)):
    busy += sum(begin <= minute < end for begin, end in shifts) >= {needed}
busy"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _total_drop(rng: random.Random, level: int) -> Problem:
    numbers = [rng.randrange(100, 1000) for _ in range(8 + 3 * level)]
    seen: list[int] = []
    answer = 0
    for number in numbers:
        above = seen[bisect_right(seen, number) :]
        answer += sum(above) - number * len(above)
        insort(seen, number)
    name = rng.choice(pick(rng, "names", 3))
    text = ", ".join(map(str, numbers))
    prompt = rng.choice(
        (
            (
                f"{name}'s readings in order of time are {text}. For every pair of readings of which the earlier one "
                "is larger, take the difference, larger minus smaller. What is the sum of these differences?"
            ),
            (
                f"Given the list {text}, add a_i - a_j over all pairs of positions i < j with a_i > a_j. What is the "
                "sum?"
            ),
        )
    )
    program = f"""from itertools import combinations
readings = {numbers}
sum(max(0, earlier - later) for earlier, later in combinations(readings, 2))"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


FAMILIES = (
    Family(
        "sales_table",
        "data",
        "Dozens of rows are filtered by a compound condition and multiplied out.",
        "two filtered sums, what they share taken once",
        _sales_table,
    ),
    Family(
        "best_town",
        "data",
        "Over thirty orders are joined with two tables, multiplied and added up for each of three towns.",
        "one filtered sum for every town and good",
        _best_town,
    ),
    Family(
        "busy_minutes",
        "data",
        "Nine or more overlapping shifts: their ends must be sorted and counted through without a slip.",
        "a sweep over arrivals and departures",
        _busy_minutes,
    ),
    Family(
        "total_drop",
        "data",
        "Over three hundred pairs of three-digit numbers have to be compared and subtracted.",
        "insertion into a sorted list",
        _total_drop,
    ),
)
