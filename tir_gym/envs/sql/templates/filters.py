"""One table: conditions, single values, lists, ties, NULL logic."""

from tir_gym.envs.sql.asking import Ask, Question, condition, named, quote, template


@template(1)
def count_rows(a: Ask) -> Question:
    """Rows with two conditions."""
    t = a.table("category", "number")
    first = condition(a, t)
    second = condition(a, t, "", *(c for c in t.columns if c.name in first.sql))
    text = a.say(
        f"How many {t.many} are there {first.words} and {second.words}?",
        f"Count the {t.many} {first.words} and {second.words}.",
        f"What is the number of {t.many} {first.words} and {second.words}?",
    )
    start = f"SELECT COUNT(*) FROM {t.name} WHERE"
    sql = f"{start} {first.sql} AND {second.sql}"
    return Question(text, sql, ("the count",), readings=(f"{start} {first.sql}", f"{start} {second.sql}"))


@template(1)
def aggregate(a: Ask) -> Question:
    """One aggregate of a number over some rows."""
    t = a.table("number")
    column = a.column(t, "number")
    kept = condition(a, t, "", column)
    function, words = a.pick([("SUM", "total"), ("AVG", "average"), ("MAX", "largest"), ("MIN", "smallest")])
    text = a.say(
        f"What is the {words} {column.phrase} of the {t.many} {kept.words}?",
        f"Find the {words} {column.phrase} over all {t.many} {kept.words}.",
    )
    start = f"SELECT {function}({column.name}) FROM {t.name}"
    return Question(text, f"{start} WHERE {kept.sql}", (f"the {words} {column.phrase}",), readings=(start,))


@template(2)
def listing(a: Ask) -> Question:
    """A number of the rows with a condition, in its order."""
    t = a.table("number")
    column = a.column(t, "number")
    kept = condition(a, t, "", column)
    sql = (
        f"SELECT {column.name} FROM {t.name} WHERE {kept.sql} AND {column.name} IS NOT NULL ORDER BY {column.name} DESC"
    )
    text = a.say(
        f"List the {column.phrase} of the {t.many} {kept.words} that have a known one.",
        f"For each of the {t.many} {kept.words}: what is the {column.phrase}, where it is known?",
    )
    order = f"largest {column.phrase} first"
    each = f"of these {t.many}"
    return Question(text, sql, (column.phrase,), order, (sql.replace(" DESC", ""),), each)


@template(2)
def distinct_pairs(a: Ask) -> Question:
    """Different combinations of two columns."""
    t = a.table("category", "ref")
    one, other = a.column(t, "category"), a.column(t, "ref")
    kept = condition(a, t, "", one)
    e = a.e(one)
    sql = f"SELECT DISTINCT {e}, {other.name} FROM {t.name} WHERE {kept.sql} AND {e} IS NOT NULL AND {other.name} > 0"
    text = a.say(
        f"Which different combinations of {one.phrase} and {other.name} occur among the {t.many} {kept.words}? "
        "Leave out those in which one of them is missing.",
        f"Give every pair of {one.phrase} and {other.name} found in {t.many} {kept.words}, each once, "
        "without pairs in which one is missing.",
    )
    return Question(text, sql, (one.phrase, other.name), readings=(sql.replace("DISTINCT ", ""),))


@template(2)
def top_rows(a: Ask) -> Question:
    """The kind of each of the first few rows by a number."""
    t = a.table("number", "category", label=True)
    column = a.column(t, "number")
    group = a.sure(t, "category")
    name, _ = named(a, t)
    e = a.e(group)
    few = a.rng.randrange(3, 9)
    kept = condition(a, t, "", column, group)
    way, words = a.pick([("DESC", "largest"), ("ASC", "smallest")])
    sql = (
        f"SELECT {e} FROM {t.name} WHERE {kept.sql} AND {column.name} IS NOT NULL "
        f"ORDER BY {column.name} {way}, {name} LIMIT {few}"
    )
    other = "ASC" if way == "DESC" else "DESC"
    text = a.say(
        f"Among the {t.many} {kept.words}, take the {few} with the {words} {column.phrase}, of equal ones the first by "
        f"name. What is the {group.phrase} of each?",
        f"Give the {group.phrase} of each of the {few} {t.many} with the {words} {column.phrase}, looking only at "
        f"those {kept.words}; where it is equal, names decide, in their order.",
    )
    order = f"{words} {column.phrase} first, where it is equal by name"
    readings = (sql.replace(way, other, 1), sql.replace(f" LIMIT {few}", ""))
    return Question(text, sql, (group.phrase,), order, readings, f"of the {few}")


