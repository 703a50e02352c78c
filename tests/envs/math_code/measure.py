"""What is measured of the generated families: the work of their programs, their structure, prompts and answers.

`python -m tests.envs.math_code.measure --write` puts the figures into the asset that `tir-gym describe` shows, and
without `--write` they are printed. They depend on nothing but the families, so a test compares them exactly.
"""

import argparse
import ast
import difflib
import functools
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tir_gym.envs.math_code.families import FAMILIES, Family, Problem
from tir_gym.envs.math_code.families.base import WORDS

LEVELS = range(1, 11)
RUNS = 10
"""Programs run at each level."""

ASSET = Path(__file__).parents[3] / "tir_gym" / "assets" / "math_families.json"


def draw(family: Family, level: int, number: int) -> Problem:
    """Draw `number` of a family at a level."""
    return family.make(random.Random(f"{family.name}/{level}/{number}"), level)


class Run(NamedTuple):
    """A drawn problem, what its program gave, and the program's work."""

    problem: Problem
    shown: str
    work: int


@functools.cache
def runs(family: Family, level: int) -> list[Run]:
    """The programs of ten draws at a level."""
    problems = (draw(family, level, number) for number in range(RUNS))
    return [Run(problem, *run(problem.program)) for problem in problems]


def median_work(family: Family, level: int) -> int:
    """The median work of ten programs."""
    return statistics.median_low(one.work for one in runs(family, level))


@functools.cache
def thousand(family: Family) -> list[Problem]:
    """1,000 draws, a hundred at each level."""
    return [draw(family, 1 + number % 10, number) for number in range(1000)]


def figures(family: Family) -> dict[str, Any]:
    """What the catalogue shows of a family.

    `distinct_prompts`: normalised prompts in 1,000 draws over all levels. `work`: the median work of ten programs at
    each level. `commonest_answer`: the share of the most frequent answer of the 1,000 draws.
    """
    answers = Counter(problem.answer for problem in thousand(family))
    return {
        "distinct_prompts": len({normalised(problem.prompt) for problem in thousand(family)}),
        "work": [median_work(family, level) for level in LEVELS],
        "commonest_answer": answers.most_common(1)[0][1] / 1000,
    }


_STORY_WORDS = {word.casefold() for words in WORDS.values() for word in words}


def normalised(prompt: str) -> str:
    """A prompt without what does not make it another problem: letter case, white space, and the story's words.

    Words of the story become W1, W2, ... in the order of their first use, so that who is joined to whom is kept.
    """
    known: dict[str, str] = {}
    words = re.split(r"([a-z]+)", prompt.casefold())
    for place in range(1, len(words), 2):
        if words[place] in _STORY_WORDS:
            words[place] = known.setdefault(words[place], f"W{len(known) + 1}")
    return " ".join("".join(words).split())


def run(program: str) -> tuple[str, int]:
    """The value of the program's last expression as it prints, and the program's work.

    Work (definition by this project): the number of statements executed in the program's own code, plus the number of
    elements that its comprehensions take. What a library function does is part of the statement that calls it.
    """
    work = [0]

    def each(values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            work[0] += 1
            yield value

    tree = ast.fix_missing_locations(_Ticking().visit(ast.parse(program)))
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), "a program ends in an expression"
    scope: dict[str, Any] = {"__name__": "__main__", "_work": work, "_each": each}
    exec(compile(tree, "<program>", "exec"), scope)
    value = eval(compile(ast.Expression(last.value), "<program>", "eval"), scope)
    return str(value), work[0]


_TICK = ast.parse("_work[0] += 1").body[0]


class _Ticking(ast.NodeTransformer):
    """Counts: a tick before every statement, and one for every element that a comprehension takes."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [line for statement in block for line in (_TICK, statement)])
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        node.iter = ast.Call(ast.Name("_each", ast.Load()), [node.iter], [])
        return node


_ERASED = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.alias, ast.Import, ast.ImportFrom)


def structure(program: str) -> tuple[str, ...]:
    """The kinds of the syntax tree's nodes, in the order of the source.

    Left out is what does not make a program another one: names, constants, operators and imports. Data, a literal of
    any length, is one node.
    """

    def kinds(node: ast.AST) -> Iterator[str]:
        if isinstance(node, _ERASED):
            return
        if isinstance(node, ast.expr) and _is_data(node):
            yield "Data"
            return
        yield type(node).__name__
        for child in ast.iter_child_nodes(node):
            yield from kinds(child)

    return tuple(kinds(ast.parse(program)))


def _is_data(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def similarity(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """How much of two structures is common, in order: 1.0 for equal ones (Ratcliff and Obershelp's measure)."""
    return difflib.SequenceMatcher(None, *sorted((one, other)), autojunk=False).ratio()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {ASSET.name}")
    table = {family.name: figures(family) for family in FAMILIES}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in table.items())
    text = f"{{\n{lines}\n}}\n"
    if parser.parse_args().write:
        ASSET.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
