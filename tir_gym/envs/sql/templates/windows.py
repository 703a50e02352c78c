"""Window functions: ranks, running sums, neighbours."""

from tir_gym.envs.sql.asking import Ask, Question, condition, named, role, template


@template(6)
def ranked(a: Ask) -> Question:
    """The n-th of each group by a number."""
    t = a.table("ref", "number", least=8)
    group, column = a.column(t, "ref"), a.column(t, "number")
    nth = a.rng.randrange(1, 4)
    ordinal = ("first", "second", "third")[nth - 1]
    kept = condition(a, t, "", column)
    inner = (
        f"SELECT id, {group.name} AS g, ROW_NUMBER() OVER (PARTITION BY {group.name} ORDER BY {column.name} DESC, "
        "id) AS n "
        f"FROM {t.name} WHERE {kept.sql} AND {group.name} IS NOT NULL AND {column.name} IS NOT NULL"
    )
    sql = f"SELECT g, id FROM ({inner}) WHERE n = {nth} ORDER BY g"
    text = a.say(
        f"Rank the {t.many} {kept.words} of each {group.name} by {column.phrase}, largest first and equal ones by "
        "id. Which is "
        f"the {ordinal} of each, where there is one?",
        f"For each {group.name}, which {t.one} {kept.words} has the {ordinal} place by {column.phrase} (the "
        "largest is first; "
        "of equal ones the smaller id)? Leave out those without.",
    )
    wrong = sql.replace(" DESC", "")
    return Question(text, sql, (group.name, "id"), f"by {group.name}", (wrong,))


@template(6)
def running_total(a: Ask) -> Question:
    """A sum that grows from month to month."""
    t = a.table("day", "number", least=8)
    when, column = a.column(t, "day"), a.column(t, "number")
    kept = condition(a, t, "", when, column)
    year = a.rng.randrange(2022, 2025)
    inner = (
        f"SELECT strftime('%Y-%m', {when.name}) AS m, SUM({column.name}) AS s FROM {t.name} WHERE {kept.sql} AND "
        f"strftime('%Y', {when.name}) = '{year}' GROUP BY m"
    )
    sql = f"SELECT m, SUM(s) OVER (ORDER BY m) FROM ({inner}) ORDER BY m"
    text = a.say(
        f"For each month of {year} that has {t.many} {kept.words} by {when.phrase}, what is their total "
        f"{column.phrase} from the "
        "beginning of the year to the end of that month?",
        f"Give the running total of {column.phrase} over {year}, month by month by {when.phrase}, of the {t.many} "
        f"{kept.words}; "
        "leave out months without any.",
    )
    return Question(text, sql, ("month as YYYY-MM", "running total"), "by month", (f"{inner} ORDER BY m",))


@template(7)
def change(a: Ask) -> Question:
    """The difference to the row before."""
    link = a.link("day", "number", label=False)
    t, key = link.child, link.column.name
    when, column = a.column(t, "day"), a.column(t, "number")
    owner = a.pick(a.values(t, link.column)[:12])
    kept = condition(a, t, "", when, column)
    sql = (
        f"SELECT id, {column.name} - LAG({column.name}) OVER (ORDER BY {when.name}, id) FROM {t.name} WHERE {key} "
        f"= {owner} "
        f"AND {kept.sql} AND {when.name} IS NOT NULL AND {column.name} IS NOT NULL ORDER BY {when.name}, id"
    )
    text = a.say(
        f"Put the {t.many} {kept.words} with {key} {owner} that have both {when.phrase} and {column.phrase} in "
        "order of "
        f"{when.phrase}, then id. By how much does {column.phrase} change from the one before? Nothing (NULL) for "
        "the first.",
        f"For the {t.many} {kept.words} with {key} {owner}, by {when.phrase} and then id: {column.phrase} minus "
        "that of the one "
        "before, NULL for the first. Leave out those without date or value.",
    )
    wrong = sql.replace("LAG(", "LEAD(")
    return Question(text, sql, ("id", "change"), f"by {when.phrase}, then id", (wrong,))


