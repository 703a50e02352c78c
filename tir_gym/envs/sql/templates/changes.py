"""Changes: rows set, added, deleted and moved; columns and tables added."""

from dataclasses import replace

from tir_gym.envs.sql.asking import Ask, NoFit, children, condition, quote, role
from tir_gym.envs.sql.changing import Change, writing
from tir_gym.envs.sql.schemas import Kind, Link, Table
from tir_gym.envs.sql.words import POOLS


def _leaf(a: Ask, *kinds: Kind) -> Table:
    """A table to which no other one refers, with columns of these kinds."""
    targets = {link.parent.name for link in a.family.links}
    return a.pick([t for t in a.family.tables if t.name not in targets and all(t.of(kind) for kind in kinds)])


@writing(1)
def set_value(a: Ask) -> Change:
    """Set a column of the rows with a condition."""
    t = a.table("category", "number")
    column = a.column(t, "category")
    kept = condition(a, t, "", column)
    value = a.value(t, column)
    text = a.say(
        f"Set the {column.phrase} of all {t.many} {kept.words} to {value}.",
        f"All {t.many} {kept.words} should have the {column.phrase} {value}. Change those that do not.",
    )
    start = f"UPDATE {t.name} SET {column.name} = {value}"
    return Change(text, (f"{start} WHERE {kept.sql}",), ((start,),))


@writing(1)
def delete_rows(a: Ask) -> Change:
    """Delete the rows with a condition."""
    t = _leaf(a, "number")
    kept = condition(a, t)
    text = a.say(f"Delete the {t.many} {kept.words}.", f"Remove every {t.one} {kept.words}.")
    sql = f"DELETE FROM {t.name} WHERE {kept.sql}"
    return Change(text, (sql,), ((f"DELETE FROM {t.name} WHERE NOT ({kept.sql})",),))


@writing(2)
def add_to_number(a: Ask) -> Change:
    """Raise or lower a whole number by a step."""
    t = a.table("number", "category")
    column = a.pick([c for c in t.of("number") if not c.places])
    kept = condition(a, t, "", column)
    step = a.rng.randrange(2, 40)
    sign, word = a.pick((("+", "Raise"), ("-", "Lower")))
    text = a.say(
        f"{word} the {column.phrase} of the {t.many} {kept.words} by {step}.",
        f"The {column.phrase} of all {t.many} {kept.words} is to be {word.lower()}{'d' if word == 'Raise' else 'ed'} "
        f"by {step}; where it is missing it stays so.",
    )
    sql = f"UPDATE {t.name} SET {column.name} = {column.name} {sign} {step} WHERE {kept.sql}"
    other = sql.replace(f"{column.name} {sign} {step}", f"{column.name} {'-' if sign == '+' else '+'} {step}", 1)
    return Change(text, (sql,), ((other,), (sql.partition(" WHERE ")[0],)))


@writing(2)
def insert_row(a: Ask) -> Change:
    """Insert one row with the values given."""
    t = a.table("number")
    row: dict[str, str] = {"id": str(a.rng.randrange(20_000, 90_000))}
    words = [f"id {row['id']}"]
    for column in t.columns[1:]:
        if column.kind == "label":
            first, second = POOLS[column.pool[0]]
            row[column.name] = quote(f"{a.pick(second) or 'New'} {a.pick(first)} {a.rng.randrange(2, 99)}")
        elif column.kind == "ref" and column.nullable:
            row[column.name] = "NULL"
        else:
            row[column.name] = quote(a.pick(a.values(t, replace(column, dirty=False))))
        said = "nothing (NULL)" if row[column.name] == "NULL" else row[column.name]
        words.append(f"{column.name} {said}")
    text = a.say(
        f"Add one {t.one} with {', '.join(words)}.",
        f"Enter a new {t.one} into {t.name}: {', '.join(words)}.",
    )
    sql = f"INSERT INTO {t.name} ({', '.join(row)}) VALUES ({', '.join(row.values())})"
    return Change(text, (sql,))


