"""Views of episodes, made by hand from what the policy wrote."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tir_gym.core.action import Action, Part
from tir_gym.core.outcome import Outcome
from tir_gym.core.task import Gold, Task
from tir_gym.core.tool import call_key
from tir_gym.core.transcript import CallErrorType, CallRecord, CallStatus, Entry, Source, TextPart
from tir_gym.core.verify import Answer, Evidence, Score
from tir_gym.core.view import NO_GROUP, NO_PROGRESS, EpisodeView, GroupView, Progress
from tir_gym.protocols import protocol


def view_of(
    texts: Sequence[str | Action],
    *,
    syntax: str = "xml",
    score: float = 0.0,
    gold: Any = "42",
    data: Mapping[str, Any] | None = None,
    errors: Mapping[int, CallErrorType] | None = None,
    said: Mapping[int, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    price: float = 0.0,
    group: GroupView = NO_GROUP,
    progress: Progress = NO_PROGRESS,
) -> EpisodeView:
    """An episode that ended with these turns: every call was made, and failed where `errors` says so."""
    grammar = protocol(syntax)
    actions = [turn if isinstance(turn, Action) else grammar.parse(turn) for turn in texts]
    calls: list[CallRecord] = []
    transcript: list[Entry] = []
    for number, action in enumerate(actions, 1):
        for call in action.calls:
            index = len(calls)
            error = (errors or {}).get(index, CallErrorType.NONE)
            calls.append(
                CallRecord(
                    index=index,
                    turn=number,
                    actor="agent",
                    tool=call.name,
                    arguments=call.arguments,
                    key=call_key(call.name, call.arguments),
                    kind=(kinds or {}).get(call.name, "evidence"),
                    status=CallStatus.ERROR if error else CallStatus.OK,
                    error=error,
                    issued_at=float(index),
                    latency_s=1.0,
                    price=price,
                )
            )
            result = (TextPart((said or {}).get(index, "result")),)
            transcript.append(Entry(f"e{index}", number, Source.TOOL, "env", result, (), ("agent",), index))
    last = actions[-1] if actions else Action()
    answer = None
    if last.answer is not None:
        answer = Answer(last.answer, last.answer_origin, math.nan if last.confidence is None else last.confidence)
    authored = tuple(_authored(action) for action in actions)
    evidence = Evidence(Task("t", "?"), answer, tuple(calls), None, authored, "answer" if answer else "max_turns")
    return EpisodeView(
        evidence=evidence,
        score=Score(score),
        outcome=Outcome.SOLVED if score >= 1 else Outcome.FAILED,
        actions=tuple(actions),
        gold=Gold(gold, data=data or {}),
        policies=("agent",),
        group=group,
        progress=progress,
        transcript=tuple(transcript),
    )


def _authored(action: Action) -> str:
    tail = next((span.start for span in action.spans if span.part is Part.TAIL), None)
    return action.raw[:tail]


def search(query: str, thought: str = "Let me look.") -> str:
    """A turn in the syntax of Search-R1."""
    return f"<think>{thought}</think>\n<search>{query}</search>"


def answer(text: str, thought: str = "I know.", confidence: str = "") -> str:
    """The last turn in the syntax of Search-R1."""
    stated = f"<confidence>{confidence}</confidence>" if confidence else ""
    return f"<think>{thought}</think>\n{stated}<answer>{text}</answer>"


def searched(*queries: str, said: str = "42", **options: Any) -> EpisodeView:
    """Searches, then an answer."""
    return view_of([*map(search, queries), answer(said)], syntax="search_r1", **options)


def one(component: Any, view: EpisodeView) -> float:
    """The value of a component's only channel."""
    (value,) = component.evaluate(view).values()
    return float(value)