@template(6)
def with_group_average(a: Ask) -> Question:
    """The group of each row above the average of its group."""
    t = a.table("category", "number")
    group, column = a.column(t, "category"), a.column(t, "number")
    kept = condition(a, t, "", group, column)
    e = a.e(group)
    inner = (
        f"SELECT {e} AS g, {column.name} - AVG({column.name}) OVER (PARTITION BY {e}) AS d FROM {t.name} "
        f"WHERE {kept.sql} AND {e} IS NOT NULL"
    )
    sql = f"SELECT g FROM ({inner}) WHERE d > 0"
    text = a.say(
        f"Of the {t.many} {kept.words} with a known {group.phrase}, which exceed the average {column.phrase} of those "
        f"with the same one? Give their {group.phrase}.",
        f"Compare each of the {t.many} {kept.words} with the average {column.phrase} of those among them that share "
        f"its {group.phrase} (leave out missing ones). What is the {group.phrase} of those above it?",
    )
    readings = (sql.replace(f" OVER (PARTITION BY {e})", " OVER ()"),)
    return Question(text, sql, (group.phrase,), readings=readings, each=f"such {t.one}")


@template(8)
def top_share(a: Ask) -> Question:
    """How many of the largest make up a share of the whole."""
    t = a.table("number", least=4)
    column = a.column(t, "number")
    kept = condition(a, t, "", column)
    percent = a.pick((20, 25, 40, 50, 60, 75))
    inner = (
        f"SELECT SUM({column.name}) OVER (ORDER BY {column.name} DESC, id) AS s, SUM({column.name}) OVER () AS total "
        f"FROM {t.name} WHERE {kept.sql} AND {column.name} IS NOT NULL"
    )
    sql = f"SELECT COUNT(*) + 1 FROM ({inner}) WHERE s * 100 < total * {percent}"
    text = a.say(
        f"Take the {t.many} {kept.words} from the largest {column.phrase} down. How many are needed until they "
        "make up at least "
        f"{percent} percent of the total {column.phrase} of these {t.many}?",
        f"What is the smallest number of {t.many} {kept.words} that together have at least {percent} percent of "
        "the total "
        f"{column.phrase} of all {t.many} {kept.words}?",
    )
    return Question(text, sql, ("the number",), readings=(sql.replace(" DESC", ""),))


@template(7)
def moving_average(a: Ask) -> Question:
    """The mean of each month and the two before."""
    t = a.table("day", "number", least=8)
    when, column = a.column(t, "day"), a.column(t, "number")
    kept = condition(a, t, "", when, column)
    inner = (
        f"SELECT strftime('%Y-%m', {when.name}) AS m, SUM({column.name}) AS s FROM {t.name} WHERE {kept.sql} AND "
        f"{when.name} IS NOT NULL GROUP BY m"
    )
    sql = f"SELECT m, AVG(s) OVER (ORDER BY m ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM ({inner}) ORDER BY m"
    text = a.say(
        f"Add up the {column.phrase} of the {t.many} {kept.words} by month of the {when.phrase}. For each month "
        "that occurs, "
        "what is the average total of it and the two listed before it (fewer at the beginning)?",
        f"Give the moving average over three listed months of the monthly total {column.phrase} of the {t.many} "
        f"{kept.words}, "
        f"by {when.phrase}; at the beginning over those there are.",
    )
    return Question(
        text, sql, ("month as YYYY-MM", "average"), "by month", (sql.replace("2 PRECEDING", "3 PRECEDING"),)
    )


@template(6)
def top_ranks(a: Ask) -> Question:
    """The rows with the largest few different values of each kind."""
    t = a.table("category", "number", least=8)
    group, column = a.column(t, "category"), a.column(t, "number")
    kept = condition(a, t, "", group, column)
    e = a.e(group)
    few = a.rng.randrange(2, 5)
    inner = (
        f"SELECT id, {e} AS g, DENSE_RANK() OVER (PARTITION BY {e} ORDER BY {column.name} DESC) AS r FROM {t.name} "
        f"WHERE {kept.sql} AND {e} IS NOT NULL AND {column.name} IS NOT NULL"
    )
    sql = f"SELECT g, r, id FROM ({inner}) WHERE r <= {few}"
    text = a.say(
        f"For each known {group.phrase}, take the {few} largest different values of {column.phrase} among the {t.many} "
        f"{kept.words}. Which {t.many} have them? The largest value has rank 1; equal values share a rank, none "
        "is skipped.",
        f"Among the {t.many} {kept.words} of each known {group.phrase}, give those with rank 1 to {few} by "
        f"{column.phrase}: "
        "the largest first, equal ones alike, without gaps in the ranks.",
    )
    return Question(text, sql, (group.phrase, "rank", "id"), readings=(sql.replace(" DESC", ""),))


