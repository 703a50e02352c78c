"""Queries within queries, and recursion."""

from tir_gym.envs.sql.asking import Ask, Question, condition, named, role, template


@template(4)
def above_average(a: Ask) -> Question:
    """Rows above the average of all that have a condition."""
    t = a.table("number", least=5)
    column = a.column(t, "number")
    kept = condition(a, t, "", column)
    inner = f"SELECT AVG({column.name}) FROM {t.name}"
    sql = f"SELECT COUNT(*) FROM {t.name} WHERE {kept.sql} AND {column.name} > ({inner} WHERE {kept.sql})"
    text = a.say(
        f"How many of the {t.many} {kept.words} have a {column.phrase} above the average of exactly those?",
        f"Take only {t.many} {kept.words}. How many of them exceed their own average {column.phrase}?",
    )
    return Question(text, sql, ("the count",), readings=(sql.replace(f" WHERE {kept.sql})", ")"),))


@template(6)
def above_own_group(a: Ask) -> Question:
    """Rows above the average of their own group."""
    link = a.link("number", label=False)
    t, key = link.child, link.column.name
    column = a.column(t, "number")
    kept = condition(a, t, "c", column)
    inner = f"SELECT {key} AS k, AVG({column.name}) AS m FROM {t.name} GROUP BY k"
    sql = (
        f"WITH own AS ({inner}) SELECT c.{key} FROM {t.name} c JOIN own ON own.k = c.{key} WHERE {kept.sql} "
        f"AND c.{column.name} > 1.5 * own.m ORDER BY c.{key}"
    )
    text = a.say(
        f"Which {t.many} {kept.words} have a {column.phrase} of more than one and a half times the average of all "
        f"{t.many} with the same {key}? Give that {key}.",
        f"Find the {t.many} {kept.words} whose {column.phrase} is over 1.5 times the average {column.phrase} of "
        f"their {key}, in which all {t.many} of that {key} count. Give the {key} of each.",
    )
    wrong = sql.replace(
        f"SELECT {key} AS k, AVG({column.name}) AS m FROM {t.name} GROUP BY k", inner.replace("AVG", "MIN")
    )
    return Question(text, sql, (key,), f"by {key}", (wrong,), f"such {t.one}")


@template(6)
def of_busy_parents(a: Ask) -> Question:
    """Children of parents that have many."""
    link = a.link("number", label=False)
    t, key = link.child, link.column.name
    column = a.column(t, "number")
    least = a.rng.randrange(3, 15)
    kept, other = condition(a, t, "", column), condition(a, t, "", column)
    inner = f"SELECT {key} FROM {t.name} WHERE {other.sql} GROUP BY {key} HAVING COUNT(*) >= {least}"
    sql = f"SELECT SUM({column.name}) FROM {t.name} WHERE {kept.sql} AND {key} IN ({inner})"
    text = a.say(
        f"Consider every {role(link)} with at least {least} {t.many} {other.words} (by {key}). What is the total "
        f"{column.phrase} of their {t.many} {kept.words}?",
        f"Which values of {key} have {least} or more {t.many} {other.words}? Add up the {column.phrase} of the "
        f"{t.many} "
        f"{kept.words} with these {key}.",
    )
    wrong = sql.replace(f" AND {key} IN ({inner})", "")
    return Question(text, sql, (f"the total {column.phrase}",), readings=(wrong,))


