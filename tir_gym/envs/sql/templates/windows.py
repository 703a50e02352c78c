"""Window functions: ranks, running sums, neighbours."""

from tir_gym.envs.sql.asking import Ask, Question, condition, named, template


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
    """Rows beside the average of their group."""
    t = a.table("category", "number", label=True)
    group, column = a.column(t, "category"), a.column(t, "number")
    name, called = named(a, t)
    kept = condition(a, t, "", group, column)
    e = a.e(group)
    inner = (
        f"SELECT {name} AS name, {column.name} - AVG({column.name}) OVER (PARTITION BY {e}) AS d FROM {t.name} "
        f"WHERE {kept.sql} AND {e} IS NOT NULL"
    )
    sql = f"SELECT name, d FROM ({inner}) WHERE d > 0"
    text = a.say(
        f"Of the {t.many} {kept.words} with a known {group.phrase}, which exceed the average {column.phrase} of "
        "those with the "
        "same one, and by how much?",
        f"Compare each of the {t.many} {kept.words} with the average {column.phrase} of those among them that "
        "share its "
        f"{group.phrase} (leave out missing ones). Which are above, and how far?",
    )
    return Question(text, sql, (called, "difference"), readings=(sql.replace(f" OVER (PARTITION BY {e})", " OVER ()"),))


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
