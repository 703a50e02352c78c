"""How far made tool calls agree with wanted ones: the measures of published systems, on name and arguments.

Values are compared as JSON values are in Python (1 equals 1.0).
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from tir_gym.core.action import ToolCall
from tir_gym.scoring.assignment import Matrix, best_assignment, greedy_assignment, transport

Calls = Sequence[ToolCall]
Grain = Literal["fine", "refined", "intermediate", "coarse"]


def multiset_iou(one: Iterable[Hashable], other: Iterable[Hashable]) -> float:
    """Intersection over union of multisets, in [0, 1]: 1 if both are empty, 0 if one is. Source: ToolRL, code."""
    left, right = Counter(iter(one)), Counter(iter(other))
    if left == right:
        return 1.0
    common = sum((left & right).values())
    return common / (left.total() + right.total() - common)


# --- ToolRL -----------------------------------------------------------------------------------------------------------
def toolrl_correctness(
    gold: Calls,
    made: Calls,
    high: float = 3.0,
    low: float = -3.0,
    *,
    grain: Grain = "fine",
    no_call_expected: bool = False,
) -> float:
    """ToolRL's correctness of tool calls, in [low, high].

    S = IoU(names) + for each gold call in order, of the best unused call of the same name: IoU(argument names) + number
    of equal values. R = low + (high - low) * S / (1 + sum over gold calls of (1 + number of arguments)); `high` where
    all is equal, in order. Where gold has no call R is 0 whatever was called; with `no_call_expected`, `high` for
    no call and `low` for any (an option of this project).
    `grain`: "refined" replaces IoU by equality of the lists, "intermediate" credits whole calls only (one point each),
    "coarse" gives `low` unless all is equal. Source: qiancheng0/ToolRL, verl/utils/reward_score/rlla.py.
    """
    if not gold:
        return (low if made else high) if no_call_expected else 0.0
    if list(gold) == list(made):
        return high
    if grain == "coarse":
        return low

    def alike(wanted: list[str], said: list[str]) -> float:
        return float(wanted == said) if grain == "refined" else multiset_iou(wanted, said)

    score = alike([call.name for call in gold], [call.name for call in made])
    most = 1.0
    unused = list(made)
    for wanted in gold:
        most += 1.0 if grain == "intermediate" else 1.0 + len(wanted.arguments)
        best, match = 0.0, None
        for call in unused:
            if call.name != wanted.name:
                continue
            if grain == "intermediate":
                points = float(call == wanted)
            else:
                points = alike(list(wanted.arguments), list(call.arguments)) + _equal_values(wanted, call)
            if points > best:
                best, match = points, call
        if match is not None:
            unused = [call for call in unused if call is not match]
            score += best
    return low + (high - low) * score / most


def _equal_values(wanted: ToolCall, call: ToolCall) -> int:
    said = call.arguments
    return sum(name in said and said[name] == value for name, value in wanted.arguments.items())


# --- MatchTIR ---------------------------------------------------------------------------------------------------------
def matchtir_similarity(made: ToolCall, gold: ToolCall) -> float:
    """(1 + IoU of argument names + number of equal values) / (2 + number of gold arguments), in [0, 1].

    0 where the names differ; letter case plays no part. Source: quchangle1/MatchTIR, reward_score/tool.py.
    """
    if made.name.lower() != gold.name.lower():
        return 0.0
    shared = multiset_iou(made.arguments, gold.arguments)
    return (1 + shared + _equal_values(gold, made)) / (2 + len(gold.arguments))


def similarities(made: Calls, gold: Calls) -> Matrix:
    """`matchtir_similarity` of each made call (row) with each gold call (column)."""
    return np.array([[matchtir_similarity(one, other) for other in gold] for one in made]).reshape(len(made), len(gold))


def matched_rewards(similarity: Matrix, penalty: float = 0.0, *, greedy: bool = False) -> list[float]:
    """Each call's similarity with the gold call it is matched with one to one, `penalty` for those left over.

    The sum of similarities is the greatest possible; with `greedy` it is what the published code makes of it.
    """
    if not similarity.size:
        return [penalty] * len(similarity)
    match = (greedy_assignment if greedy else best_assignment)(similarity)
    return [float(similarity[row, column]) if column >= 0 else penalty for row, column in enumerate(match)]


def transported_rewards(similarity: Matrix, regularisation: float = 0.1) -> list[float]:
    """r_i = sum over j of T_ij S_ij for the transport plan T: a perfect match of P calls gives 1/P each."""
    if not similarity.size:
        return [0.0] * len(similarity)
    return [float(r) for r in (transport(similarity, regularisation) * similarity).sum(1)]


# --- TL-Training ------------------------------------------------------------------------------------------------------
def tl_training(
    *,
    parsed: bool,
    tool_known: bool,
    tool_right: bool,
    hallucinated_arg: bool,
    redundant_arg: bool,
    missing_arg: bool,
    values_equal: bool,
) -> float:
    """The reward of one call, in [-2, 1]: the worst fault decides. Source: Junjie-Ye/TL-Training, code.

    Unparsable or unknown tool -2, wrong tool -1.5; arguments that do not exist together with redundant and missing ones
    -1.8, with one of these -1.3, alone -0.8; redundant and missing -1, one of these -0.5; other values -0.25.
    """
    if not (parsed and tool_known):
        return -2.0
    if not tool_right:
        return -1.5
    others = redundant_arg + missing_arg
    if hallucinated_arg:
        return (-0.8, -1.3, -1.8)[others]
    if others:
        return (-0.5, -1.0)[others - 1]
    return 1.0 if values_equal else -0.25


# --- FTRL -------------------------------------------------------------------------------------------------------------
def ftrl_solve(calls: int, solved: int, golds: int) -> dict[str, float]:
    """Precision solved/calls (1 without a call), rate solved/golds, F1 = 2 solved / (calls + golds); all in [0, 1]."""
    precision = solved / calls if calls else 1.0
    total = calls + golds
    return {
        "precision": precision,
        "rate": solved / golds if golds else 1.0,
        "f1": 2 * solved / total if total else 1.0,
    }


def ftrl_turn(calls: int, solved: int, mode: Literal["f1", "count", "share", "square"] = "f1") -> float:
    """FTRL's reward of a turn with calls: 2s/(calls + 1), s, s/calls or s^2/calls."""
    if not calls:
        raise ValueError("this is the reward of a turn with calls")
    return {"f1": 2 * solved / (calls + 1), "count": solved, "share": solved / calls, "square": solved**2 / calls}[mode]