@writing(3)
def fill_missing(a: Ask) -> Change:
    """Fill in what is missing."""
    t = a.pick([t for t in a.family.tables if any(c.nullable for c in t.of("number"))])
    column = a.pick([c for c in t.of("number") if c.nullable])
    value = a.middling(t, column)
    kept = condition(a, t, "", column)
    text = a.say(
        f"Where the {column.phrase} of a {t.one} is missing, set it to {value}, but only for {t.many} {kept.words}.",
        f"Among the {t.many} {kept.words}, give those without {column.phrase} the value {value}.",
    )
    sql = f"UPDATE {t.name} SET {column.name} = {value} WHERE {column.name} IS NULL AND {kept.sql}"
    wrong = sql.replace(f" AND {kept.sql}", "")
    return Change(text, (sql,), ((wrong,), (sql.replace(f"{column.name} IS NULL AND ", ""),)))


@writing(3)
def band(a: Ask) -> Change:
    """Add a column and fill it by the ranges of a number."""
    t = a.table("number", least=4)
    column = a.column(t, "number")
    bound = a.middling(t, column)
    name = a.say("band", "tier", "rank_class", "size_class")
    low, high = a.pick((("low", "high"), ("minor", "major"), ("small", "large")))
    text = a.say(
        f"Add a TEXT column {name} to {t.name}. Put '{low}' there if the {column.phrase} is less than {bound} and "
        f"'{high}' if it is {bound} or more; leave it empty (NULL) where the {column.phrase} is missing.",
        f"Table {t.name} needs a new column {name} of type TEXT: '{high}' for {t.many} whose {column.phrase} "
        f"is at least "
        f"{bound}, '{low}' for those below, NULL for those without one.",
    )
    case = f"CASE WHEN {column.name} >= {bound} THEN '{high}' WHEN {column.name} < {bound} THEN '{low}' END"
    statements = (f"ALTER TABLE {t.name} ADD COLUMN {name} TEXT", f"UPDATE {t.name} SET {name} = {case}")
    wrong = (statements[0], statements[1].replace(">= ", "> ").replace("< ", "<= "))
    return Change(text, statements, (wrong, statements[:1]))


@writing(4)
def set_by_parent(a: Ask) -> Change:
    """Set a column by a condition on the row referred to."""
    link = a.link("category", label=False)
    t = link.child
    column = a.column(t, "category")
    other, kept = condition(a, link.parent), condition(a, t, "", column)
    value = a.value(t, column)
    text = a.say(
        f"Set the {column.phrase} to {value} for the {t.many} {kept.words}, but only where the {role(link)} is one of "
        f"the {link.parent.many} {other.words}.",
        f"For every {role(link)} that is one of the {link.parent.many} {other.words}: give its {t.many} "
        f"{kept.words} the "
        f"{column.phrase} {value}.",
    )
    inner = f"SELECT id FROM {link.parent.name} WHERE {other.sql}"
    sql = f"UPDATE {t.name} SET {column.name} = {value} WHERE {kept.sql} AND {link.column.name} IN ({inner})"
    wrong = sql.replace(f" AND {link.column.name} IN ({inner})", "")
    return Change(text, (sql,), ((wrong,), (sql.replace(f"{kept.sql} AND ", ""),)))


@writing(4)
def swap(a: Ask) -> Change:
    """Exchange two values of a column."""
    t = a.table("category", "number")
    column = a.column(t, "category")
    first, second = a.two_values(t, column)
    kept = condition(a, t, "", column)
    text = a.say(
        f"The {column.phrase} {first} and {second} were mixed up for the {t.many} {kept.words}: exchange them there.",
        f"Among the {t.many} {kept.words}, turn every {column.phrase} {first} into {second} and every {second} into "
        f"{first}.",
    )
    e = a.e(column)
    case = f"CASE {e} WHEN {first} THEN {second} ELSE {first} END"
    sql = f"UPDATE {t.name} SET {column.name} = {case} WHERE {e} IN ({first}, {second}) AND {kept.sql}"
    one = f"UPDATE {t.name} SET {column.name} = {{}} WHERE {e} = {{}} AND {kept.sql}"
    return Change(text, (sql,), ((one.format(second, first), one.format(first, second)),))


