"""Where a submission is cut: what is executed, and the last expression, to be shown. Loaded inside sessions."""

import ast
import contextlib
from types import CodeType


def halves(code: str, name: str) -> tuple[CodeType | None, CodeType | None]:
    """What is to be executed, and the last expression, which is to be evaluated; None where there is none.

    Most programs end in a line with an expression. They are cut before it, at less than half the price of a syntax
    tree: if both parts compile, no bracket, string, block or continuation reaches across. Raises what `compile` does.
    """
    start = code.rstrip().rfind("\n") + 1
    head, tail = code[:start], code[start:]
    if not tail[:1].isspace() and "\r" not in code:
        with contextlib.suppress(SyntaxError, ValueError):
            final = compile("\n" * head.count("\n") + tail, name, "eval", dont_inherit=True)
            return compile(head, name, "exec", dont_inherit=True) if start else None, final
    tree = ast.parse(code, name)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        return compile(tree, name, "exec", dont_inherit=True), None
    tree.body.pop()
    before = compile(tree, name, "exec", dont_inherit=True) if tree.body else None
    return before, compile(ast.Expression(last.value), name, "eval", dont_inherit=True)
