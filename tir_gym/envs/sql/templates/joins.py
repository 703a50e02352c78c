"""Several tables: joins, outer joins, anti-joins, self-joins, set operations."""

from tir_gym.envs.sql.asking import Ask, NoFit, Question, children, condition, named, role, template
from tir_gym.envs.sql.schemas import Link


def _on(link: Link, child: str = "c", parent: str = "p") -> str:
    return f"{child}.{link.column.name} = {parent}.id"


def _pair(link: Link) -> str:
    return f"{link.child.name} c JOIN {link.parent.name} p ON {_on(link)}"


@template(3)
def parents_with(a: Ask) -> Question:
    """Parents that have a child with a condition, each once."""
    link = a.link("category")
    kept, other = condition(a, link.child, "c"), condition(a, link.parent, "p")
    name, called = named(a, link.parent, "p")
    sql = f"SELECT DISTINCT {name} FROM {_pair(link)} WHERE {kept.sql} AND {other.sql} ORDER BY {name}"
    text = a.say(
        f"Which {link.parent.many} {other.words} have at least one of the {children(link)} {kept.words}?",
        f"List each {link.parent.one} {other.words} once that has any of the {children(link)} {kept.words}.",
    )
    return Question(text, sql, (called,), "alphabetically", (sql.replace("DISTINCT ", ""),))


@template(3)
def join_aggregate(a: Ask) -> Question:
    """An aggregate of children by a condition on the parent."""
    link = a.link("number", label=False)
    column = a.column(link.child, "number")
    kept, other = condition(a, link.child, "c", column), condition(a, link.parent, "p")
    function, words = a.pick([("SUM", "total"), ("AVG", "average")])
    sql = f"SELECT {function}(c.{column.name}) FROM {_pair(link)} WHERE {kept.sql} AND {other.sql}"
    text = a.say(
        f"What is the {words} {column.phrase} of the {link.child.many} {kept.words}, for {link.parent.many} "
        f"{other.words} as "
        f"{role(link)}?",
        f"Take the {link.child.many} {kept.words} with a {role(link)} {other.words}. What is their {words} "
        f"{column.phrase}?",
    )
    return Question(text, sql, (f"the {words} {column.phrase}",), readings=(sql.replace(f" AND {other.sql}", ""),))


@template(4)
def top_parents(a: Ask) -> Question:
    """The parents with the largest total of their children."""
    link = a.link("number")
    column = a.column(link.child, "number")
    kept = condition(a, link.child, "c", column)
    name, called = named(a, link.parent, "p")
    few = a.rng.randrange(2, 8)
    sql = (
        f"SELECT {name}, SUM(c.{column.name}) FROM {_pair(link)} WHERE {kept.sql} GROUP BY p.id "
        f"HAVING SUM(c.{column.name}) IS NOT NULL ORDER BY SUM(c.{column.name}) DESC, {name} LIMIT {few}"
    )
    text = a.say(
        f"Which {few} {link.parent.many} have the largest total {column.phrase} over the {children(link)} "
        f"{kept.words}?",
        f"Add up the {column.phrase} of the {children(link)} {kept.words} for each {link.parent.one}. Which {few} "
        "come out "
        "on top?",
    )
    order = "largest total first, where it is equal by name"
    wrong = sql.replace("SUM(", "COUNT(")
    return Question(text, sql, (called, f"total {column.phrase}"), order, (wrong, sql.replace("SUM(", "MAX(")))


@template(4)
def count_with_zero(a: Ask) -> Question:
    """How many children each parent has, 0 included."""
    link = a.link("category")
    kept, other = condition(a, link.child, "c"), condition(a, link.parent, "p")
    name, called = named(a, link.parent, "p")
    join = f"{link.parent.name} p LEFT JOIN {link.child.name} c ON {_on(link)} AND {kept.sql}"
    sql = f"SELECT {name}, COUNT(c.id) FROM {join} WHERE {other.sql} GROUP BY p.id ORDER BY COUNT(c.id), {name}"
    text = a.say(
        f"For every {link.parent.one} {other.words}, how many of the {children(link)} are there {kept.words}? Include "
        "those with none.",
        f"Count for each of the {link.parent.many} {other.words} the {children(link)} {kept.words}; where there "
        "are none "
        "say 0.",
    )
    order = "smallest count first, then by name"
    return Question(text, sql, (called, "count"), order, (sql.replace("COUNT(c.id)", "COUNT(*)"),))


