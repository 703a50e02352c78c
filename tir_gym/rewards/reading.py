"""What several components read of an episode in the same way."""

import json
import math
from typing import Any, Literal

from tir_gym.core.action import Action, ParseErrorType, ToolCall
from tir_gym.core.transcript import CallRecord
from tir_gym.core.view import EpisodeView
from tir_gym.scoring.text import contains, exact_match, f1

Measure = Literal["score", "exact_match", "contains", "f1"]
"""How right the answer is: by the verifier, or as text against gold."""

_TEXT = {"exact_match": exact_match, "contains": contains, "f1": f1}


def answer_of(view: EpisodeView) -> str:
    """The policy's answer, "" for none."""
    return "" if view.evidence.answer is None else view.evidence.answer.text


def golds(view: EpisodeView) -> tuple[str, ...]:
    """The accepted answers as text."""
    gold = view.gold.answer
    if gold is None:
        return ()
    return tuple(map(str, gold)) if isinstance(gold, list | tuple) else (str(gold),)


def answer_score(view: EpisodeView, measure: Measure) -> float:
    """How right the answer is, in [0, 1]; 0 without one. Raises `ValueError` for an unknown measure."""
    if measure == "score":
        return view.correct
    if measure not in _TEXT:
        raise ValueError(f"measure={measure!r} must be 'score' or one of {', '.join(map(repr, _TEXT))}")
    return _TEXT[measure](answer_of(view), golds(view)) if view.evidence.answer is not None else 0.0


def well_formed(action: Action) -> bool:
    """Whether the turn asks for something, and nothing in it was wrong or had to be mended."""
    return not (action.errors or action.repairs or action.void)


def all_well_formed(view: EpisodeView) -> bool:
    """Whether there was a turn, and every one was well formed."""
    return bool(view.actions) and all(map(well_formed, view.actions))


def thinks(action: Action) -> bool:
    """Whether the turn has a thought that says something."""
    return action.thought.strip(" \n\t.\u2026") != ""


def answered(view: EpisodeView) -> bool:
    """Whether the episode ended with the policy's answer."""
    return view.evidence.answer is not None and view.evidence.ended_by == "answer"


def answers(view: EpisodeView) -> int:
    """Answers given: the one that ended the episode and those that were written after it."""
    extra = sum(e.type is ParseErrorType.DUPLICATE_ANSWER for action in view.actions for e in action.errors)
    mended = sum(r.kind == ParseErrorType.DUPLICATE_ANSWER for action in view.actions for r in action.repairs)
    return (view.evidence.answer is not None) + extra + mended


def made_calls(view: EpisodeView) -> tuple[ToolCall, ...]:
    """The calls that policies made, but for control, in order."""
    return tuple(ToolCall(call.tool, dict(call.arguments)) for call in view.tool_calls)


def gold_calls(view: EpisodeView) -> tuple[ToolCall, ...] | None:
    """The calls that gold wants, `gold.data["calls"]`: [{"name", "arguments"}]; None where it names none."""
    wanted = view.gold.data.get("calls")
    return None if wanted is None else tuple(as_call(call) for call in wanted)


def gold_turns(view: EpisodeView) -> tuple[tuple[ToolCall, ...], ...] | None:
    """The calls that gold wants, turn by turn (`gold.data["call_turns"]`); None where it does not say."""
    turns = view.gold.data.get("call_turns")
    return None if turns is None else tuple(tuple(as_call(call) for call in turn) for turn in turns)


def as_call(data: Any) -> ToolCall:
    """A call of gold, {"name", "arguments"}, as a call of its own."""
    return data if isinstance(data, ToolCall) else ToolCall(data["name"], json.loads(json.dumps(data["arguments"])))


def price(view: EpisodeView) -> float:
    """What the policies' calls cost, in the domain's unit: the sum of declared prices."""
    return math.fsum(call.price for call in view.calls)


def seconds(view: EpisodeView) -> float:
    """Virtual time at which the last call was over."""
    return max((call.issued_at + call.latency_s for call in view.calls), default=0.0)


def duplicates(view: EpisodeView) -> int:
    """Calls of a tool with the arguments of an earlier call."""
    return len(view.tool_calls) - len({call.key for call in view.tool_calls})


def worked(view: EpisodeView) -> list[CallRecord]:
    """The calls that did their work: what rewards for using tools count."""
    return [call for call in view.tool_calls if not call.error]


def used(view: EpisodeView, tool: str) -> bool:
    """Whether a call of a tool did its work."""
    return any(call.tool == tool for call in worked(view))