@writing(4)
def summary_table(a: Ask) -> Change:
    """Create a table that sums up another."""
    t = a.table("category", "number", least=4)
    group, column = a.column(t, "category"), a.column(t, "number")
    kept = condition(a, t, "", group, column)
    e, name = a.e(group), f"{t.name}_{a.say('summary', 'overview', 'totals')}"
    text = a.say(
        f"Create a table {name} with the columns {group.name}, n and total: for each known {group.phrase} how many "
        f"{t.many} {kept.words} there are, and the total of their {column.phrase}. Leave out zeros.",
        f"Sum up the {t.many} {kept.words} in a new table {name} with the columns {group.name}, n, total: one "
        f"row for each "
        f"{group.phrase} that is known and occurs, with their number and their total {column.phrase}.",
    )
    select = (
        f"SELECT {e} AS {group.name}, COUNT(*) AS n, SUM({column.name}) AS total FROM {t.name} WHERE {kept.sql} AND "
        f"{group.name} IS NOT NULL GROUP BY 1"
    )
    sql = f"CREATE TABLE {name} AS {select}"
    return Change(text, (sql,), ((sql.replace(f"{kept.sql} AND ", ""),),))


@writing(5)
def delete_with_children(a: Ask) -> Change:
    """Delete rows together with those that refer to them."""
    owners = {link.child.name for link in a.family.links if any(other.parent is link.child for other in a.family.links)}
    links = [
        link
        for link in a.family.links
        if link.parent is not link.child
        and link.child.name not in owners
        and sum(1 for each in a.family.links if each.parent is link.parent) == 1
    ]
    link = a.pick(links)
    kept = condition(a, link.parent)
    inner = f"SELECT id FROM {link.parent.name} WHERE {kept.sql}"
    text = a.say(
        f"Delete the {link.parent.many} {kept.words}, together with all their {link.child.many}.",
        f"Remove every {link.parent.one} {kept.words}, and the {link.child.many} that belong to them.",
    )
    first = f"DELETE FROM {link.child.name} WHERE {link.column.name} IN ({inner})"
    last = f"DELETE FROM {link.parent.name} WHERE {kept.sql}"
    return Change(text, (first, last), ((first,),))


@writing(5)
def archive(a: Ask) -> Change:
    """Move rows into a new table."""
    t = _leaf(a, "number")
    kept = condition(a, t)
    name = f"{t.name}_{a.say('archive', 'old', 'history')}"
    text = a.say(
        f"Move the {t.many} {kept.words} out of {t.name} into a new table {name} with the same columns.",
        f"Create a table {name} with the columns of {t.name}, put the {t.many} {kept.words} there, and delete "
        f"them from "
        f"{t.name}.",
    )
    copy = f"CREATE TABLE {name} AS SELECT * FROM {t.name} WHERE {kept.sql}"
    return Change(text, (copy, f"DELETE FROM {t.name} WHERE {kept.sql}"), ((copy,),))


@writing(5)
def keep_latest(a: Ask) -> Change:
    """Delete all but the latest row of each parent."""
    t = _leaf(a, "ref", "day")
    key, when = a.column(t, "ref"), a.column(t, "day")
    if key.nullable or when.nullable:
        raise NoFit
    kept = condition(a, t, "", when)
    text = a.say(
        f"Among the {t.many} {kept.words}, keep only the one with the latest {when.phrase} of each {key.name} "
        f"(of several "
        f"on that day the one with the largest id) and delete the others. Leave all other {t.many} alone.",
        f"For each {key.name}, delete those of its {t.many} {kept.words} that are not the latest by "
        f"{when.phrase}, then "
        f"id. {t.many.capitalize()} that do not fit this stay.",
    )
    ranked = (
        f"SELECT id, ROW_NUMBER() OVER (PARTITION BY {key.name} ORDER BY {when.name} DESC, id DESC) AS n FROM {t.name} "
        f"WHERE {kept.sql}"
    )
    sql = f"DELETE FROM {t.name} WHERE id IN (SELECT id FROM ({ranked}) WHERE n > 1)"
    return Change(text, (sql,), ((sql.replace(" DESC", ""),),))


@writing(6)
def count_column(a: Ask) -> Change:
    """Add a column with the number of rows that refer to each."""
    link = a.link("category", label=False)
    kept = condition(a, link.child, "c")
    parent, name = link.parent, f"{link.child.name}_count"
    text = a.say(
        f"Add an INTEGER column {name} to {parent.name} that holds how many of the {children(link)} {kept.words} each "
        f"{parent.one} has, 0 where there are none.",
        f"Table {parent.name} gets a new column {name} (INTEGER): for each {parent.one} the number of the "
        f"{children(link)} {kept.words}, which may be 0.",
    )
    counted = f"SELECT COUNT(*) FROM {link.child.name} c WHERE c.{link.column.name} = {parent.name}.id AND {kept.sql}"
    statements = (
        f"ALTER TABLE {parent.name} ADD COLUMN {name} INTEGER",
        f"UPDATE {parent.name} SET {name} = ({counted})",
    )
    wrong = (statements[0], statements[1].replace(f" AND {kept.sql}", ""))
    return Change(text, statements, (wrong, statements[:1]))


