"""Trajectories in the formats that trainers read: OpenAI chat, ShareGPT, ADP, preference pairs.

What each loses is said in `LOSSES`. No format holds logprobs, token ids, the call log's facts or the world.
"""

import contextlib
import hashlib
import itertools
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, get_args

from tir_gym.core.domain import Setting
from tir_gym.core.schema import EpisodeRecord
from tir_gym.rollout.adp import ApiAction, CodeAction, MessageAction, TextObservation, Trajectory
from tir_gym.rollout.dialogue import Result, Said, dialogue, policy_actors
from tir_gym.rollout.record import setting_of

Format = Literal["openai", "sharegpt", "adp", "pairs"]
FORMATS: tuple[Format, ...] = get_args(Format)

LOSSES: Mapping[Format, str] = {
    "openai": "scores, images (text only), and of a native message what could not be read as a call",
    "sharegpt": "scores, images; native calls stay JSON inside the gpt text",
    "adp": "images, the surface syntax (tags, malformed text of turns that did act) and text after the answer",
    "pairs": "scores, images, invalid episodes, and tasks whose rollouts do not differ",
}
"""What a row of each format no longer says."""

Row = dict[str, Any]


@dataclass
class Exported:
    """What became of the records: read, kept by the filter, rows written, and how many kept ones had images."""

    records: int = 0
    kept: int = 0
    rows: int = 0
    with_images: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    """Records that were left out, by reason."""


@dataclass(frozen=True)
class Filter:
    """Which records to export: at least this score, one of these outcomes (any if empty), valid ones only."""

    min_score: float | None = None
    outcomes: tuple[str, ...] = ()
    only_valid: bool = False

    def refuses(self, record: EpisodeRecord) -> str:
        """Why a record is left out, "" if it is not."""
        if not record.outcome:
            return "unfinished"
        if self.only_valid and not record.valid:
            return "invalid"
        if self.outcomes and record.outcome not in self.outcomes:
            return f"outcome {record.outcome}"
        if self.min_score is not None and not record.verdict.value >= self.min_score:
            return f"score below {self.min_score:g}"
        return ""


def export(records: Iterable[EpisodeRecord], form: Format, out: str | Path, keep: Filter | None = None) -> Exported:
    """Write the records that `keep` lets through as JSONL in a format, one row an episode and policy actor.

    Records are taken one at a time; only `pairs` holds all of them. The file appears whole or not at all, and is left
    alone where there is nothing to write. Raises `ValueError` for a record whose environment or options are unknown
    here, `OSError` if the file cannot be written.
    """
    counts = Exported()
    kept = _kept(records, keep or Filter(), counts)
    rows = preference_pairs(kept) if form == "pairs" else _each(kept, _MAKERS[form])
    with whole_file(out) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            counts.rows += 1
    return counts


def openai_row(record: EpisodeRecord, setting: Setting, actor: str) -> Row:
    """{"messages", "tools"}: the chat format of OpenAI's fine-tuning files.

    Where the protocol is native, calls are `tool_calls` with results as `tool` messages, and `tools` holds the
    schemas; else everything is plain content as the policy wrote and read it, and the system message has the tools.
    """
    native = setting.protocol.native
    messages: list[Row] = []
    for said in dialogue(record, setting, actor):
        if said.kind == "policy":
            messages.append(_native_assistant(said) if native else {"role": "assistant", "content": said.text})
        elif said.kind in ("results", "feedback") and native:
            messages += json.loads(said.text)
        else:
            messages.append({"role": "system" if said.kind == "system" else "user", "content": said.text})
    return {"messages": messages} | ({"tools": _schemas(setting, actor)} if native else {})


_SHAREGPT: Mapping[str, str] = {"system": "system", "policy": "gpt", "results": "tool"}


def sharegpt_row(record: EpisodeRecord, setting: Setting, actor: str) -> Row:
    """{"id", "conversations": [{"from", "value"}], "tools"} with the roles system, human, gpt and tool.

    `tools` is the schemas as JSON text, "" where the system text lists the tools already (every text protocol).
    """
    turns = [
        {"from": _SHAREGPT.get(said.kind, "human"), "value": said.text} for said in dialogue(record, setting, actor)
    ]
    tools = json.dumps(_schemas(setting, actor), ensure_ascii=False) if setting.protocol.native else ""
    return {"id": _row_id(record, setting, actor), "conversations": turns, "tools": tools}


