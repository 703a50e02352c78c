"""Near misses of a query: ten operators on its tokens, and how many of them the twins catch."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tir_gym.envs.sql.databases import database_of
from tir_gym.envs.sql.engine import NOW, engine
from tir_gym.envs.sql.match import differ, is_ordered
from tir_gym.envs.sql.results import Table
from tir_gym.envs.sql.scan import Token, order_by, tokens
from tir_gym.envs.sql.twins import TWINS, Twin, twins
from tir_gym.envs.sql.verify import LIMITS

Operator = Callable[[str], Iterator[str]]


def swapped(pairs: dict[str, str]) -> Operator:
    both = pairs | {new: old for old, new in pairs.items()}

    def operator(sql: str) -> Iterator[str]:
        for token in tokens(sql):
            if token.kind in ("word", "mark") and token.text.upper() in both:
                yield put(sql, token, both[token.text.upper()])

    return operator


def put(sql: str, token: Token, text: str) -> str:
    return sql[: token.start] + text + sql[token.end :]


def distinct(sql: str) -> Iterator[str]:
    for token in tokens(sql):
        if token.word == "DISTINCT":
            yield put(sql, token, "")
    first = tokens(sql)[0]
    if first.word == "SELECT" and "DISTINCT" not in sql:
        yield put(sql, first, "SELECT DISTINCT")


def direction(sql: str) -> Iterator[str]:
    start = order_by(sql)
    for token in tokens(sql):
        if token.word == "DESC":
            yield put(sql, token, "")
    if start:
        first = next((t for t in tokens(sql) if t.start > start.start and t.depth == 0 and t.text == ","), None)
        place = first.start if first else len(sql)
        if " DESC" not in sql[start.start : place] and "LIMIT" not in sql[start.start : place]:
            yield f"{sql[:place]} DESC{sql[place:]}"


def limit(sql: str) -> Iterator[str]:
    found = tokens(sql)
    for word, number in pairwise(found):
        if word.word in ("LIMIT", "OFFSET") and number.kind == "number":
            yield put(sql, number, str(int(number.text) + 1))
            yield sql[: word.start] if word.word == "LIMIT" else sql[: word.start] + sql[number.end :]


def numbers(sql: str) -> Iterator[str]:
    for token in tokens(sql):
        if token.kind == "number":
            yield put(sql, token, str(int(token.text) + 1) if token.text.isdecimal() else str(float(token.text) + 0.01))


def columns(sql: str) -> Iterator[str]:
    """Another column of the same name's table alias that the query uses."""
    found = tokens(sql)
    dotted = [found[i + 2] for i in range(len(found) - 2) if found[i].kind == "word" and found[i + 1].text == "."]
    plain = sorted({token.text for token in dotted})
    for token in dotted:
        for other in plain:
            if other != token.text:
                yield put(sql, token, other)
                break


def joins(sql: str) -> Iterator[str]:
    found = tokens(sql)
    for before, token in pairwise(found):
        if token.word == "JOIN":
            yield put(sql, before, "") if before.word == "LEFT" else put(sql, token, "LEFT JOIN")


def clauses(sql: str) -> Iterator[str]:
    """Without its ORDER BY, its HAVING, or one condition of an AND."""
    found = tokens(sql)
    ends = ("ORDER", "LIMIT", "GROUP", "HAVING", "AND", "OR", "UNION", "INTERSECT", "EXCEPT", ")")
    for position, token in enumerate(found):
        if token.word in ("HAVING", "AND") and found[max(0, position - 2)].word != "BETWEEN":
            rest = [t for t in found[position + 1 :] if t.depth <= token.depth and (t.word in ends or t.text == ")")]
            yield sql[: token.start] + (sql[rest[0].start :] if rest else "")
    if (start := order_by(sql)) and "LIMIT" not in sql[start.start :]:
        yield sql[: start.start]


OPERATORS: dict[str, Operator] = {
    "distinct": distinct,
    "direction": direction,
    "limit": limit,
    "strictness": swapped({">": ">=", "<": "<="}),
    "logic": swapped({"AND": "OR", "=": "<>", "IN": "NOT IN", "INTERSECT": "EXCEPT"}),
    "aggregate": swapped({"SUM": "AVG", "MAX": "MIN", "COUNT": "MAX"}),
    "numbers": numbers,
    "columns": columns,
    "joins": joins,
    "clauses": clauses,
}


@dataclass(frozen=True)
class Survivor:
    """A mutant that the suite takes for right, and a database on which it is not."""

    operator: str
    family: str
    gold: str
    mutant: str
    shown: str


@dataclass
class Report:
    caught: Counter
    survived: list[Survivor]
    equivalent: int = 0

    @property
    def share(self) -> float:
        caught = sum(self.caught.values())
        return caught / max(1, caught + len(self.survived))


def tables(runs: list) -> list[Table | None]:
    return [found if isinstance(found, Table) else None for found in engine().run(runs, LIMITS, NOW)]


def measure(tasks, per_operator: int = 2, battery: int = 24) -> Report:
    """The share of near misses that differ from gold anywhere and that the database shown or a twin tells from it."""
    report = Report(Counter(), [])
    for task in tasks:
        sql, base = task.gold.answer, database_of(task.data["database"])
        ordered = is_ordered(sql)
        suite = [base, *twins(base, sql)]
        wanted = tables([(each, sql) for each in suite])
        for name, operator in OPERATORS.items():
            for mutant in list(dict.fromkeys(operator(sql)))[:per_operator]:
                (first,) = tables([(base, mutant)])
                if first is None:
                    continue
                found = [first, *tables([(each, mutant) for each in suite[1:]])]
                if any(unlike(a, b, ordered) for a, b in zip(wanted, found, strict=True)):
                    report.caught[name] += 1
                    continue
                others = [Twin(base, TWINS + n, f"{sql} {mutant}") for n in range(battery)]
                right, wrong = tables([(each, sql) for each in others]), tables([(each, mutant) for each in others])
                proof = [o.key for o, a, b in zip(others, right, wrong, strict=True) if unlike(a, b, ordered)]
                if proof:
                    report.survived.append(Survivor(name, task.family, sql, mutant, proof[0]))
                else:
                    report.equivalent += 1
    return report


def unlike(gold: Table | None, found: Table | None, ordered: bool) -> bool:
    if gold is None:
        return False
    return found is None or bool(differ(gold.rows, found.rows, ordered=ordered))


assert len(OPERATORS) == 10
