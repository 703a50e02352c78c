"""A recorded episode as the messages that one of its actors wrote and read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tir_gym.core.action import ToolCall
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import ShownResult
from tir_gym.core.schema import ActionData, CallRecordData, EntryData, EpisodeRecord
from tir_gym.core.transcript import Source

Kind = Literal["system", "task", "policy", "results", "feedback", "partner", "injected"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a call brought, in the tool's own words; `id` is that of the call, unique in the episode."""

    id: str
    call: CallRecordData
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """One message: everything in it comes from one source, which its kind names.

    `system` and `task` open the episode; `policy` is the actor's own completion; `results` are those of one turn, as
    the protocol showed them; `feedback` is the environment's, `partner` another actor's words.
    """

    kind: Kind
    text: str
    """What the actor wrote or read, byte for byte."""
    speaker: str
    plain: str = ""
    """Of feedback: its words before the protocol dressed them."""
    action: ActionData | None = None
    """What a completion was read as."""
    ids: tuple[str, ...] = ()
    """Ids of its calls, in order: call_0, call_1, ... through the episode."""
    results: tuple[Result, ...] = ()
    images: int = 0
    """How many images were shown with it; a record holds their ids only."""


def policy_actors(setting: Setting) -> list[str]:
    """Names of the actors that policies play."""
    return [actor.name for actor in setting.domain.actors if not actor.scripted]


def dialogue(record: EpisodeRecord, setting: Setting, actor: str) -> Iterator[Said]:
    """What `actor` wrote and read, in order, as it came from and went to the policy.

    Of another actor's turn only its message is told, and what was for others' eyes is left out.
    """
    actions = iter(record.state.actions)
    waiting: list[tuple[str, ToolCall]] = []
    tools: list[EntryData] = []
    numbered = 0
    for entry in record.transcript:
        if entry.source == Source.TOOL:
            if actor in entry.visible_to:
                tools.append(entry)
            continue
        if tools:
            yield _results(record, setting, waiting, tools)
            tools = []
        action = next(actions) if entry.source == Source.POLICY else None
        if action is not None and entry.actor == actor:
            calls = [ToolCall(call.name, call.arguments, call.id) for call in action.calls]
            waiting = [(f"call_{numbered + i}", call) for i, call in enumerate(calls)]
            numbered += len(waiting)
            yield Said("policy", entry.text, actor, action=action, ids=tuple(name for name, _ in waiting))
        elif actor in entry.visible_to:
            yield _heard(setting, entry)
    if tools:
        yield _results(record, setting, waiting, tools)


def _results(
    record: EpisodeRecord, setting: Setting, waiting: list[tuple[str, ToolCall]], tools: list[EntryData]
) -> Said:
    """The results of a turn; only as many calls as were run have one, the first of them."""
    protocol = setting.protocol
    results = tuple(
        Result(name, record.calls[tool.call], tool.text) for (name, _), tool in zip(waiting, tools, strict=False)
    )
    shown = [
        ShownResult(
            ToolCall(result.call.tool, dict(result.call.arguments), result.id if protocol.native else call.id),
            result.text,
            result.call.error,
        )
        for result, (_, call) in zip(results, waiting, strict=False)
    ]
    images = sum(len(tool.images) for tool in tools)
    return Said("results", protocol.render_results(shown), "env", results=results, images=images)


def _heard(setting: Setting, entry: EntryData) -> Said:
    """An entry that the actor did not write."""
    images = len(entry.images)
    match entry.source:
        case Source.SYSTEM:
            return Said("system", entry.text, entry.actor, images=images)
        case Source.ENV if entry.turn > 0:
            shown = setting.protocol.render_feedback(entry.text)
            return Said("feedback", shown, entry.actor, entry.text, images=images)
        case Source.ENV:
            return Said("task", entry.text, entry.actor, images=images)
        case Source.POLICY | Source.USER:
            return Said("partner", entry.message, entry.actor, images=images)
    return Said("injected", entry.text, entry.actor, images=images)
