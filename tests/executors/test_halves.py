"""Where a submission is cut: what is executed, and what is shown. A syntax tree says what is right."""

import ast
import contextlib
import io
from types import CodeType

import pytest

from tir_gym.executors.halves import halves

PROGRAMS = [
    "",
    " \n",
    "# nothing",
    "1",
    "x = 1\nx + 1",
    "x = 1\nx + 1  # end\n\n",
    "x = 1; x",
    "x = 2\nprint(x); x",
    "f = lambda: 3\nf(\n)",
    "if True:\n    y = 1\ny",
    "if True:\n    y = 1\n    y",
    "for i in range(2):\n    i\ni",
    "text = '''\n1 + 1\n'''",
    "text = '''\n1 + 1'''\ntext",
    "max(\n1, 2)",
    "max('''\n1''',\n'2')",
    "x = 1 + \\\n2",
    "\\\n2",
    "x = [\n1]\nx",
    "def f():\n    return 4\nf()",
    "a = 1\rb = 2\ra",
    "a = 1\r\nb = 2\r\na",
    "'doc'",
    "'doc'\n__doc__",
    "(z := 5)",
    "print(1)\nNone",
    "*[1], 2",
]


def outcome(before: CodeType | None, final: CodeType | None) -> tuple[str, object]:
    space: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if before is not None:
            exec(before, space)
        value = eval(final, space) if final is not None else None
    return out.getvalue(), value


@pytest.mark.parametrize("code", PROGRAMS)
def test_a_program_does_and_shows_what_its_syntax_tree_says(code: str) -> None:
    tree, final = ast.parse(code), None
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        tree.body.pop()
        final = compile(ast.Expression(last.value), "p", "eval")
    assert outcome(*halves(code, "p")) == outcome(compile(tree, "p", "exec"), final)


@pytest.mark.parametrize(
    "code", ["  1\n1", "if 1:\n1", "x = (\n1", "1\n  1", "'''\n1", "@f\n1", "return\n1", "yield 1", "\0"]
)
def test_what_does_not_compile_is_refused(code: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        halves(code, "p")


def test_lines_are_counted_from_the_first() -> None:
    _, final = halves("x = 1\n\ny = (2,\n3)\nlambda: 1", "p")
    assert final is not None
    assert [part.co_firstlineno for part in final.co_consts if isinstance(part, CodeType)] == [5]