@template(7)
def quarters(a: Ask) -> Question:
    """Four parts of equal size, and what bounds them."""
    t = a.table("number", least=8)
    column = a.column(t, "number")
    kept = condition(a, t, "", column)
    parts = a.pick((3, 4, 5, 10))
    inner = (
        f"SELECT {column.name} AS v, NTILE({parts}) OVER (ORDER BY {column.name}, id) AS q FROM {t.name} WHERE "
        f"{kept.sql} "
        f"AND {column.name} IS NOT NULL"
    )
    sql = f"SELECT q, MIN(v), MAX(v) FROM ({inner}) GROUP BY q ORDER BY q"
    text = a.say(
        f"Order the {t.many} {kept.words} with a known {column.phrase} by it, then by id, and cut them into "
        f"{parts} parts of "
        "equal size (where that is not possible the first parts have one more). What are the smallest and the largest "
        f"{column.phrase} of each part?",
        f"Divide the {t.many} {kept.words} that have a {column.phrase} into {parts} groups as SQL's NTILE does, "
        f"by {column.phrase} "
        "and then id. Give each group's number with its smallest and largest value.",
    )
    return Question(text, sql, ("part, from 1", "smallest", "largest"), "by part", (sql.replace("v), MAX", "v), AVG"),))


@template(8)
def median(a: Ask) -> Question:
    """The median of each kind."""
    t = a.table("category", "number", least=8)
    group, column = a.column(t, "category"), a.column(t, "number")
    kept = condition(a, t, "", group, column)
    e = a.e(group)
    inner = (
        f"SELECT {e} AS g, {column.name} AS v, ROW_NUMBER() OVER (PARTITION BY {e} ORDER BY {column.name}) AS n, "
        "COUNT(*) "
        f"OVER (PARTITION BY {e}) AS c FROM {t.name} WHERE {kept.sql} AND {e} IS NOT NULL AND {column.name} IS NOT NULL"
    )
    sql = f"SELECT g, AVG(v) FROM ({inner}) WHERE n BETWEEN c / 2.0 AND c / 2.0 + 1 GROUP BY g"
    text = a.say(
        f"What is the median {column.phrase} of the {t.many} {kept.words} for each known {group.phrase}? With an "
        "even number of "
        "values it is the mean of the middle two.",
        f"For every known {group.phrase}, find the median {column.phrase} of the {t.many} {kept.words} (the mean "
        "of the two in the "
        "middle where there are two).",
    )
    wrong = sql.replace(" WHERE n BETWEEN c / 2.0 AND c / 2.0 + 1", "")
    return Question(text, sql, (group.phrase, "median"), readings=(wrong,))


@template(8)
def longest_gap(a: Ask) -> Question:
    """The longest time between neighbours."""
    link = a.link("day")
    t, key = link.child, link.column.name
    when = a.column(t, "day")
    kept = condition(a, t, "c", when)
    name, called = named(a, link.parent, "p")
    inner = (
        f"SELECT c.{key} AS k, julianday(c.{when.name}) - julianday(LAG(c.{when.name}) OVER (PARTITION BY c.{key} "
        f"ORDER BY c.{when.name})) AS d FROM {t.name} c WHERE {kept.sql} AND c.{when.name} IS NOT NULL"
    )
    parents = f"{link.parent.name} p ON p.id = k"
    sql = f"SELECT {name}, MAX(d) FROM ({inner}) JOIN {parents} GROUP BY p.id HAVING MAX(d) IS NOT NULL"
    text = a.say(
        f"For each {role(link)} of at least two {t.many} {kept.words} with a {when.phrase}, what is the greatest "
        "number of days "
        "between two that follow one another?",
        f"Order the {t.many} {kept.words} of each {role(link)} by {when.phrase}. What is the longest gap in days "
        "between "
        "neighbours? Leave out those with fewer than two.",
    )
    return Question(text, sql, (called, "days"), readings=(sql.replace("MAX(d)", "MIN(d)"),))