@template(4)
def parents_without(a: Ask) -> Question:
    """Parents none of whose children have a condition."""
    link = a.link("category")
    kept, other = condition(a, link.child, "c"), condition(a, link.parent, "p")
    name, called = named(a, link.parent, "p")
    inner = f"SELECT 1 FROM {link.child.name} c WHERE {_on(link)} AND {kept.sql}"
    sql = f"SELECT {name} FROM {link.parent.name} p WHERE {other.sql} AND NOT EXISTS ({inner}) ORDER BY {name}"
    text = a.say(
        f"Which {link.parent.many} {other.words} have none of the {children(link)} {kept.words}?",
        f"Name the {link.parent.many} {other.words} without a single one of the {children(link)} {kept.words}. "
        "Those without "
        f"any {link.child.many} belong to them.",
    )
    wrong = f"SELECT DISTINCT {name} FROM {_pair(link)} WHERE {other.sql} AND NOT ({kept.sql}) ORDER BY {name}"
    return Question(text, sql, (called,), "alphabetically", (wrong,))


@template(5)
def parents_with_all(a: Ask) -> Question:
    """Parents all of whose children have a condition, and that have some."""
    link = a.link("number")
    column = a.column(link.child, "number")
    if column.nullable:
        raise NoFit
    bound = a.middling(link.child, column, 0.02, 0.3)
    name, called = named(a, link.parent, "p")
    other = condition(a, link.parent, "p")
    sql = (
        f"SELECT {name} FROM {_pair(link)} WHERE {other.sql} GROUP BY p.id HAVING MIN(c.{column.name}) >= {bound} "
        f"ORDER BY {name}"
    )
    text = a.say(
        f"Which {link.parent.many} {other.words} have {link.child.many}{_as(link)}, every one of them with a "
        f"{column.phrase} of at least {bound}?",
        f"Find the {link.parent.many} {other.words} all of whose {link.child.many}{_as(link)} have a "
        f"{column.phrase} of "
        f"{bound} or more; leave out those without any.",
    )
    wrong = sql.replace("MIN(", "MAX(")
    return Question(text, sql, (called,), "alphabetically", (wrong,))


def _as(link: Link) -> str:
    words = children(link)
    return words.removeprefix(link.child.many)


@template(5)
def has_both(a: Ask) -> Question:
    """Parents with a child of one kind and a child of another."""
    link = a.link("category")
    column = a.column(link.child, "category")
    first, second = a.two_values(link.child, column)
    e = a.e(column, "c")
    kept = condition(a, link.child, "c", column)
    name, called = named(a, link.parent, "p")
    part = f"SELECT {name} FROM {_pair(link)} WHERE {kept.sql} AND {e} ="
    way, words = a.pick([("INTERSECT", "and also"), ("EXCEPT", "but none")])
    sql = f"{part} {first} {way} {part} {second} ORDER BY 1"
    text = a.say(
        f"Counting only {link.child.many} {kept.words}: which {link.parent.many} have{_as(link)} some with "
        f"{column.phrase} "
        f"{first} {words} with {column.phrase} {second}?",
        f"Of the {link.child.many} {kept.words}, which {link.parent.many} have{_as(link)} at least one with "
        f"{column.phrase} "
        f"{first} {words} with {second}?",
    )
    wrong = f"SELECT DISTINCT {name} FROM {_pair(link)} WHERE {kept.sql} AND {e} IN ({first}, {second}) ORDER BY 1"
    return Question(text, sql, (called,), "alphabetically", (wrong,))


@template(5)
def two_steps(a: Ask) -> Question:
    """Children counted for the parents of their parents."""
    lower = a.link(label=False)
    uppers = [u for u in a.family.links if u.child is lower.parent and u.parent is not u.child and u.parent.label]
    upper = a.pick(uppers)
    kept = condition(a, lower.child, "c")
    name, called = named(a, upper.parent, "g")
    sql = (
        f"SELECT {name}, COUNT(*) FROM {_pair(lower)} JOIN {upper.parent.name} g ON p.{upper.column.name} = g.id "
        f"WHERE {kept.sql} GROUP BY g.id ORDER BY COUNT(*) DESC, {name}"
    )
    text = a.say(
        f"Each of the {lower.child.many} has a {role(lower)}, and that has a {role(upper)}. How many "
        f"{lower.child.many} "
        f"{kept.words} belong to each {role(upper)} that has any?",
        f"Count the {lower.child.many} {kept.words} by the {role(upper)} of their {role(lower)}; leave out zeros.",
    )
    order = "largest count first, then by name"
    wrong = sql.replace("COUNT(*)", "COUNT(DISTINCT p.id)")
    return Question(text, sql, (called, "count"), order, (wrong, sql.replace(f"WHERE {kept.sql} ", "")))


@template(5)
def child_beats_parent(a: Ask) -> Question:
    """Rows of a tree that exceed the row they refer to."""
    link = a.link("number", tree=True, label=False)
    column = a.column(link.child, "number")
    kept = condition(a, link.child, "c", column)
    sql = f"SELECT p.id FROM {_pair(link)} WHERE c.{column.name} > p.{column.name} AND {kept.sql}"
    text = a.say(
        f"Which {link.child.many} {kept.words} have a greater {column.phrase} than their {role(link)}? Give the id of "
        f"that {role(link)}.",
        f"Find the {link.child.many} {kept.words} whose {role(link)} has a smaller {column.phrase} than they have. "
        f"What is the id of the {role(link)} of each?",
    )
    ids = (f"id of the {role(link)}",)
    return Question(text, sql, ids, readings=(sql.replace(">", "<", 1),), each=f"such {link.child.one}")


