r"""Equivalence of final mathematical answers, decided without evaluating any text.

`compare(answer, gold)` takes the final answer out of both texts (`final`), reads each with one bounded grammar
(`numerals`, `answers`, `expression`) and compares the typed values (`judging`). Numbers are exact. Expressions are
refuted by numbers (`approximate`) or compared by exact normal forms (`exact`); only what is then open goes to a worker
process with sympy (`symbolic`). The rules, with their reasons and figures, are in docs/math_verifier.md.

Bounds: texts over `MAX_LENGTH` characters (after a box is taken out) and integers over `MAX_DIGITS` equal nothing;
mathematics over the limits of `expression` and `answers` is undecided unless it is spelled alike.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tir_gym.scoring import symbolic
from tir_gym.scoring.answers import value
from tir_gym.scoring.expression import NotMath, TooLarge, names
from tir_gym.scoring.final import final_part, last_boxed
from tir_gym.scoring.judging import Judge
from tir_gym.scoring.numerals import (
    MAX_DIGITS,
    MAX_EXPONENT,
    MAX_PARTS_DIGITS,
    UNIT_WORDS,
    Number,
    integer,
)
from tir_gym.scoring.sets import RealSet
from tir_gym.scoring.spelling import ASCII_FORMS, clean
from tir_gym.scoring.values import Equation, Expression, Named, Text, Value, leaves

__all__ = [
    "MAX_DIGITS", "MAX_EXPONENT", "MAX_LENGTH", "MAX_PARTS_DIGITS", "UNIT_WORDS", "Kind", "Number", "Value", "Verdict",
    "close", "compare", "equivalent", "last_boxed", "parse", "restates", "within", "worked_out",
]  # fmt: skip

MAX_LENGTH = 2048
SECONDS = 0.4
"""What the worker may take for one pair of expressions, half of it to see whether gold alone is within its limits."""
IN_ALL = 0.8
"""Seconds for all that one comparison asks of the worker; the worker may answer up to 0.15 s late."""

Kind = symbolic.Verdict


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind` is EQUAL, UNEQUAL or UNDECIDED; an undecided one says why, and whose doing it is.

    `fault`: "answer" where the answer is over the limits, "gold" where gold is, "worker" where we failed, else "".
    """

    kind: Kind
    reason: str = ""
    fault: str = ""


EQUAL, UNEQUAL = Verdict(Kind.EQUAL, "equivalent"), Verdict(Kind.UNEQUAL, "not equivalent")


def equivalent(answer: str, gold: str) -> bool:
    """Whether two final answers denote the same thing; False where that is undecided. Symmetric; never raises.

    >>> equivalent(r"so \\boxed{\\frac12}", "0.5"), equivalent("3 or 4", "3"), equivalent("10%", "10")
    (True, False, False)
    """
    return compare(answer, gold).kind is Kind.EQUAL


def compare(answer: str, gold: str) -> Verdict:
    """The verdict on two final answers, in under a second. Its kind is symmetric. Never raises."""
    left = parse(answer)
    if left is None:
        return UNEQUAL
    right = parse(gold)
    if right is None:
        return UNEQUAL
    if type(left) is Number is type(right) and not (left.digits or right.digits):
        same = left.value == right.value and (left.unit == right.unit or not left.unit or not right.unit)
        return EQUAL if same else UNEQUAL
    until = time.monotonic() + IN_ALL
    judge = Judge(SECONDS, until)
    try:
        found = judge.same(left, right)
    except NotMath:
        found = False
    except TooLarge:
        return Verdict(Kind.UNDECIDED, "the two together are over the limits", "answer")
    if found is not None:
        return EQUAL if found else UNEQUAL
    for side, fault in ((right, "gold"), (left, "answer")):
        if beyond(side):
            return Verdict(Kind.UNDECIDED, f"the {fault} is over the limits", fault)
    if judge.failed:
        return Verdict(Kind.UNDECIDED, judge.failed, "worker")
    alone = Judge(SECONDS / 2, until)
    if alone.within_limits(right):
        return Verdict(Kind.UNDECIDED, "equality could not be shown within the limits", "answer")
    if alone.failed:
        return Verdict(Kind.UNDECIDED, alone.failed, "worker")
    return Verdict(Kind.UNDECIDED, "gold could not be worked out within the limits", "gold")