@template(3)
def extreme_with_ties(a: Ask) -> Question:
    """All rows that hold the extreme value."""
    t = a.table("number", "category")
    column = a.column(t, "number")
    group = a.column(t, "category")
    value, e = a.value(t, group), a.e(group)
    function, words = a.pick([("MAX", "largest"), ("MIN", "smallest")])
    inner = f"SELECT {function}({column.name}) FROM {t.name} WHERE {e} = {value}"
    sql = f"SELECT id, {column.name} FROM {t.name} WHERE {e} = {value} AND {column.name} = ({inner})"
    text = a.say(
        f"Which {t.many} whose {group.phrase} is {value} have the {words} {column.phrase} of them? Give all that "
        "share it.",
        f"Of the {t.many} whose {group.phrase} is {value}, find all that reach the {words} {column.phrase}.",
    )
    wrong = f"SELECT id, {column.name} FROM {t.name} WHERE {column.name} = ({inner.partition(' WHERE ')[0]})"
    return Question(text, sql, ("id", column.phrase), readings=(wrong,))


@template(4)
def nth_value(a: Ask) -> Question:
    """The n-th largest different value."""
    t = a.table("number")
    column = a.column(t, "number")
    kept = condition(a, t, "", column)
    nth = a.rng.randrange(2, 7)
    ordinal = {2: "second", 3: "third", 4: "fourth", 5: "fifth", 6: "sixth"}[nth]
    sql = (
        f"SELECT DISTINCT {column.name} FROM {t.name} WHERE {kept.sql} AND {column.name} IS NOT NULL "
        f"ORDER BY {column.name} DESC LIMIT 1 OFFSET {nth - 1}"
    )
    text = a.say(
        f"What is the {ordinal} largest different value of {column.phrase} among the {t.many} {kept.words}?",
        f"Take the different values of {column.phrase} of {t.many} {kept.words}. Which is the {ordinal} largest?",
    )
    wrong = sql.replace(f"OFFSET {nth - 1}", f"OFFSET {nth}")
    return Question(text, sql, (column.phrase,), readings=(wrong, sql.replace(" DESC", "")))


@template(4)
def missing_or_not(a: Ask) -> Question:
    """NULL logic: what is not a value may be missing."""
    t = a.pick([t for t in a.family.tables if any(c.nullable and c.kind != "ref" for c in t.columns)])
    column = a.pick([c for c in t.columns if c.nullable and c.kind != "ref"])
    kept = condition(a, t, "", column)
    e = a.e(column)
    value = a.value(t, column) if column.kind == "category" else a.middling(t, column)
    sql = f"SELECT COUNT(*) FROM {t.name} WHERE ({e} <> {value} OR {e} IS NULL) AND {kept.sql}"
    text = a.say(
        f"How many {t.many} {kept.words} do not have the {column.phrase} {value}? One that is missing counts, too.",
        f"Count the {t.many} {kept.words} whose {column.phrase} is missing or something else than {value}.",
    )
    return Question(text, sql, ("the count",), readings=(sql.replace(f" OR {e} IS NULL", ""),))


@template(3)
def missing_share(a: Ask) -> Question:
    """How much of a column is missing."""
    t = a.pick([t for t in a.family.tables if any(c.nullable for c in t.columns)])
    column = a.pick([c for c in t.columns if c.nullable])
    kept = condition(a, t, "", column)
    sql = f"SELECT 100.0 * SUM({column.name} IS NULL) / COUNT(*) FROM {t.name} WHERE {kept.sql}"
    spoken = column.phrase or column.name
    text = a.say(
        f"For what percentage of the {t.many} {kept.words} is the {spoken} missing?",
        f"Of the {t.many} {kept.words}, how many percent have no {spoken}?",
    )
    return Question(text, sql, ("the percentage, from 0 to 100",), readings=(sql.replace("100.0 * ", "1.0 * "),))


@template(3)
def default_value(a: Ask) -> Question:
    """An average in which what is missing counts as 0."""
    t = a.pick([t for t in a.family.tables if any(c.nullable for c in t.of("number"))])
    column = a.pick([c for c in t.of("number") if c.nullable])
    kept = condition(a, t, "", column)
    sql = f"SELECT AVG(COALESCE({column.name}, 0)) FROM {t.name} WHERE {kept.sql}"
    text = a.say(
        f"What is the average {column.phrase} of the {t.many} {kept.words} if a missing one counts as 0?",
        f"Counting a missing {column.phrase} as 0, what do the {t.many} {kept.words} have on average?",
    )
    wrong = f"SELECT AVG({column.name}) FROM {t.name} WHERE {kept.sql}"
    return Question(text, sql, (f"the average {column.phrase}",), readings=(wrong,))