@template(4)
def two_roles(a: Ask) -> Question:
    """Two references to the same table."""
    pairs = [
        (one, other)
        for one in a.family.links
        for other in a.family.links
        if one.child is other.child and one.parent is other.parent and one.column.name < other.column.name
    ]
    one, other = a.pick(pairs)
    if not one.parent.of("category"):
        raise NoFit
    column = a.column(one.parent, "category")
    first, second = a.two_values(one.parent, column)
    kept = condition(a, one.child, "c")
    sql = (
        f"SELECT COUNT(*) FROM {one.child.name} c JOIN {one.parent.name} p ON {_on(one)} JOIN {one.parent.name} q ON "
        f"{_on(other, parent='q')} WHERE {a.e(column, 'p')} = {first} AND {a.e(column, 'q')} = {second} AND {kept.sql}"
    )
    text = a.say(
        f"How many {one.child.many} {kept.words} have a {role(one)} whose {column.phrase} is {first} and a "
        f"{role(other)} whose "
        f"{column.phrase} is {second}?",
        f"Count the {one.child.many} {kept.words} with {column.phrase} {first} of the {role(one)} and {second} of the "
        f"{role(other)}.",
    )
    swapped = sql.replace(f"= {first} ", "= #").replace(f"= {second} ", f"= {first} ").replace("= #", f"= {second} ")
    return Question(text, sql, ("the count",), readings=(swapped,))


@template(6)
def same_day_pairs(a: Ask) -> Question:
    """Pairs of children of one parent that fall on one day."""
    link = a.link("day", label=False)
    when = a.column(link.child, "day")
    kept = condition(a, link.child, "c", when)
    key = link.column.name
    sql = (
        f"SELECT c.id, d.id FROM {link.child.name} c JOIN {link.child.name} d ON c.{key} = d.{key} AND c.id < d.id "
        f"AND c.{when.name} = d.{when.name} WHERE {kept.sql} AND {kept.sql.replace('c.', 'd.')}"
    )
    text = a.say(
        f"Among the {link.child.many} {kept.words}, which pairs have the same {key} and the same {when.phrase}? "
        "Give each pair "
        "once, the smaller id first.",
        f"Find all pairs of {link.child.many} {kept.words} that share both {key} and {when.phrase}; each once, "
        "with the "
        "smaller id in front.",
    )
    return Question(text, sql, ("smaller id", "greater id"), readings=(sql.replace("c.id < d.id", "c.id <> d.id"),))


@template(5)
def either_role(a: Ask) -> Question:
    """Parents that are referred to in one way or another."""
    pairs = [
        (one, other)
        for one in a.family.links
        for other in a.family.links
        if one.child is other.child and one.parent is other.parent and one.column.name < other.column.name
    ]
    one, other = a.pick(pairs)
    kept, owner = condition(a, one.child, "c"), condition(a, one.parent, "p")
    name, called = named(a, one.parent, "p")
    parts = (f"SELECT {name} FROM {_pair(link)} WHERE {kept.sql} AND {owner.sql}" for link in (one, other))
    sql = " UNION ".join(parts)
    text = a.say(
        f"Which {one.parent.many} {owner.words} are {role(one)} or {role(other)} of any "
        f"{one.child.one} among those {kept.words}? Each once.",
        f"List once every {one.parent.one} {owner.words} that occurs as {role(one)} or as {role(other)} in the "
        f"{one.child.many} {kept.words}.",
    )
    return Question(
        text, sql, (called,), readings=(sql.replace("UNION", "UNION ALL"), sql.replace("UNION", "INTERSECT"))
    )


@template(4)
def without_any(a: Ask) -> Question:
    """How many parents have no child at all in a time."""
    link = a.link("day", label=False)
    when = a.column(link.child, "day")
    start, end = a.span(link.child, when)
    other = condition(a, link.parent, "p")
    join = f"LEFT JOIN {link.child.name} c ON {_on(link)} AND c.{when.name} >= {start} AND c.{when.name} < {end}"
    sql = f"SELECT COUNT(*) FROM {link.parent.name} p {join} WHERE {other.sql} AND c.id IS NULL"
    text = a.say(
        f"How many {link.parent.many} {other.words} have none of the {children(link)} with a {when.phrase} from "
        f"{start} on and "
        f"before {end}?",
        f"Count the {link.parent.many} {other.words} without any of the {children(link)} whose {when.phrase} is "
        f"at least {start} "
        f"and less than {end}.",
    )
    wrong = sql.replace(f" AND c.{when.name} >= {start} AND c.{when.name} < {end}", "")
    return Question(text, sql, ("the count",), readings=(wrong, sql.replace("c.id IS NULL", "c.id IS NOT NULL")))
