"""The oracle's course: search as planned, read the sentences, search for what they name, answer with what was read."""

import re
from collections.abc import Generator, Mapping
from typing import Any

from tir_gym.core.action import Action, ToolCall

_PASSAGE = re.compile(r"Doc \d+\(Title: (.*?)\) \[([\w.:-]+)\] (.*?)(?=Doc \d+\(Title: |\Z)", re.DOTALL)
_SEARCHING = ("read", "who", "collect")
_NOT_RECORDED = "is not recorded anywhere"


class _Lost(Exception):  # noqa: N818
    """The searches did not bring what the plan looks for."""


def follow(plan: Mapping[str, Any]) -> Generator[Action, str, None]:
    """Fill the slots of the plan, all searches that are ready in one turn, and answer with the slots asked for."""
    slots: dict[str, Any] = dict(plan["constants"])
    read: dict[str, None] = {}
    steps = list(plan["steps"])
    try:
        while steps:
            steps = _reckoned(steps, slots)
            ready = [step for step in steps if all(name in slots for name in _needs(step))]
            searches = [(step, wanted) for step in ready for wanted in _wanted(step, slots)]
            if not searches:
                break
            asked = [step.get("queries") or [step["query"].format(*wanted)] for step, wanted in searches]
            queries = {query: step.get("k") for some, (step, _) in zip(asked, searches, strict=True) for query in some}
            calls = tuple(
                ToolCall("search", {"query": query} | ({"k": k} if k else {})) for query, k in queries.items()
            )
            seen = yield Action(thought="I need to find out more.", calls=calls)
            passages = _PASSAGE.findall(seen)
            for step, wanted in searches:
                _take(step, wanted, slots, passages, read)
            steps = [step for step in steps if step["to"] not in slots]
    except _Lost:
        return
    if all(part in slots for part in plan["parts"]):
        parts = [plan["lead"], *(str(slots[part]) for part in plan["parts"])]
        cited = "".join(f" [{passage}]" for passage in read) if plan["cite"] else ""
        yield Action(thought="That settles it.", answer="; ".join(filter(None, parts)) + cited)


def _needs(step: Mapping[str, Any]) -> list[str]:
    more = [step[name] for name in ("of", "other", "year") if name in step]
    return [
        *step.get("needs", ()),
        *more,
        *step.get("all", ()),
        *(name for pair in step.get("pairs", ()) for name in pair),
    ]


def _wanted(step: Mapping[str, Any], slots: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What a search is made for: once for the values of its slots, or for each of several."""
    if step["do"] not in _SEARCHING:
        return []
    values = [slots[name] for name in step["needs"]]
    return [(one,) for one in values[0]] if step.get("each") else [tuple(values)]


def _take(
    step: Mapping[str, Any],
    wanted: tuple[str, ...],
    slots: dict[str, Any],
    passages: list[tuple[str, str, str]],
    read: dict[str, None],
) -> None:
    """Put what was found into the step's slot. Raises `_Lost`."""
    if step["do"] == "collect":
        held = {title.partition(": ")[0]: passage for title, passage, text in passages if _any(step["texts"], text)}
        slots[step["to"]] = "; ".join(held)
        read.update(dict.fromkeys(held.values()))
        return
    if step["do"] == "who":
        for title, passage, text in passages:
            if all(wording in text for wording in step["texts"]):
                slots[step["to"]] = title.partition(": ")[0]
                read[passage] = None
                return
        raise _Lost
    title = step["title"].format(*wanted)
    for found, passage, text in passages:
        if found == title:
            value = _sentence(step, text, slots)
            read[passage] = None
            if step.get("each"):
                slots.setdefault(step["to"], {})[wanted[0]] = value
            else:
                slots[step["to"]] = value.split(step["split"]) if "split" in step else value
            return
    raise _Lost


def _any(texts: list[str], text: str) -> bool:
    return any(re.search(re.escape(one) + r"\b", text) for one in texts)


def _sentence(step: Mapping[str, Any], text: str, slots: Mapping[str, Any]) -> str:
    """What a passage says where the plan looks. Raises `_Lost`."""
    if "year" in step:
        for start, end, who in re.findall(step["pattern"], text):
            if int(start) < int(slots[step["year"]]) < int(end):
                return str(who)
    elif not step["pattern"]:
        if _NOT_RECORDED in text:
            return "unknown"
    elif match := re.search(step["pattern"], text):
        return str(next(filter(None, match.groups())))
    raise _Lost


def _reckoned(steps: list[dict[str, Any]], slots: dict[str, Any]) -> list[dict[str, Any]]:
    """Do the steps that need no search, for as long as there are such; what is left."""
    while True:
        ready = [s for s in steps if s["do"] not in _SEARCHING and all(name in slots for name in _needs(s))]
        if not ready:
            return steps
        for step in ready:
            slots[step["to"]] = _worked_out(step, slots)
        steps = [step for step in steps if step not in ready]


def _worked_out(step: Mapping[str, Any], slots: Mapping[str, Any]) -> Any:
    match step["do"]:
        case "pairs":
            return {slots[one]: slots[number] for one, number in step["pairs"]}
        case "best":
            return (max if step["last"] else min)(slots[step["of"]].items(), key=lambda item: int(item[1]))[0]
        case "later":
            return {one: number for one, number in slots[step["of"]].items() if int(number) > step["limit"]}
        case "count":
            return len(slots[step["of"]])
        case "minus":
            return _number(slots[step["of"]]) - _number(slots[step["other"]])
        case "sum":
            return sum(_number(slots[name]) for name in step["all"])
        case "replaced":
            steps = list(slots[step["of"]])
            for at, instead in step["pairs"]:
                steps[int(slots[at]) - 1] = slots[instead]
            return "; ".join(steps)
        case "before":
            return "yes" if _number(slots[step["of"]]) < _number(slots[step["other"]]) else "no"
    raise ValueError(f"no step {step['do']!r}")


def _number(text: str) -> int:
    return int(text.replace(",", ""))
