"""Groups of one table: counting, having, shares, pivots."""

from tir_gym.envs.sql.asking import Ask, Question, condition, template


@template(2)
def group_count(a: Ask) -> Question:
    """How many rows of each kind."""
    t = a.table("category", "number")
    group = a.column(t, "category")
    kept = condition(a, t, "", group)
    e = a.e(group)
    where = f"{kept.sql} AND {e} IS NOT NULL"
    sql = f"SELECT {e}, COUNT(*) FROM {t.name} WHERE {where} GROUP BY {e} ORDER BY COUNT(*) DESC, {e}"
    text = a.say(
        f"For each {group.phrase} that is known, how many {t.many} are there {kept.words}?",
        f"Count the {t.many} {kept.words} by {group.phrase}, leaving out those without one.",
    )
    order = f"largest count first, then by {group.phrase}"
    return Question(text, sql, (group.phrase, "count"), order, (sql.replace(f"{kept.sql} AND ", ""),))


@template(3)
def group_having(a: Ask) -> Question:
    """An average of each group that is large enough."""
    t = a.table("ref", "number", least=10)
    group, column = a.column(t, "ref"), a.column(t, "number")
    least = a.rng.randrange(2, 12)
    kept = condition(a, t, "", column)
    sql = (
        f"SELECT {group.name}, AVG({column.name}) FROM {t.name} WHERE {group.name} IS NOT NULL AND {kept.sql} "
        f"GROUP BY {group.name} HAVING COUNT(*) >= {least}"
    )
    text = a.say(
        f"Looking only at {t.many} {kept.words}: for each {group.name} with at least {least} of them, what is the "
        "average "
        f"{column.phrase}?",
        f"Group the {t.many} {kept.words} by {group.name}. For every group of {least} or more, give the average "
        f"{column.phrase}.",
    )
    wrong = sql.replace(f" HAVING COUNT(*) >= {least}", "")
    return Question(text, sql, (group.name, f"average {column.phrase}"), readings=(wrong,))


@template(4)
def group_share(a: Ask) -> Question:
    """The share of each group in a total."""
    t = a.table("category", "number")
    group, column = a.column(t, "category"), a.column(t, "number")
    kept = condition(a, t, "", group, column)
    e = a.e(group)
    sql = (
        f"SELECT {e}, 100.0 * SUM({column.name}) / (SELECT SUM({column.name}) FROM {t.name} WHERE {kept.sql}) "
        f"FROM {t.name} WHERE {kept.sql} AND {e} IS NOT NULL GROUP BY {e}"
    )
    text = a.say(
        f"What percentage of the total {column.phrase} of all {t.many} {kept.words} belongs to each known "
        f"{group.phrase}?",
        f"Take the {t.many} {kept.words}. How many percent of their total {column.phrase} does each known "
        f"{group.phrase} contribute?",
    )
    wrong = sql.replace(f" WHERE {kept.sql})", ")")
    return Question(text, sql, (group.phrase, "percentage, from 0 to 100"), readings=(wrong,))


@template(4)
def conditional_share(a: Ask) -> Question:
    """In each group, the share of rows with a condition."""
    t = a.table("category", "ref", least=10)
    group, other = a.column(t, "ref"), a.column(t, "category")
    value, e = a.value(t, other), a.e(other)
    least = a.rng.randrange(3, 9)
    sql = (
        f"SELECT {group.name}, 100.0 * SUM(CASE WHEN {e} = {value} THEN 1 ELSE 0 END) / COUNT(*) FROM {t.name} "
        f"WHERE {group.name} IS NOT NULL GROUP BY {group.name} HAVING COUNT(*) >= {least}"
    )
    text = a.say(
        f"For each {group.name} with at least {least} {t.many}, what percentage of them has the {other.phrase} "
        f"{value}?",
        f"How many percent of the {t.many} of each {group.name} have the {other.phrase} {value}? Take only those that "
        f"have {least} {t.many} or more.",
    )
    wrong = f"SELECT {group.name}, 100.0 * COUNT(*) / (SELECT COUNT(*) FROM {t.name}) FROM {t.name} GROUP BY 1"
    return Question(text, sql, (group.name, "percentage, from 0 to 100"), readings=(wrong,))