def adp_row(record: EpisodeRecord, setting: Setting, actor: str) -> Row:
    """A trajectory of the Agent Data Protocol, checked against its schema; see `tir_gym.rollout.adp`.

    A call is an `api_action` (Python code a `code_action`) followed by its result; an answer or a message is a
    `message_action`, as is the whole text of a turn that asked for nothing. The last action carries the reward.
    """
    content: list[Any] = []
    talk = list(dialogue(record, setting, actor))
    last = max((i for i, said in enumerate(talk) if said.kind == "policy"), default=-1)
    for i, said in enumerate(talk):
        if said.kind == "policy":
            reward = record.total if i == last and record.valid else None
            content += _adp_turn(said, talk[i + 1].results if i + 1 < len(talk) else (), reward)
        elif said.kind != "results":
            source = {"task": "user", "partner": "user"}.get(said.kind, "environment")
            if said.kind == "partner" and said.speaker in policy_actors(setting):
                source = "agent"
            name = "system" if said.kind == "system" else said.speaker
            content.append(TextObservation(content=said.plain or said.text, name=name, source=source))
    used = sorted({item.language for item in content if isinstance(item, CodeAction)})
    called = {item.function for item in content if isinstance(item, ApiAction)}
    offered = {tool.name for tool in setting.domain.declared_tools(actor)}
    task = record.state.task
    return Trajectory(
        id=_row_id(record, setting, actor),
        content=tuple(content),
        available_custom_tools=tuple(sorted(called | offered)),
        available_code_languages=tuple(used) or None,
        details={
            "env": record.state.env_id,
            "task": task.id,
            "family": task.family,
            "difficulty": task.difficulty,
            "split": task.split,
            "policy": record.policy,
            "protocol": record.protocol,
            "outcome": record.outcome,
            "score": record.verdict.value if record.verdict.valid else None,
        },
    ).model_dump(mode="json")


def preference_pairs(records: Iterable[EpisodeRecord]) -> Iterator[Row]:
    """{"prompt_state_id", "chosen", "rejected", "reason"} for rollouts of one task that read the same opening.

    Tool-Light's rule: chosen is correct, without a format error and of the fewest calls; rejected is every rollout
    that is wrong, or correct with more calls. `chosen` and `rejected` are whole chats as of `openai_row`.
    """
    groups: defaultdict[str, list[_Rollout]] = defaultdict(list)
    find = _settings()
    for record in records:
        if not record.verdict.valid:
            continue
        setting = find(record)
        for actor in policy_actors(setting):
            chat = openai_row(record, setting, actor)["messages"]
            turns = [said.action for said in dialogue(record, setting, actor) if said.action is not None]
            rollout = _Rollout(
                right=record.verdict.value >= 1.0,
                well_formed=not any(action.errors for action in turns),
                calls=sum(call.actor == actor for call in record.calls),
                chat=chat,
            )
            groups[_state_id(record, actor, chat)].append(rollout)
    for state, rollouts in groups.items():
        able = [rollout for rollout in rollouts if rollout.right and rollout.well_formed]
        if not able:
            continue
        best = min(able, key=lambda rollout: rollout.calls)
        for other in rollouts:
            if other.right and other.calls <= best.calls:
                continue
            reason = f"more calls: {other.calls} > {best.calls}" if other.right else "wrong"
            yield {"prompt_state_id": state, "chosen": best.chat, "rejected": other.chat, "reason": reason}


@dataclass(frozen=True, slots=True)
class _Rollout:
    """What the pair rule asks of one actor's part in an episode."""

    right: bool
    well_formed: bool
    calls: int
    chat: list[Row]


_MAKERS: Mapping[str, Callable[[EpisodeRecord, Setting, str], Row]] = {
    "openai": openai_row,
    "sharegpt": sharegpt_row,
    "adp": adp_row,
}