@writing(6)
def redirect(a: Ask) -> Change:
    """Let references to one row point to another, and delete the first."""
    link = a.pick([each for each in _sole_links(a) if each.parent.label])
    label = link.parent.label
    assert label
    first, second = (quote(value) for value in a.rng.sample(a.values(link.parent, label), 2))
    parent, e = link.parent, label.name
    text = a.say(
        f"The {parent.many} {first} and {second} are the same. Let everything that refers to {first} refer to {second} "
        f"instead, then delete the {parent.one} {first}.",
        f"Merge the {parent.one} {first} into {second}: its {link.child.many} go to {second}, and {first} is removed.",
    )
    one, other = (f"(SELECT id FROM {parent.name} WHERE {e} = {value})" for value in (first, second))
    move = f"UPDATE {link.child.name} SET {link.column.name} = {other} WHERE {link.column.name} = {one}"
    drop = f"DELETE FROM {parent.name} WHERE {e} = {first}"
    return Change(text, (move, drop), ((move,),))


def _sole_links(a: Ask) -> list[Link]:
    """References to tables to which nothing else refers."""
    links = a.family.links
    return [each for each in links if sum(1 for other in links if other.parent is each.parent) == 1]


@writing(7)
def add_for_those_without(a: Ask) -> Change:
    """Insert a row for each parent that has none."""
    link = a.pick([each for each in a.family.links if each.parent is not each.child and not each.child.label])
    t, parent = link.child, link.parent
    if any(c.kind == "ref" and c is not link.column and not c.nullable for c in t.columns):
        raise NoFit
    kept = condition(a, parent, "p")
    row: dict[str, str] = {}
    words = []
    for column in t.columns[1:]:
        if column is link.column:
            continue
        optional = column.kind == "ref" or column.nullable
        row[column.name] = "NULL" if optional else quote(a.pick(a.values(t, replace(column, dirty=False))))
        words.append(f"{column.name} {'NULL' if optional else row[column.name]}")
    has = f"SELECT 1 FROM {t.name} c WHERE c.{link.column.name} = p.id"
    text = a.say(
        f"Give each of the {parent.many} {kept.words} that has none of the {children(link)} exactly one: "
        f"{', '.join(words)}. Its id may be any.",
        f"Some of the {parent.many} {kept.words} have no {t.one} by {link.column.name}. Add one for each of "
        f"these, with any "
        f"id and {', '.join(words)}.",
    )
    columns = ", ".join([link.column.name, *row])
    sql = (
        f"INSERT INTO {t.name} ({columns}) SELECT {', '.join(['p.id', *row.values()])} FROM {parent.name} p "
        f"WHERE {kept.sql} AND NOT EXISTS ({has})"
    )
    return Change(text, (sql,), ((sql.replace(f"{kept.sql} AND ", ""),),), (t.name,))


@writing(7)
def top_flag(a: Ask) -> Change:
    """Mark the largest of each group in a new column."""
    t = a.table("category", "number", least=8)
    group, column = a.column(t, "category"), a.column(t, "number")
    e, name = a.e(group), a.say("is_top", "leads", "best_of_kind")
    text = a.say(
        f"Add an INTEGER column {name} to {t.name}: 1 for the {t.many} that have the largest {column.phrase} "
        f"among those "
        f"of the same known {group.phrase} (all of them where it is shared), 0 for all others.",
        f"In a new column {name} (INTEGER) of {t.name}, mark with 1 every {t.one} whose {column.phrase} is the largest "
        f"of its known {group.phrase}, ties included, and everything else with 0.",
    )
    best = (
        f"SELECT id, RANK() OVER (PARTITION BY {e} ORDER BY {column.name} DESC) AS r FROM {t.name} WHERE {e} "
        f"IS NOT NULL"
    )
    best += f" AND {column.name} IS NOT NULL"
    statements = (
        f"ALTER TABLE {t.name} ADD COLUMN {name} INTEGER",
        f"UPDATE {t.name} SET {name} = id IN (SELECT id FROM ({best}) WHERE r = 1)",
    )
    wrong = (statements[0], statements[1].replace(" DESC", ""))
    return Change(text, statements, (wrong,))