def restates(answer: str, gold: str, question: str) -> bool:
    """Whether `answer` is a formula copied out of `question` where `gold` is not: worked on, it would look otherwise.

    Numbers are no formulas. Spelling is evened out, the order of terms is not.
    """
    said = parse(answer)
    if said is None or all(isinstance(leaf, Number | Text) for leaf in leaves(said)):
        return False
    asked = _bare(question)
    return _bare(final_part(answer)) in asked and _bare(final_part(gold)) not in asked


def _bare(text: str) -> str:
    return _LAYOUT.sub("", clean(text[: 8 * MAX_LENGTH].translate(ASCII_FORMS)))


def within(answer: str, gold: str, tolerance: float) -> bool:
    """Whether both are plain numbers, their units not different, and at most `tolerance` (absolute, > 0) apart."""
    left, right = _number(parse(answer)), _number(parse(gold))
    if left is None or right is None or (left.unit != right.unit and left.unit and right.unit):
        return False
    return abs(left.value - right.value) <= Fraction(repr(tolerance))


def _number(item: Value | None) -> Number | None:
    item = item.value if isinstance(item, Named) else item
    return item if isinstance(item, Number) else None


def parse(text: str) -> Value | None:
    """Read the final answer out of `text` as a typed value; None if there is none (empty, over-long, `nan`)."""
    content = text if _INTEGER.fullmatch(text) else final_part(text).strip()
    if _INTEGER.fullmatch(content):
        return integer(content)
    if len(content) > MAX_LENGTH:
        return None
    return _read(content)


@lru_cache(maxsize=4096)
def _read(content: str) -> Value | None:
    if not content.isascii():
        content = content.translate(ASCII_FORMS)
    cleaned = " ".join(clean(content).split()).strip(_MARKUP).removesuffix(".").rstrip(_MARKUP)
    if not cleaned or len(cleaned) > 2 * MAX_LENGTH or cleaned.lower() in {"nan", "+nan", "-nan"}:
        return None
    return value(cleaned)


_LAYOUT = re.compile(r"[\s$]")
_MARKUP = "*`'\" "
_INTEGER = re.compile(r"[+-]?[0-9]++")


def beyond(item: Value) -> bool:
    """Whether part of a value is mathematics over the limits."""
    return any(isinstance(leaf, Text) and leaf.beyond for leaf in leaves(item))


def worked_out(answer: str, gold: str) -> bool:
    """Whether `answer` is as finished as `gold`: `2+3` is not where gold is `5`, `2x > 4` not where it is `x > 2`.

    Where gold is solved for a name, an equation counts only as a curve or plane, in two or three of `x`, `y`, `z`.
    """
    left, right = parse(answer), parse(gold)
    if left is None or right is None:
        return True
    solved = all(leaf.worked for leaf in leaves(right) if isinstance(leaf, RealSet))
    if solved and not all(leaf.worked for leaf in leaves(left) if isinstance(leaf, RealSet)):
        return False
    if isinstance(right, Named) and not (isinstance(left, Named) and left.label == right.label):
        used = _related_names(left)
        if used and (len(used) == 1 or not used <= {"x", "y", "z"}):
            return False
    if not all(isinstance(leaf, Number) and leaf.worked for leaf in leaves(right)):
        return True
    interval = not isinstance(right, Number)
    return all(
        (isinstance(leaf, Number) or (interval and isinstance(leaf, RealSet))) and leaf.worked for leaf in leaves(left)
    )


def _related_names(item: Value) -> frozenset[str]:
    """The variables of an equation; none for anything else."""
    if isinstance(item, Equation):
        return names(item.node)
    if isinstance(item, Named) and isinstance(item.value, Expression):
        return names(item.value.node) | {item.label}
    return frozenset()


def close() -> None:
    """End the worker process, if there is one; the next comparison that needs it starts another."""
    symbolic.comparer().close()
