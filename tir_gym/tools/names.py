"""Which names a program defines, read from its text. Nothing is evaluated."""

import ast
import threading
import warnings

MAX_CHARS = 10_000
MAX_NAME = 40
MAX_DEPTH = 100

_FILTERS = threading.Lock()
"""`catch_warnings` changes the process's warning filters, so one thread at a time."""


def defined_names(code: str) -> tuple[str, ...]:
    """Names of at most `MAX_NAME` characters that the program binds outside functions and classes, in order, each once.

    Assignments, definitions, imports, loop and `with` targets count, whether or not they are reached. Empty for what
    does not parse, is longer than `MAX_CHARS`, or has a syntax tree deeper than `MAX_DEPTH` (whether a deeper one can
    be built depends on how much stack the caller has left). Never raises.
    """
    if len(code) > MAX_CHARS:
        return ()
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found: dict[str, None] = {}
    todo: list[tuple[ast.AST, int, bool]] = [(tree, 0, True)]
    while todo:
        node, depth, outside = todo.pop()
        if depth > MAX_DEPTH:
            return ()
        if outside:
            found |= dict.fromkeys(name for name in _bound_by(node) if len(name) <= MAX_NAME)
        outside = outside and not isinstance(node, _SCOPES)
        todo += [(child, depth + 1, outside) for child in reversed([*ast.iter_child_nodes(node)])]
    return tuple(found)


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.comprehension)


def _bound_by(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Name(id=name, ctx=ast.Store()):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            imported = (alias.asname or alias.name.partition(".")[0] for alias in names)
            return [name for name in imported if name != "*"]
    return []
