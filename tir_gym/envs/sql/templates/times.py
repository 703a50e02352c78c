"""Dates: months, years, weekdays, spans, calendars."""

from tir_gym.envs.sql.asking import Ask, Question, condition, named, role, template


@template(3)
def per_month(a: Ask) -> Question:
    """Counts by month of one year."""
    t = a.table("day", least=8)
    when = a.column(t, "day")
    kept = condition(a, t, "", when)
    year = a.rng.randrange(2022, 2025)
    month = f"strftime('%Y-%m', {when.name})"
    sql = (
        f"SELECT {month} AS month, COUNT(*) FROM {t.name} WHERE {kept.sql} AND {when.name} BETWEEN '{year}-01-01' AND "
        f"'{year}-12-31' GROUP BY month ORDER BY month"
    )
    text = a.say(
        f"How many {t.many} {kept.words} were there in each month of {year} by {when.phrase}? Leave out months "
        "without any.",
        f"By {when.phrase}, count the {t.many} {kept.words} for every month of {year} that has some.",
    )
    wrong = sql.replace("'%Y-%m'", "'%m'").replace(f" AND {when.name} BETWEEN '{year}-01-01' AND '{year}-12-31'", "")
    return Question(text, sql, ("month as YYYY-MM", "count"), "by month", (wrong,))


@template(4)
def span_of_days(a: Ask) -> Question:
    """The average time from one date to another."""
    t = a.pick([t for t in a.family.tables if len(t.of("day")) == 2])
    first, second = t.of("day")
    kept = condition(a, t, "", first, second)
    sql = f"SELECT AVG(julianday({second.name}) - julianday({first.name})) FROM {t.name} WHERE {kept.sql}"
    text = a.say(
        f"How many days pass on average from {first.phrase} to {second.phrase} for the {t.many} {kept.words}, "
        "where both are "
        "known?",
        f"For {t.many} {kept.words} with both dates, what is the average number of days between {first.phrase} and "
        f"{second.phrase}?",
    )
    wrong = f"SELECT SUM(julianday({second.name}) - julianday({first.name})) / COUNT(*) FROM {t.name}"
    return Question(text, sql, ("average number of days",), readings=(wrong,))


@template(4)
def weekdays(a: Ask) -> Question:
    """Sums by day of the week."""
    t = a.table("day", "number", least=8)
    when, column = a.column(t, "day"), a.column(t, "number")
    kept = condition(a, t, "", when, column)
    day = f"strftime('%w', {when.name})"
    sql = (
        f"SELECT {day} AS weekday, SUM({column.name}) FROM {t.name} WHERE {kept.sql} AND {when.name} IS NOT NULL "
        "GROUP BY weekday ORDER BY weekday"
    )
    text = a.say(
        f"What is the total {column.phrase} of the {t.many} {kept.words} for each day of the week of the "
        f"{when.phrase}?",
        f"Add up the {column.phrase} of the {t.many} {kept.words} by weekday of the {when.phrase}.",
    )
    returns = ("weekday as text, '0' for Sunday to '6' for Saturday", f"total {column.phrase}")
    return Question(text, sql, returns, "by weekday", (sql.replace("'%w'", "'%d'"),))


@template(5)
def year_against_year(a: Ask) -> Question:
    """Two years side by side."""
    t = a.table("day", "category", least=8)
    when, group = a.column(t, "day"), a.column(t, "category")
    kept = condition(a, t, "", when, group)
    first, second = sorted(a.rng.sample((2022, 2023, 2024), 2))
    e = a.e(group)
    cell = f"SUM(CASE WHEN strftime('%Y', {when.name}) = '{{}}' THEN 1 ELSE 0 END)"
    one, two = cell.format(first), cell.format(second)
    where = f"{kept.sql} AND {e} IS NOT NULL"
    sql = f"SELECT {e}, {two} - {one} AS change FROM {t.name} WHERE {where} GROUP BY {e} ORDER BY {e}"
    text = a.say(
        f"By {when.phrase}, how many more {t.many} {kept.words} were there in {second} than in {first}, for each known "
        f"{group.phrase}? A decrease is negative.",
        f"For every known {group.phrase}: the number of {t.many} {kept.words} with a {when.phrase} in {second}, "
        "minus that of "
        f"{first}.",
    )
    swapped = sql.replace(f"{two} - {one}", f"{one} - {two}")
    return Question(text, sql, (group.phrase, "difference"), f"by {group.phrase}", (swapped,))


@template(7)
def calendar(a: Ask) -> Question:
    """Every day of a span, also those without rows."""
    t = a.table("day", least=8)
    when = a.column(t, "day")
    kept = condition(a, t, "x", when)
    month = f"{a.rng.randrange(2022, 2025)}-{a.rng.randrange(1, 13):02d}-01"
    length = a.rng.randrange(8, 25)
    sql = (
        f"WITH RECURSIVE days(d) AS (SELECT '{month}' UNION ALL SELECT date(d, '+1 day') FROM days "
        f"WHERE d < date('{month}', '+{length - 1} days')) SELECT d, COUNT(x.id) FROM days LEFT JOIN {t.name} x "
        f"ON x.{when.name} = d AND {kept.sql} GROUP BY d ORDER BY d"
    )
    text = a.say(
        f"For each of the {length} days from {month} on, how many {t.many} {kept.words} have it as {when.phrase}? "
        "Include days "
        "without any.",
        f"Give the {length} days that begin with {month}, each with the number of {t.many} {kept.words} whose "
        f"{when.phrase} it "
        "is, 0 where there are none.",
    )
    wrong = (
        f"SELECT {when.name}, COUNT(*) FROM {t.name} x WHERE {kept.sql} AND {when.name} >= '{month}' AND "
        f"{when.name} < date('{month}', '+{length} days') GROUP BY 1 ORDER BY 1"
    )
    return Question(text, sql, ("day as YYYY-MM-DD", "count"), "by day", (wrong,))


@template(5)
def in_every_year(a: Ask) -> Question:
    """Parents with children in several years."""
    link = a.link("day")
    when = a.column(link.child, "day")
    kept = condition(a, link.child, "c", when)
    years = a.rng.randrange(2, 4)
    name, called = named(a, link.parent, "p")
    sql = (
        f"SELECT {name} FROM {link.child.name} c JOIN {link.parent.name} p ON c.{link.column.name} = p.id WHERE "
        f"{kept.sql} "
        f"GROUP BY p.id HAVING COUNT(DISTINCT strftime('%Y', c.{when.name})) = {years} ORDER BY {name}"
    )
    text = a.say(
        f"Which {link.parent.many} are {role(link)} of {link.child.many} {kept.words} in exactly {years} "
        "different years by "
        f"{when.phrase}?",
        f"Find each {role(link)} whose {link.child.many} {kept.words} have their {when.phrase} in exactly {years} "
        "different "
        "years.",
    )
    return Question(text, sql, (called,), "alphabetically", (sql.replace("DISTINCT ", ""),))