def ftrl_silent_turn(*, empty: bool, stray_tags: bool, answered: bool, unsolved: int) -> float:
    """FTRL's reward of a turn without calls, in [-0.5, 1].

    -0.5 for an empty turn, -0.3 for broken tool tags, 1/(1 + unsolved) where the final answer is in it, else 0.5 if
    nothing is left to solve, or 0.
    """
    if empty:
        return -0.5
    if stray_tags:
        return -0.3
    if answered:
        return 1 / (1 + unsolved)
    return 0.0 if unsolved else 0.5


def ftrl_verified(result: str, golden: str) -> bool:
    """Whether every piece of the golden answer, split at ", ", stands in the tool's result (lower case, no commas)."""
    text = result.lower().replace(",", "")
    return all(piece.lower().replace(",", "") in text for piece in golden.split(", "))


# --- tau2-bench, m&m's ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class WantedAction:
    """A call that must occur; `compare` names the arguments that count (None: those of the made call)."""

    call: ToolCall
    compare: tuple[str, ...] | None = None

    def met_by(self, made: ToolCall) -> bool:
        """Whether a call has the name and equal values where it counts. Source: tau2-bench, code."""
        if made.name != self.call.name:
            return False
        names = made.arguments if self.compare is None else self.compare
        absent = object()
        return all(made.arguments.get(n, absent) == self.call.arguments.get(n, absent) for n in names)


def tau2_actions(wanted: Sequence[WantedAction], made: Calls) -> float:
    """1.0 if every wanted action is met by some call, else 0.0."""
    return float(all(any(action.met_by(call) for call in made) for action in wanted))


def set_f1(said: Iterable[Hashable], wanted: Iterable[Hashable]) -> float:
    """F1 in [0, 1] of two sets; 1 if both are empty."""
    mine, theirs = set(said), set(wanted)
    if not mine and not theirs:
        return 1.0
    return 2 * len(mine & theirs) / (len(mine) + len(theirs))


def plan_metrics(made: Calls, plans: Sequence[Calls]) -> dict[str, float]:
    """m&m's measures of a plan against the best of several gold plans, each in [0, 1].

    F1 of tools, of (tool, argument names) and of (tool, argument, value) as sets, so that a repeated tool counts once;
    F1 of edges between consecutive tools; accuracy (equal lists of tools); 1 - the mean normalised edit distance of the
    tool sequences. The best plan is the one with the greatest sum. Source: RAIVNLab/mnms, evaluator; its tool F1 is
    macro over its 33 tools, here over those that occur.
    """
    if not plans:
        raise ValueError("there is no gold plan to compare with")
    return max((_plan_metrics(made, plan) for plan in plans), key=lambda found: math.fsum(found.values()))


def _plan_metrics(made: Calls, plan: Calls) -> dict[str, float]:
    mine, theirs = [call.name for call in made], [call.name for call in plan]
    present = sorted({*mine, *theirs})
    return {
        "tool_f1": sum((name in mine) == (name in theirs) for name in present) / len(present) if present else 1.0,
        "argument_name_f1": set_f1(_argument_names(made), _argument_names(plan)),
        "argument_value_f1": set_f1(_argument_values(made), _argument_values(plan)),
        "edge_f1": set_f1(pairwise(mine), pairwise(theirs)),
        "accuracy": float(mine == theirs),
        "similarity": 1 - edit_distance(mine, theirs) / max(len(mine), len(theirs), 1),
    }


def _argument_names(calls: Calls) -> list[tuple[str, str]]:
    return [(call.name, name) for call in calls for name in call.arguments]