@template(8)
def descendants(a: Ask) -> Question:
    """How many rows stand under one in a tree, at any depth."""
    link = a.link(tree=True, label=False)
    t, key = link.child, link.column.name
    root = a.rng.randrange(1, 44 - 3 * a.level)
    kept = condition(a, t, "x")
    sql = (
        f"WITH RECURSIVE under(id) AS (SELECT id FROM {t.name} WHERE {key} = {root} UNION ALL SELECT x.id FROM "
        f"{t.name} x "
        f"JOIN under u ON x.{key} = u.id) SELECT COUNT(*) FROM under JOIN {t.name} x ON x.id = under.id WHERE "
        f"{kept.sql}"
    )
    text = a.say(
        f"How many {t.many} {kept.words} stand under the {t.one} with id {root}, directly or at any depth, by {key}?",
        f"Follow {key} down from the {t.one} with id {root} through all levels. How many of the {t.many} found "
        "are there "
        f"{kept.words}? Do not count {root} itself.",
    )
    direct = f"SELECT COUNT(*) FROM {t.name} x WHERE {key} = {root} AND {kept.sql}"
    return Question(text, sql, ("the count",), readings=(direct, sql.replace(f" WHERE {kept.sql}", "")))


@template(7)
def depth(a: Ask) -> Question:
    """The chain from a row up to its root."""
    link = a.link(tree=True, label=False)
    t, key = link.child, link.column.name
    start = a.low_in(link, 2 + a.level // 3)
    sql = (
        f"WITH RECURSIVE up(id, step) AS (SELECT {key}, 1 FROM {t.name} WHERE id = {start} UNION ALL SELECT "
        f"x.{key}, step + 1 "
        f"FROM {t.name} x JOIN up ON x.id = up.id WHERE x.{key} IS NOT NULL) "
        "SELECT step, id FROM up WHERE id IS NOT NULL ORDER BY step"
    )
    text = a.say(
        f"Starting from the {t.one} with id {start}, follow {key} upwards to the end. Give each step's number (1 "
        "for the first) "
        "and the id reached.",
        f"What is the chain of {key} above the {t.one} with id {start}? One row for each step from 1 on, with the "
        "id reached.",
    )
    wrong = f"SELECT 1, {key} FROM {t.name} WHERE id = {start}"
    return Question(text, sql, ("step", "id"), "by step", (wrong,))


@template(5)
def latest_child(a: Ask) -> Question:
    """The newest child of each parent."""
    link = a.link("day")
    when = a.column(link.child, "day")
    kept = condition(a, link.child, "c", when)
    other = condition(a, link.parent, "p")
    name, called = named(a, link.parent, "p")
    sql = (
        f"SELECT {name}, MAX(c.{when.name}) FROM {link.child.name} c JOIN {link.parent.name} p ON "
        f"c.{link.column.name} = p.id "
        f"WHERE {kept.sql} AND {other.sql} AND c.{when.name} IS NOT NULL GROUP BY p.id"
    )
    text = a.say(
        f"For each {role(link)} {other.words}, what is the latest {when.phrase} of its {link.child.many} "
        f"{kept.words}? Leave "
        "out those without one.",
        f"Give every {role(link)} {other.words} with the newest {when.phrase} among its {link.child.many} "
        f"{kept.words}, "
        "where there is one.",
    )
    return Question(text, sql, (called, f"latest {when.phrase}"), readings=(sql.replace("MAX(", "MIN("),))


@template(6)
def best_of_each(a: Ask) -> Question:
    """The rows with the largest value in their group, ties included."""
    t = a.table("category", "number")
    group, column = a.column(t, "category"), a.column(t, "number")
    kept = condition(a, t, "c", group, column)
    e = a.e(group, "c")
    inner = f"SELECT {e} AS g, MAX(c.{column.name}) AS m FROM {t.name} c WHERE {kept.sql} GROUP BY g"
    sql = f"SELECT g, c.id FROM {t.name} c JOIN ({inner}) ON g = {e} AND c.{column.name} = m WHERE {kept.sql}"
    text = a.say(
        f"Looking only at {t.many} {kept.words}: for each known {group.phrase}, which have the largest "
        f"{column.phrase}? Give "
        "all that share it.",
        f"Among the {t.many} {kept.words}, find for every known {group.phrase} the ones with the greatest "
        f"{column.phrase}, "
        "all of them where it is shared.",
    )
    return Question(text, sql, (group.phrase, "id"), readings=(sql.replace("MAX(", "MIN("),))
