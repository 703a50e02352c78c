"""Long calculations with digits, fractions and dates."""

from __future__ import annotations

import random
from itertools import pairwise

from tir_gym.envs.math_code.families.base import INTEGER, Family, Problem, pick, size

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


def _power_digits(rng: random.Random, level: int) -> Problem:
    base = rng.randrange(40, 100)
    exponent = size(rng, level, 8, 88)
    answer = sum(place * int(digit) for place, digit in enumerate(reversed(str(base**exponent)), 1))
    prompt = rng.choice(
        (
            (
                f"Write {base}^{exponent} in decimal. Multiply every digit by its place, counted from the right (the "
                "units digit has place 1), and add the products. What is the sum?"
            ),
            (
                f"Let d_1, d_2, d_3, ... be the decimal digits of {base}^{exponent}, beginning with the units digit. "
                "Compute 1*d_1 + 2*d_2 + 3*d_3 + ... over all its digits."
            ),
        )
    )
    program = f"""digits = [1]
for step in range({exponent}):
    carry = 0
    for place, digit in enumerate(digits):
        carry, digits[place] = divmod(digit * {base} + carry, 10)
    while carry:
        carry, digit = divmod(carry, 10)
        digits.append(digit)
sum(place * digit for place, digit in enumerate(digits, 1))"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _long_division(rng: random.Random, level: int) -> Problem:
    bottom = rng.randrange(1001, 9999, 2)
    bottom += 2 * (bottom % 5 == 0)
    top = rng.randrange(1, bottom)
    places = size(rng, level, 20, 420)
    digits = [int(digit) for digit in f"{top * 10**places // bottom:0{places}d}"]
    answer = sum(a * b for a, b in pairwise(digits))
    prompt = rng.choice(
        (
            (
                f"Take the first {places} digits after the decimal point of {top}/{bottom} (not rounded). Multiply "
                "each of them by the digit right after it, as far as both are among these digits, and add the "
                "products. What is the sum?"
            ),
            (
                f"Let 0.d_1 d_2 d_3 ... be the decimal expansion of {top}/{bottom}. Compute d_1*d_2 + d_2*d_3 + ... + "
                f"d_{places - 1}*d_{places}."
            ),
        )
    )
    program = f"""rest, previous, total = {top}, 0, 0
for place in range({places}):
    digit, rest = divmod(10 * rest, {bottom})
    total += previous * digit
    previous = digit
total"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


def _continued_fraction(rng: random.Random, level: int) -> Problem:
    terms = [rng.randrange(1, 13) for _ in range(3 + 2 * level)] + [rng.randrange(2, 13)]
    top, top_before, bottom, bottom_before = 1, 0, 0, 1
    for term in terms:
        top, top_before = term * top + top_before, top
        bottom, bottom_before = term * bottom + bottom_before, bottom
    inner = ", ".join(map(str, terms[1:]))
    prompt = rng.choice(
        (
            (
                f"The simple continued fraction [{terms[0]}; {inner}] equals p/q in lowest terms. What is p + q? "
                "(Here [a; b, c] stands for a + 1/(b + 1/c), and so on.)"
            ),
            (
                "A number is built from a list from its end: take the last entry; then again and again replace the "
                "number by its reciprocal plus the entry before, until the first entry has been used. The list is "
                f"{terms[0]}, {inner}. Add the numerator and the denominator of the result in lowest terms."
            ),
        )
    )
    program = f"""from fractions import Fraction
terms = {terms}
value = Fraction(terms.pop())
while terms:
    value = terms.pop() + 1 / value
value.numerator + value.denominator"""
    return Problem(f"{prompt} {INTEGER}", str(top + bottom), program)


def _column_carries(rng: random.Random, level: int) -> Problem:
    start, step = rng.randrange(100, 1000), rng.randrange(11, 100)
    count = size(rng, level, 10, 210)
    numbers = range(start, start + step * count, step)
    answer = (sum(sum(map(int, str(number))) for number in numbers) - sum(map(int, str(sum(numbers))))) // 9
    name = rng.choice(pick(rng, "names", 3))
    prompt = rng.choice(
        (
            (
                f"{name} adds up the {count} numbers {start}, {start + step}, {start + 2 * step}, ..., {numbers[-1]} "
                "with pencil and paper, one after the other: each number is added to the total so far, column by "
                "column. A carry of 1 is noted whenever a column (with the carry it received) comes to 10 or more. How "
                "many carries are noted altogether?"
            ),
            (
                f"An adding machine starts at 0 and adds {start}, {start + step}, {start + 2 * step} and so on up to "
                f"{numbers[-1]} ({count} equally spaced numbers) in turn in decimal. Its carry wheel clicks once each "
                "time a decimal place overflows from 9 into the next place during an addition of two numbers. How "
                "often does it click in total?"
            ),
        )
    )
    program = f"""total = carries = 0
for number in range({start}, {numbers[-1]} + 1, {step}):
    upper, lower, carry = total, number, 0
    while upper or lower:
        carry = (upper % 10 + lower % 10 + carry) // 10
        carries += carry
        upper, lower = upper // 10, lower // 10
    total += number
carries"""
    return Problem(f"{prompt} {INTEGER}", str(answer), program)


FAMILIES = (
    Family(
        "weekday_dates",
        "arithmetic",
        "Hundreds of dates over more than a decade with leap years and two partial months.",
        "arithmetic progressions of days, month by month",
        _weekday_dates,
    ),
    Family(
        "power_digits",
        "arithmetic",
        "Every digit of a number with 80 to 170 digits is needed.",
        "the language's own big integers",
        _power_digits,
    ),
    Family(
        "long_division",
        "arithmetic",
        "Over two hundred digits of a quotient by a four-digit number, each multiplied by the next.",
        "one division of big integers",
        _long_division,
    ),
    Family(
        "continued_fraction",
        "arithmetic",
        "Sixteen or more nested fractions whose terms grow beyond ten digits.",
        "the recurrence of the convergents, from the front",
        _continued_fraction,
    ),
    Family(
        "column_carries",
        "arithmetic",
        "Over a hundred column additions, or the digit sums of as many numbers.",
        "Legendre's formula: nine carries are what the digit sums lose",
        _column_carries,
    ),
)