def _argument_values(calls: Calls) -> list[tuple[str, str, str]]:
    return [(call.name, name, repr(value)) for call in calls for name, value in call.arguments.items()]


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Levenshtein's distance: the fewest insertions, removals and substitutions."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        above = row
        row = [i]
        for j, right in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (left != right)))
    return row[-1]


# --- BFCL -------------------------------------------------------------------------------------------------------------
_BFCL_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "float": (float, int),
    "number": (float, int),
    "boolean": (bool,),
    "array": (list, tuple),
    "tuple": (list, tuple),
    "dict": (dict,),
    "object": (dict,),
    "any": (str,),
}
_BFCL_DROPPED = str.maketrans(dict.fromkeys(" ,./-_*^", "") | {"'": '"'})


def bfcl_check(
    made: Calls, gold: Sequence[tuple[str, Mapping[str, Sequence[Any]]]], functions: Mapping[str, Mapping[str, Any]]
) -> str:
    """ "" if the calls are right, else the code of the first fault, as BFCL's AST checker names it.

    `gold` is (function, allowed values of each parameter; "" among them: optional), `functions` maps names to JSON
    schemas of their arguments. Several calls may come in any order, each gold call met by one. Checks in order:
    number of calls, name, missing and unexpected parameters, types (int counts as float, but not in an array), values
    (strings without space and punctuation, lower case; here at any depth). Source: gorilla, ast_checker.py.
    """
    if len(made) != len(gold):
        return (
            "parallel_function_checker_no_order:wrong_count" if len(gold) > 1 else "simple_function_checker:wrong_count"
        )
    left = list(made)
    for name, allowed in gold:
        faults = [_bfcl_call(call, name, allowed, functions.get(name, {})) for call in left]
        if "" not in faults:
            return faults[0] if len(gold) == 1 else "parallel_function_checker_no_order:cannot_find_match"
        left.pop(faults.index(""))
    return ""


def _bfcl_call(call: ToolCall, name: str, allowed: Mapping[str, Sequence[Any]], schema: Mapping[str, Any]) -> str:
    if call.name != name:
        return "simple_function_checker:wrong_func_name"
    if any(required not in call.arguments for required in schema.get("required", ())):
        return "simple_function_checker:missing_required"
    for parameter, value in call.arguments.items():
        if parameter not in allowed or parameter not in schema.get("properties", {}):
            return "simple_function_checker:unexpected_param"
        one_of = allowed[parameter]
        fault = _bfcl_type(value, schema["properties"][parameter], one_of) or _bfcl_value(value, one_of)
        if fault:
            return fault
    if any(parameter not in call.arguments and "" not in values for parameter, values in allowed.items()):
        return "simple_function_checker:missing_optional"
    return ""


def _bfcl_type(value: Any, schema: Mapping[str, Any], allowed: Sequence[Any]) -> str:
    """The fault of a value's type. A value of the type that gold's own has passes, whatever the schema says."""
    named = _first_type(allowed)
    if not _is_a(value, schema, whole_counts_as_float=True):
        return "" if type(value) is named else "type_error:simple"
    items = schema.get("items")
    if not items or not isinstance(value, list | tuple):
        return ""
    lists = [one for one in allowed if isinstance(one, list | tuple)]
    if len(lists) < len(allowed) or any(
        all(_is_a(v, items) or type(v) is _first_type(one) for v in value) for one in lists
    ):
        return ""
    return "type_error:nested"


def _is_a(value: Any, schema: Mapping[str, Any], *, whole_counts_as_float: bool = False) -> bool:
    kinds = _BFCL_TYPES.get(schema.get("type", ""), (object,))
    if isinstance(value, bool):
        return bool in kinds or object in kinds
    if isinstance(value, int) and schema.get("type") == "float":
        return whole_counts_as_float
    return isinstance(value, kinds)


def _first_type(allowed: Sequence[Any]) -> type | None:
    return next((type(one) for one in allowed if one != ""), None)


def _bfcl_value(value: Any, allowed: Sequence[Any]) -> str:
    """The fault of a value that is none of the allowed ones."""
    if any(_bfcl_equal(value, one) for one in allowed):
        return ""
    if isinstance(value, dict):
        keys = any(isinstance(one, Mapping) and value.keys() <= one.keys() for one in allowed)
        return f"value_error:dict_{'value' if keys else 'key'}"
    kind = "string" if isinstance(value, str) else "list/tuple" if isinstance(value, list | tuple) else "others"
    return f"value_error:{kind}"


def _bfcl_equal(value: Any, allowed: Any) -> bool:
    if isinstance(value, str) and isinstance(allowed, str):
        return value.lower().translate(_BFCL_DROPPED) == allowed.lower().translate(_BFCL_DROPPED)
    if isinstance(value, list | tuple) and isinstance(allowed, list | tuple):
        return len(value) == len(allowed) and all(map(_bfcl_equal, value, allowed))
    if isinstance(value, dict) and isinstance(allowed, Mapping):
        if any(name not in allowed for name in value):
            return False
        return all(
            any(_bfcl_equal(value[name], one) for one in values) if name in value else "" in values
            for name, values in allowed.items()
        )
    return bool(value == allowed) and isinstance(value, bool) == isinstance(allowed, bool)
