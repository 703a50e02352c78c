r"""ReAct: labelled lines of thought, action and observation.

    Thought: TEXT
    Action: TOOL
    Action Input: {"parameter": value, ...}
or
    Thought: TEXT
    Final Answer: TEXT

A label begins its line and may have a number (`Action 2:`); what it labels goes on to the next label, without space at
either end. The input is a JSON object on one line or several. Text before the first label is thought, because prompts
write `Thought:` for the policy. A turn is one call or the answer, which ends the episode: the first of them counts, and
what follows it is tail, a made-up `Observation:` above all. An answer after a call is an error (its result was not
seen), the call runs. Of two answers the first counts. An `Observation:` before any action ends the reading, and the
turn has no action. Where there is a peer, text without any label is a message. There is no escape: text with a line
that begins with a label is not expressible, but in JSON, where a new line is `\n`.

Grammar: after Yao et al. 2022 (arXiv 2210.03629) with the input on a line of its own, as LangChain has it; definition
by this project.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ShownResult, ToolSpec
from tir_gym.protocols.json_args import BadJson, decode, encode
from tir_gym.protocols.reading import Reading
from tir_gym.protocols.teaching import sample_call, tool_list
from tir_gym.protocols.text_syntax import TextSyntax
from tir_gym.protocols.untrusted import label, neutralizer

_NAMES = "Thought|Action Input|Action|Observation|Final Answer"
_LABEL = re.compile(rf"^([ \t*#]{{0,8}})({_NAMES})(?: ?[0-9]{{1,4}})?(\*{{0,2}}):(\*{{0,2}})", re.MULTILINE)
_SHOWN_LABEL = re.compile(rf"^(?=\\*+[ \t*#]{{0,8}}(?:{_NAMES})(?: ?[0-9]{{1,4}})?\*{{0,2}}:)", re.MULTILINE)
_JSON_FENCE = re.compile(r"```(?:json)?[ \t]*+\n(.*)\n[ \t]*+```", re.DOTALL)
_STEP = re.compile(r"\nAction ([1-9][0-9]{0,8}): ")
_OWN_THOUGHT = re.compile(r"Thought [0-9]{1,9}:")
_disarm = neutralizer(())


@dataclass(frozen=True)
class ReAct(TextSyntax):
    """ReAct.

    Lenient reading mends labels that are indented or set in bold, an input in a code fence, and a missing input.

    `paper`: the loop of the HotpotQA notebook with its Wikipedia environment. A turn is `TEXT`, a new line, and
    `Action i: search[entity]`, `lookup[keyword]` or `finish[answer]`, for one number i; the action's first letter may
    be a capital. `search` is the tool `search(query)`, `lookup` is `lookup(keyword)`, `finish` is the answer, and
    `think`, which the environment also takes, is a call of `think(thought)`. The loop writes `Thought i:` for the
    policy; a completion may have it too, as nothing else writes it in the first turn. A call's `id` is its number i, by
    which the observation is numbered.
    """

    name = "react"
    stop_strings = ("\nObservation",)
    source = "ysymyth/ReAct@6bdb3a1 hotpotqa.ipynb, wikienv.py"
    quirks = (
        "The number is the policy's: nothing checks that step 2 follows step 1.",
        "Where a turn lacks its action or has it twice, the loop asks the model again; here the turn is an error.",
        "An action is read to the end of the text: finish[a] with a word after it is invalid.",
        "An argument may hold brackets and new lines: finish[a]] is the answer a].",
        "finish[] is an answer, an empty one; the loop gives it itself after seven steps, here the turn limit decides.",
        "A turn may begin with finish[...] without any work.",
        "A backslash followed by n is deleted from observations.",
        "Observations are not neutralised: a tool's text can hold further steps.",
        "A failed call is shown like a result.",
        "The loop rewrites the step from its stripped parts; here the policy's text is kept as it was written.",
        "An invalid action costs a step, and the policy reads it quoted; the words around the quotation are ours.",
        "The published prompt is six solved examples; here the syntax is taught by one.",
    )

    def _reading(self, text: str) -> Reading:
        return _ReActReading(text, self.mode)

    def _write(self, action: Action) -> str:
        self._refuse(action, ("confidence", "finish"), "there is no label for it")
        if len(action.calls) > 1:
            raise NotExpressible(self.name, "calls", "a turn is one call")
        if self.mode == "paper":
            return self._write_step(action)
        if action.message is not None:
            return action.message
        lines = [f"Thought: {action.thought}"] if action.thought else []
        if action.answer is not None:
            lines.append(f"Final Answer: {action.answer}")
        else:
            call = action.calls[0]
            lines += [f"Action: {call.name}", f"Action Input: {encode(call.arguments, spaced=True)}"]
        return "\n".join(lines)

    def _write_step(self, action: Action) -> str:
        if action.message is not None:
            raise NotExpressible(self.name, "message", "a step is an action")
        name, argument = "finish", action.answer
        if argument is None:
            call = action.calls[0]
            name, argument = call.name, call.arguments.get(_PUBLISHED.get(call.name, ""))
            if len(call.arguments) != 1 or not isinstance(argument, str):
                raise NotExpressible(self.name, "calls", f"a turn is one call of {_SIGNATURES}")
        number = action.calls[0].id if action.calls and _is_number(action.calls[0].id) else "1"
        return f"Thought {number}: {action.thought}\nAction {number}: {name}[{argument}]"

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """Names that are one line without space at either end; in paper mode only the published tools."""
        for tool in tools:
            if self.mode == "paper":
                parameter = _PUBLISHED.get(tool.name, "")
                if list(tool.parameters.get("required", ())) != [parameter]:
                    given = f"{tool.name}({', '.join(tool.parameter_names)})"
                    return f"{self.name} in paper mode calls nothing but {_SIGNATURES}; the toolkit has {given}"
            elif not tool.name or tool.name != tool.name.strip() or "\n" in tool.name:
                return f"tool {tool.name!r}: a name is one line without space at either end"
        return ""

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The syntax by an example made from the first tool, and the list of tools."""
        lines = ["Think, then act once."]
        if tools:
            lines += [
                "To call a tool write, for example:",
                self.format(Action("your reasoning", (sample_call(tools),))),
                "Stop after it: its result comes as an Observation, and you think again.",
            ]
        if peer and self.mode != "paper":
            lines.append("To talk to the other party write your words without any label.")
        lines += ["To give your final answer write:", self.format(Action("your reasoning", answer="your answer"))]
        if tools:
            lines += ["", "Tools:", tool_list(tools)]
        return "\n".join(lines)

    def render_results(self, results: Sequence[ShownResult]) -> str:
        """An `Observation:` a call, in call order; in paper mode numbered, with the next thought's label after it."""
        if self.mode == "paper":
            return "".join([_observed(result.text, result.call.id) for result in results])
        return "\n".join([_shown(result.text, result.error) for result in results])

    def render_feedback(self, text: str) -> str:
        """An `Observation:`."""
        return _observed(text, "") if self.mode == "paper" else _shown(text, "")


