"""Calendars and questions about a small table given in the prompt."""

from __future__ import annotations

import random

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, pick

__all__ = ["FAMILIES"]

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _weekday_dates(rng: random.Random, level: int) -> Problem:
    year, month, day = rng.randrange(1905, 2060), rng.randrange(1, 13), rng.randrange(1, 29)
    weekday = rng.randrange(7)
    years = 1 + 3 * (level - 1) + rng.randrange(3)
    last_year, last_month, last_day = year + years, rng.randrange(1, 13), rng.randrange(1, 29)
    before = year - 1
    first_of_month = (before * 365 + before // 4 - before // 100 + before // 400) % 7
    answer = 0
    for y in range(year, last_year + 1):
        for m in range(1, 13):
            days = _MONTHS[m - 1] + (m == 2 and _leap(y))
            if (year, month) <= (y, m) <= (last_year, last_month):
                low = day if (y, m) == (year, month) else 1
                high = last_day if (y, m) == (last_year, last_month) else days
                first = low + (weekday - first_of_month - low + 1) % 7
                if first <= high:
                    count = (high - first) // 7 + 1
                    answer += count * first + 7 * count * (count - 1) // 2
            first_of_month = (first_of_month + days) % 7
    start, end = f"{year:04d}-{month:02d}-{day:02d}", f"{last_year:04d}-{last_month:02d}-{last_day:02d}"
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"Take every {_WEEKDAYS[weekday]} from {start} to {end} (dates as year-month-day, both ends included, "
                "Gregorian calendar) and add up their days of the month (the 17th counts 17). What is the total?"
            ),
            (
                f"On each {_WEEKDAYS[weekday]} {name} puts as many coins into a jar as the day of the month says (on "
                f"the 17th, 17 coins). How many coins are put in from {start} through {end}, both dates included, by "
                "the Gregorian calendar with dates written year-month-day?"
            ),
        )
    )
    program = f"""from datetime import date, timedelta
today = date({year}, {month}, {day})
coins = 0
while today <= date({last_year}, {last_month}, {last_day}):
    if today.weekday() == {weekday}:
        coins += today.day
    today += timedelta(days=1)
coins"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


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


FAMILIES = (
    Family(
        "weekday_dates",
        "calendar",
        "Hundreds of dates over more than a decade with leap years and two partial months.",
        _weekday_dates,
    ),
    Family(
        "sales_table",
        "data",
        "Dozens of rows are filtered by a compound condition and multiplied out.",
        _sales_table,
    ),
)