@template(5)
def pivot(a: Ask) -> Question:
    """Counts of one column's values side by side for each value of another."""
    t = a.table("category", "ref")
    group = a.column(t, "ref")
    across = a.column(t, "category")
    held = sorted({*a.two_values(t, across)})
    e = a.e(across)
    kept = condition(a, t, "", across)
    cells = ", ".join(f"SUM(CASE WHEN {e} = {value} THEN 1 ELSE 0 END)" for value in held)
    sql = (
        f"SELECT {group.name}, {cells} FROM {t.name} WHERE {kept.sql} AND {group.name} IS NOT NULL GROUP BY "
        f"{group.name} "
        f"ORDER BY {group.name}"
    )
    text = a.say(
        f"Among the {t.many} {kept.words}: for each {group.name}, how many have the {across.phrase} {held[0]}, and how "
        f"many {held[1]}, side by side? Where there are none write 0.",
        f"Make a table of the {t.many} {kept.words}, one row for each {group.name}: the count with {across.phrase} "
        f"{held[0]}, then the count with {held[1]}, 0 where there are none.",
    )
    wrong = sql.replace(f"{kept.sql} AND ", "")
    return Question(text, sql, (group.name, *(f"count of {v}" for v in held)), f"by {group.name}", (wrong,))


@template(3)
def distinct_per_group(a: Ask) -> Question:
    """How many different references each group has."""
    t = a.table("category", "ref", least=10)
    group, other = a.column(t, "category"), a.column(t, "ref")
    kept = condition(a, t, "", group)
    e = a.e(group)
    where = f"{kept.sql} AND {e} IS NOT NULL"
    sql = f"SELECT {e}, COUNT(DISTINCT {other.name}) FROM {t.name} WHERE {where} GROUP BY {e} ORDER BY {e}"
    text = a.say(
        f"For each known {group.phrase}, how many different values of {other.name} do the {t.many} {kept.words} have?",
        f"Count the different {other.name} among the {t.many} {kept.words}, separately for every known {group.phrase}.",
    )
    wrong = sql.replace("DISTINCT ", "")
    return Question(text, sql, (group.phrase, f"number of different {other.name}"), f"by {group.phrase}", (wrong,))


@template(4)
def groups_beyond_average(a: Ask) -> Question:
    """Groups whose average exceeds that of all rows."""
    t = a.table("ref", "number", least=5)
    group, column = a.column(t, "ref"), a.column(t, "number")
    kept = condition(a, t, "", column)
    sql = (
        f"SELECT {group.name} FROM {t.name} WHERE {group.name} IS NOT NULL AND {kept.sql} GROUP BY {group.name} "
        f"HAVING AVG({column.name}) > (SELECT AVG({column.name}) FROM {t.name} WHERE {kept.sql}) ORDER BY {group.name}"
    )
    text = a.say(
        f"Consider the {t.many} {kept.words}. For which {group.name} is their average {column.phrase} above the "
        "average of "
        "all of them?",
        f"Which {group.name} have, over their {t.many} {kept.words}, an average {column.phrase} greater than that "
        "of all "
        f"{t.many} {kept.words}?",
    )
    return Question(
        text, sql, (group.name,), f"by {group.name}", (sql.replace(f" WHERE {kept.sql}) ORDER", ") ORDER"),)
    )


@template(3)
def buckets(a: Ask) -> Question:
    """Counts by ranges of a number."""
    t = a.table("number", least=4)
    column = a.column(t, "number")
    kept = condition(a, t, "", column)
    low, high = a.span(t, column)
    if float(low) >= float(high):
        low, high = high, low
    e = column.name
    sql = (
        f"SELECT CASE WHEN {e} < {low} THEN 'low' WHEN {e} < {high} THEN 'middle' ELSE 'high' END AS bucket, COUNT(*) "
        f"FROM {t.name} WHERE {kept.sql} AND {e} IS NOT NULL GROUP BY bucket"
    )
    text = a.say(
        f"Sort the {t.many} {kept.words} with a known {column.phrase} into 'low' (less than {low}), 'middle' "
        f"(from {low} to "
        f"less than {high}) and 'high' ({high} or more). How many are in each range that occurs?",
        f"How many {t.many} {kept.words} have a {column.phrase} that is 'low' (under {low}), 'middle' (at least "
        f"{low}, under "
        f"{high}) or 'high' (at least {high})? Leave out ranges without any.",
    )
    return Question(text, sql, ("range", "count"), readings=(sql.replace(f"{e} < ", f"{e} <= "),))


@template(5)
def most_frequent(a: Ask) -> Question:
    """The most frequent value, all of them where several are."""
    t = a.table("ref", least=8)
    group = a.column(t, "ref")
    kept = condition(a, t)
    where = f"{kept.sql} AND {group.name} IS NOT NULL"
    counted = f"SELECT {group.name} AS g, COUNT(*) AS n FROM {t.name} WHERE {where} GROUP BY g"
    sql = f"WITH c AS ({counted}) SELECT g, n FROM c WHERE n = (SELECT MAX(n) FROM c)"
    text = a.say(
        f"Which {group.name} occurs most often among the {t.many} {kept.words}, and how often? Give all where "
        "several do.",
        f"Find the {group.name} with the most {t.many} {kept.words}, and their number; all of them if there is a tie.",
    )
    return Question(text, sql, (group.name, "count"), readings=(sql.replace("MAX(n)", "MIN(n)"),))