# --- parts of rows ---------------------------------------------------------------------------------------------------
def _native_assistant(said: Said) -> Row:
    """A native completion as the message it is, its calls under ids that are unique in the conversation."""
    assert said.action is not None
    try:
        message = json.loads(said.text)
    except (ValueError, RecursionError):
        message = None
    asked = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(message, dict) or (asked and not said.ids):
        return {"role": "assistant", "content": said.text}
    row: Row = {"role": "assistant", "content": message.get("content")}
    if reasoning := message.get("reasoning_content") or message.get("reasoning"):
        row["reasoning_content"] = reasoning
    if said.ids:
        row["tool_calls"] = [
            {
                "id": name,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
            }
            for name, call in zip(said.ids, said.action.calls, strict=True)
        ]
    return row


def _adp_turn(said: Said, brought: tuple[Result, ...], reward: float | None) -> list[Any]:
    """A turn's calls, each with its result, then its words."""
    action = said.action
    assert action is not None
    results = {result.id: result for result in brought}
    items: list[Any] = []
    for name, call in zip(said.ids, action.calls, strict=True):
        common: Row = {"tool_call_id": name if name in results else None}
        if call.name == "python" and list(call.arguments) == ["code"] and isinstance(call.arguments["code"], str):
            items.append(CodeAction(language="python", content=call.arguments["code"], description=None, **common))
        else:
            items.append(ApiAction(function=call.name, kwargs=call.arguments, **common))
        if name in results:
            observed = results[name]
            items.append(
                TextObservation(content=observed.text, name=call.name, source="environment", tool_call_id=name)
            )
    words = next((text for text in (action.answer, action.message, action.finish) if text is not None), None)
    if words is not None or not items:
        items.append(MessageAction(content=said.text if words is None else words))
    acts = [i for i, item in enumerate(items) if not isinstance(item, TextObservation)]
    items[acts[0]] = items[acts[0]].model_copy(update={"reasoning_content": action.thought or None})
    items[acts[-1]] = items[acts[-1]].model_copy(update={"reward": reward})
    return items


def _schemas(setting: Setting, actor: str) -> list[Row]:
    return [tool.schema for tool in setting.domain.declared_tools(actor)]


def _row_id(record: EpisodeRecord, setting: Setting, actor: str) -> str:
    name = record.key or f"{record.state.task.id}/{record.state.digest}"
    return name if len(policy_actors(setting)) == 1 else f"{name}/{actor}"


def _state_id(record: EpisodeRecord, actor: str, chat: list[Row]) -> str:
    """The task and a hash of all that the actor read before its first turn."""
    opening = itertools.takewhile(lambda message: message["role"] != "assistant", chat)
    text = json.dumps(list(opening), sort_keys=True)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{record.state.env_id}/{record.state.task.fingerprint}/{record.state.task.id}/{actor}/{digest}"


# --- files -----------------------------------------------------------------------------------------------------------
def _kept(records: Iterable[EpisodeRecord], keep: Filter, counts: Exported) -> Iterator[EpisodeRecord]:
    for record in records:
        counts.records += 1
        if reason := keep.refuses(record):
            counts.skipped[reason] = counts.skipped.get(reason, 0) + 1
            continue
        counts.kept += 1
        counts.with_images += any(entry.images for entry in record.transcript)
        yield record


def _each(records: Iterable[EpisodeRecord], make: Callable[[EpisodeRecord, Setting, str], Row]) -> Iterator[Row]:
    find = _settings()
    for record in records:
        setting = find(record)
        for actor in policy_actors(setting):
            yield make(record, setting, actor)


def _settings() -> Callable[[EpisodeRecord], Setting]:
    """`setting_of`, which makes the setting of like records once."""
    made: dict[str, Setting] = {}

    def find(record: EpisodeRecord) -> Setting:
        key = json.dumps([record.state.env_id, sorted(record.options.items())], default=str)
        if key not in made:
            made[key] = setting_of(record, tasks=False)
        return made[key]

    return find


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[IO[str]]:
    """A text file that takes its place under `path` when the block ends: not if it raises or writes nothing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            written = file.tell() > 0
            file.flush()
            os.fsync(descriptor)
        if written:
            Path(name).chmod(0o644)
            Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