_PUBLISHED = {"search": "query", "lookup": "keyword", "think": "thought"}
_SIGNATURES = "search(query), lookup(keyword) or think(thought)"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _is_plain(found: re.Match[str]) -> bool:
    return not (found[1] or found[3] or found[4])


def _observed(text: str, number: str) -> str:
    shown = text.replace("\\n", "")
    if not _is_number(number):
        return f"\nObservation: {shown}\n"
    return f"\nObservation {number}: {shown}\nThought {int(number) + 1}:"


def _shown(text: str, error: str) -> str:
    shown = _SHOWN_LABEL.sub(r"\\", _disarm(text))
    return f"Observation: [error: {label(error)}] {shown}" if error else f"Observation: {shown}"


class _ReActReading(Reading):
    """One completion being read."""

    __slots__ = ()

    def read(self, cut: bool, peer: bool) -> None:
        """Read by the grammar."""
        labels = self._labels()
        if peer and not labels and self.text.strip():
            self.attempted = True
            self.message = self.text.strip()
            start = self.text.index(self.message[0])
            self.span(Part.MESSAGE, start, start + len(self.message))
            return
        starts = [found.start() for found in labels] + [len(self.text)]
        self._think(0, 0, starts[0])
        for i, found in enumerate(labels):
            self._check_label(found)
            if found[2] == "Thought":
                self._think(found.start(), found.end(), starts[i + 1])
                continue
            if found[2] == "Observation":
                self.tail(found.start())
            elif found[2] == "Final Answer":
                self._answer(found, starts[i + 1], cut)
            elif found[2] == "Action" and labels[i + 1 :] and labels[i + 1][2] == "Action Input":
                self._check_label(labels[i + 1])
                self._call(found, labels[i + 1], starts[i + 2], cut)
            else:
                self._call(found, None, starts[i + 1], cut)
            return

    def _labels(self) -> list[re.Match[str]]:
        """The labels up to the first that is no thought, and two more; strict reading knows only plain ones."""
        labels: list[re.Match[str]] = []
        end = -1
        for found in _LABEL.finditer(self.text):
            if self.strict and not _is_plain(found):
                continue
            labels.append(found)
            if end < 0 and found[2] != "Thought":
                end = len(labels) + 2
            if len(labels) == end:
                break
        return labels

    def _check_label(self, found: re.Match[str]) -> None:
        if not _is_plain(found):
            message = f"write the label {found[2]}: at the beginning of its line, without marks"
            self.fault(ParseErrorType.BAD_ACTION, message, found.start(), found.end())

    def _think(self, start: int, body: int, end: int) -> None:
        thought = self.text[body:end].strip()
        if thought:
            self.thoughts.append(thought)
        if self.text[start:end].strip():
            self.span(Part.THOUGHT, start, end)

    def _answer(self, found: re.Match[str], end: int, cut: bool) -> None:
        self.attempted = True
        start = found.start()
        self.span(Part.ANSWER, start, end)
        if cut and end == len(self.text):
            self.error(ParseErrorType.UNCLOSED_TAG, "the completion was cut inside the answer", start, end)
            return
        self.answer = self.text[found.end() : end].strip()
        self._after(end, ParseErrorType.DUPLICATE_ANSWER)

    def _call(self, found: re.Match[str], given: re.Match[str] | None, end: int, cut: bool) -> None:
        self.attempted = True
        start, text = found.start(), self.text
        self.span(Part.CALL, start, end)
        name = text[found.end() : given.start() if given else end].strip()
        written = text[given.end() : end].strip() if given else ""
        unfinished = cut and end == len(text)
        if found[2] == "Action Input" or not name or "\n" in name:
            if unfinished:
                self.cut_call(start, len(self.text))
            else:
                self.error(ParseErrorType.BAD_ACTION, "write Action: TOOL on a line, then Action Input:", start, end)
        else:
            self._input(name, written, start, end, unfinished)
        self._after(end, ParseErrorType.ANSWER_WITH_CALL)

    def _input(self, name: str, written: str, start: int, end: int, unfinished: bool) -> None:
        if fence := None if self.strict else _JSON_FENCE.fullmatch(written):
            self.fault(ParseErrorType.BAD_JSON, "the input is JSON without a code fence", start, end)
            written = fence[1]
        try:
            arguments = decode(written) if written else None
            why = "it is not an object"
        except BadJson as error:
            arguments, why = written, str(error)
        if isinstance(arguments, dict):
            self.calls.append(ToolCall(name, arguments))
        elif unfinished:
            self.cut_call(start, len(self.text))
        elif arguments is None and not written:
            self.fault(ParseErrorType.BAD_JSON, "Action Input: is missing; write {} for none", start, end)
            if not self.strict:
                self.calls.append(ToolCall(name))
        else:
            self.error(ParseErrorType.BAD_JSON, f"the input is not a JSON object: {why}", start, end)

    def _after(self, end: int, second: ParseErrorType) -> None:
        """What follows the action is tail; an answer in it is an error after a call, and after another one a fault."""
        tail = self.tail(end)
        answer = next((found for found in _LABEL.finditer(tail) if found[2] == "Final Answer"), None)
        if answer and second is ParseErrorType.ANSWER_WITH_CALL:
            message = "an answer cannot come with a call whose result you have not seen"
            self.error(second, message, end + answer.start(), len(self.text))
        elif answer:
            self.fault(second, "there are two answers; the first counts", end + answer.start(), len(self.text))
        elif tail and self.strict:
            self.error(ParseErrorType.TEXT_BETWEEN_TAGS, "text follows the turn's action", end, len(self.text))

    def read_as_published(self, cut: bool, peer: bool) -> None:
        """One step of the published loop."""
        text = self.text
        begin = len(text) - len(text.lstrip())
        step = _STEP.search(text, begin)
        limit = text.find(f"\nObservation {step[1]}:") if step else -1
        limit = limit if limit >= 0 else len(text)
        said = text[:limit].rstrip()
        if not said[begin:]:
            return
        self.attempted = True
        marks = said.count(step[0], begin) if step else 0
        if step is None or marks != 1:
            self._no_step(begin, limit, cut and limit == len(text))
            return
        self._published_thought(begin, step.start())
        self.span(Part.CALL, step.start() + 1, limit)
        self._published_action(said[step.end() :], step[1], step.start() + 1, limit, cut and limit == len(text))
        self.tail(limit)

    def _published_thought(self, begin: int, end: int) -> None:
        if begin == end:
            return
        self.span(Part.THOUGHT, begin, end)
        own = _OWN_THOUGHT.match(self.text, begin, end)
        if thought := self.text[own.end() if own else begin : end].strip():
            self.thoughts.append(thought)

    def _no_step(self, begin: int, limit: int, cut: bool) -> None:
        """The loop keeps the first line as the thought."""
        line = self.text.find("\n", begin, limit)
        self._published_thought(begin, line if line >= 0 else limit)
        if cut:
            self.error(ParseErrorType.CUT_CALL, "the completion was cut before its end", begin, limit)
        else:
            message = "write Action i: search[...], lookup[...] or finish[...] once, on a line after the thought"
            self.error(ParseErrorType.BAD_ACTION, message, begin, limit)
        self.tail(line if line >= 0 else limit)

    def _published_action(self, action: str, number: str, start: int, end: int, cut: bool) -> None:
        action = (action[0].lower() + action[1:]).strip()
        name, bracket, argument = action.partition("[")
        if not bracket or not argument.endswith("]") or name not in (*_PUBLISHED, "finish"):
            if cut:
                self.cut_call(start, len(self.text))
            else:
                self.error(ParseErrorType.BAD_ACTION, f"Invalid action: {action}", start, end)
        elif name == "finish":
            self.answer = argument[:-1]
            self.spans[-1] = self.spans[-1]._replace(part=Part.ANSWER)
        else:
            self.calls.append(ToolCall(name, {_PUBLISHED[name]: argument[:-1]}, number))
