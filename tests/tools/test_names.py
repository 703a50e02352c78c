"""Names that a program defines, read from its text on the host."""

import threading
import warnings

import pytest

from tir_gym.tools.names import MAX_CHARS, MAX_DEPTH, MAX_NAME, defined_names


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("a = b = 1\na = 2", ["a", "b"]),
        ("x, (y, *z) = 1, (2, 3)", ["x", "y", "z"]),
        ("n: int = 3\nn += 1", ["n"]),
        ("shelf['k'] = 1\nitem.weight = 2", []),
        ("import numpy as np, os.path\nfrom math import pi as p, sqrt\nfrom json import *", ["np", "os", "p", "sqrt"]),
        ("def f(a):\n    inside = 1\nasync def g(): pass\nclass K:\n    field = 1", ["f", "g", "K"]),
        ("for i in r:\n    if i:\n        deep = i\nwith open('f') as handle: pass", ["i", "deep", "handle"]),
        ("[q for q in r]\nlambda v: v\n(walrus := 1)", ["walrus"]),
        ("print(seen)", []),
    ],
)
def test_names_bound_outside_functions_and_classes(code, names):
    assert defined_names(code) == tuple(names)


@pytest.mark.parametrize(
    "code",
    [
        *("1 +", "x = (", "\x00", "x = 1\x00", "\ud800 = 1", "9" * 5_000 + " = 1", "for " * 2_000),
        *("x = " + "-" * 5_000 + "1", "x = " + "a." * 4_000 + "a", "x = " + "1+" * 4_000 + "1", "x = " + "(" * 5_000),
        "def f():\n    return " + "1+" * (MAX_DEPTH + 1) + "1\nx = 1",
        f"{'n' * (MAX_NAME + 1)} = 1",
        "x = 1\n" + "#" * MAX_CHARS,
    ],
)
def test_what_does_not_parse_or_is_too_long_or_too_deep_defines_nothing(code):
    assert defined_names(code) == ()


def test_the_answer_does_not_depend_on_the_stack_of_the_caller():
    code = "x = " + "1+" * (MAX_DEPTH - 5) + "1"

    def deep(levels):
        return defined_names(code) if levels == 0 else deep(levels - 1)

    assert deep(0) == deep(700) == ("x",)


def test_nothing_is_evaluated_and_no_warning_escapes():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert defined_names("text = '\\d'\ny = 1or 2\nz = 1/0\nimport no_such_module") == (
            *("text", "y", "z", "no_such_module"),
        )
    assert caught == []


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [defined_names("a = '\\d'") for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