@template(2)
def name_pattern(a: Ask) -> Question:
    """The kind of the rows whose name begins in some way."""
    t = a.table("category", label=True)
    assert t.label
    name = t.label.name
    group = a.sure(t, "category")
    e = a.e(group)
    whole = str(a.pick(a.values(t, t.label)))
    kept = condition(a, t, "", group)
    start = whole[: a.rng.randrange(1, 3)]
    sql = f"SELECT {e} FROM {t.name} WHERE substr({name}, 1, {len(start)}) = '{start}' AND {kept.sql} ORDER BY {name}"
    text = a.say(
        f"What is the {group.phrase} of the {t.many} {kept.words} whose {t.label.phrase} begins with '{start}'?",
        f"List the {group.phrase} of every {t.one} {kept.words} with a {t.label.phrase} that starts with '{start}'.",
    )
    wrong = f"SELECT {e} FROM {t.name} WHERE {name} LIKE '%{start}%' AND {kept.sql} ORDER BY {name}"
    readings = (wrong, sql.replace(f" AND {kept.sql}", ""))
    return Question(
        text, sql, (group.phrase,), f"by {t.label.phrase}, which is not returned", readings, f"such {t.one}"
    )


@template(3)
def excluded_values(a: Ask) -> Question:
    """Rows outside a set of values, within a range."""
    t = a.table("category", "day")
    group, when = a.column(t, "category"), a.column(t, "day")
    first, second = a.two_values(t, group)
    start, end = a.span(t, when)
    e = a.e(group)
    sql = (
        f"SELECT COUNT(*) FROM {t.name} WHERE {e} NOT IN ({first}, {second}) AND {when.name} BETWEEN {start} AND {end}"
    )
    text = a.say(
        f"How many {t.many} with a known {group.phrase} other than {first} and {second} have their {when.phrase} from "
        f"{start} to {end}, both days included?",
        f"From {start} up to and including {end} by {when.phrase}: how many {t.many} have a {group.phrase}, and one "
        f"that is neither {first} nor {second}?",
    )
    wrong = sql.replace(f"BETWEEN {start} AND {end}", f"> {start} AND {when.name} < {end}")
    return Question(text, sql, ("the count",), readings=(wrong, sql.replace("NOT IN", "IN")))


@template(1)
def spread(a: Ask) -> Question:
    """The distance between the largest and the smallest value."""
    t = a.table("number")
    column = a.column(t, "number")
    kept = condition(a, t, "", column)
    sql = f"SELECT MAX({column.name}) - MIN({column.name}) FROM {t.name} WHERE {kept.sql}"
    text = a.say(
        f"By how much does the largest {column.phrase} exceed the smallest among the {t.many} {kept.words}?",
        f"What is the difference between the greatest and the smallest {column.phrase} of the {t.many} {kept.words}?",
    )
    return Question(text, sql, ("the difference",), readings=(sql.partition(" WHERE ")[0],))


@template(1)
def count_different(a: Ask) -> Question:
    """How many different values occur."""
    t = a.table("ref")
    column = a.column(t, "ref")
    kept = condition(a, t)
    sql = f"SELECT COUNT(DISTINCT {column.name}) FROM {t.name} WHERE {kept.sql}"
    text = a.say(
        f"How many different values of {column.name} occur among the {t.many} {kept.words}?",
        f"Count the different {column.name} of the {t.many} {kept.words}, leaving out missing ones.",
    )
    return Question(text, sql, ("the count",), readings=(sql.replace("DISTINCT ", ""),))


@template(3)
def than_a_named_one(a: Ask) -> Question:
    """The kind of the rows that exceed one that is named."""
    t = a.table("number", "category", label=True)
    assert t.label
    column = a.column(t, "number")
    group = a.sure(t, "category")
    name, _ = named(a, t)
    e = a.e(group)
    other = quote(a.pick(a.values(t, t.label)))
    kept = condition(a, t, "", column, group)
    inner = f"SELECT {column.name} FROM {t.name} WHERE {name} = {other}"
    sql = f"SELECT {e} FROM {t.name} WHERE {kept.sql} AND {column.name} > ({inner})"
    text = a.say(
        f"What is the {group.phrase} of the {t.many} {kept.words} that have a greater {column.phrase} than {other}?",
        f"Find the {t.many} {kept.words} whose {column.phrase} exceeds that of {other}. Give their {group.phrase}.",
    )
    return Question(text, sql, (group.phrase,), readings=(sql.replace("> (", "< ("),), each=f"of these {t.many}")


@template(4)
def ratio(a: Ask) -> Question:
    """How many of one kind there are for each of another."""
    t = a.table("category", "number")
    column = a.column(t, "category")
    first, second = a.two_values(t, column)
    e = a.e(column)
    kept = condition(a, t, "", column)
    cell = f"SUM(CASE WHEN {e} = {{}} THEN 1 ELSE 0 END)"
    one, two = cell.format(first), cell.format(second)
    sql = f"SELECT 1.0 * {one} / NULLIF({two}, 0) FROM {t.name} WHERE {kept.sql}"
    text = a.say(
        f"Among the {t.many} {kept.words}, how many with {column.phrase} {first} are there for each with "
        f"{second}, as a "
        "decimal number?",
        f"What is the number of {t.many} {kept.words} with {column.phrase} {first} divided by the number with "
        f"{second}?",
    )
    return Question(text, sql, ("the ratio",), readings=(sql.replace("1.0 * ", ""), sql.partition(" WHERE ")[0]))
