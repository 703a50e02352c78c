r"""The marks of DeepAgent in free text: tool search, JSON calls, folding, and a box for the answer.

    turn   = TEXT action
    action = <tool_search>query</tool_search> | <tool_call>{"name": NAME, "arguments": {...}}</tool_call>
           | <fold_thought> | \boxed{answer}

`<tool_search>` is a call of the tool `tool_search(query)`, `<fold_thought>` one of `fold_thought()`; either is an
unknown tool where the toolkit has none of that name. The first mark of the three ends the turn: what stands before is
thought, what follows is tail. A filled box before it is an error (the result was not seen), the call runs. In a turn
without marks the last box with balanced braces is the answer, which ends the episode; an empty one only where there is
no other, and none inside a result that the policy made up. Without mark and box the turn is a message where there is a
peer, else void. In `paper` mode the first closing mark ends the turn, and a box is read from the first opening to the
last brace of the turn.

Results come in `<tool_search_result>`, `<tool_call_result>` and, after folding, `<system_message>`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ShownResult, ToolSpec
from tir_gym.protocols.boxes import BOX, BoxReading, content_of, find_boxes
from tir_gym.protocols.json_args import BadJson, decode
from tir_gym.protocols.json_calls import write_call
from tir_gym.protocols.teaching import sample_call, tool_list
from tir_gym.protocols.text_syntax import TextSyntax
from tir_gym.protocols.untrusted import label, neutralizer

SEARCH, CALL, FOLD = "tool_search", "tool_call", "fold_thought"
_RESULTS = {SEARCH: "tool_search_result", FOLD: "system_message"}
_OPENING = re.compile(f"<({SEARCH}|{CALL}|{FOLD})>")
_MADE_UP = re.compile("<(tool_search_result|tool_call_result|system_message)>")
_SHORTEST = 6
_neutral = neutralizer((SEARCH, CALL, FOLD, "tool_search_result", "tool_call_result", "system_message"))


@dataclass(frozen=True)
class DeepAgent(TextSyntax):
    r"""DeepAgent, for any toolkit.

    Lenient reading closes the last mark where the text ends (not in a completion cut for length) and takes a call with
    no arguments or further keys. An engine that strips stop strings must keep `<fold_thought>`, of which nothing else
    would be left.

    `paper`: the first of the stop strings ends the turn; new lines inside it are dropped, space around it too, and
    anything of fewer than six characters does nothing. Without one the answer is all from the first `\boxed{` to the
    last `}`, else what follows the last `ANSWER:`.
    """

    name = "deepagent"
    stop_strings = (f"</{SEARCH}>", f"</{CALL}>", f"<{FOLD}>")
    source = (
        "nothingtosurprise/DeepAgent@e150a34 (a fork of RUC-NLPIR/DeepAgent) src/run_deep_agent.py; extract_between as "
        "in rexxy-sasori/DeepAgent@6f35cc9 src/utils/utils.py; the answer as in RUC-NLPIR/DeepAgent@3a55635 "
        "src/evaluate/evaluate_base.py, extract_answer_fn with extract_answer=True"
    )
    quirks = (
        "A mark acts anywhere, wherever the policy is only talking of it.",
        "A query or call of fewer than six characters does nothing.",
        "New lines are dropped out of a query and out of a call's JSON.",
        "A call's text begins after the first opening mark of the turn, so a repeated opening mark is part of it.",
        "A mark without its closing mark is passed over, so an engine must keep the stop strings in the text.",
        r"The answer runs from the first \boxed{ to the last brace, whatever stands between.",
        "'ANSWER:' answers where there is no box.",
        "The published score reads the box from the whole rollout, results included; here from the last turn.",
        "The published rollout ends at a turn without a mark; here that is for void_ends to say.",
        "Where there is another party, a turn without a mark or an answer is said to it; the published loop has none.",
        "Of a key given twice in a call's JSON the last value counts.",
        "JSON that is beyond the standard (NaN) is an error here, which Python would take.",
        "A call whose name is no string or whose arguments are no object is an error here, there the tool's affair.",
        "A call that is not JSON is told in our words after 'Error calling tool: ', not in Python's.",
        "Nothing is shown after a query or call that is too short; here the feedback is.",
        "Repeated calls run again; the published loop refuses them.",
        "Results are not neutralised: one can hold a closing mark, a call or a box.",
        "A failed call is shown like a result.",
        "Long results are summarised by a model in the published loop; here they are whole.",
        "After a refusal the published loop writes 'Hmm, I've already' for the policy; here it does not.",
        "The prompt says what the published one says, in other words.",
    )

    def _reading(self, text: str) -> BoxReading:
        return _DeepAgentReading(text, self.mode)

    def _write(self, action: Action) -> str:
        self._refuse(action, ("confidence", "finish"), "free text has no place for it")
        if action.message is not None:
            return action.message
        said = f"{BOX}{action.answer}}}" if action.answer is not None else self._write_call(action.calls)
        return f"{action.thought}\n{said}" if action.thought else said

    def _write_call(self, calls: Sequence[ToolCall]) -> str:
        if len(calls) > 1:
            raise NotExpressible(self.name, "calls", "a turn is one call")
        call = calls[0]
        if call.name == FOLD and not call.arguments:
            return f"<{FOLD}>"
        if call.name == SEARCH and set(call.arguments) == {"query"} and isinstance(call.arguments["query"], str):
            return f"<{SEARCH}>{call.arguments['query']}</{SEARCH}>"
        return f"<{CALL}>\n{write_call(call, 'arguments')}\n</{CALL}>"

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """Any tools; those that the marks call take what the marks give."""
        for tool in tools:
            given = {SEARCH: ["query"], FOLD: []}.get(tool.name)
            wanted = list(tool.parameters.get("required", ()))
            if given is not None and wanted != given:
                return f"<{tool.name}> gives {given or 'nothing'}; the tool {tool.name!r} wants {wanted or 'nothing'}"
        return ""

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The syntax by an example made from the first tool, and the list of tools."""
        lines = ["Think freely in plain text, then act once."]
        named = {tool.name for tool in tools}
        callable_ = [tool for tool in tools if tool.name not in (SEARCH, FOLD)]
        if SEARCH in named:
            example = self.format(Action(calls=(ToolCall(SEARCH, {"query": "what the tool should do"}),)))
            lines.append(f"To look for tools write {example}; they come in <{_RESULTS[SEARCH]}>.")
        if callable_ or SEARCH in named:
            call = sample_call(callable_) if callable_ else ToolCall("tool_name", {"parameter": "..."})
            lines += [
                "To call a tool write, for example:",
                self.format(Action(calls=(call,))),
                "Stop after it: its result comes in <tool_call_result>, and you go on.",
            ]
        if FOLD in named:
            lines.append(f"To have your work so far summed up and go on from that, write <{FOLD}> and stop.")
        if peer:
            lines.append("A turn without a call and without a box is said to the other party.")
        lines.append("When you have seen all you need, give your final answer as \\boxed{your answer}.")
        if callable_:
            lines += ["", "Tools:", tool_list(callable_)]
        return "\n".join(lines)

    def render_results(self, results: Sequence[ShownResult]) -> str:
        """A block a call, in call order; in paper mode the text as it is, without a mark for errors."""
        return "".join([self._result(result) for result in results])

    def _result(self, result: ShownResult) -> str:
        tag = _RESULTS.get(result.call.name, "tool_call_result")
        text = result.text
        if self.mode != "paper":
            text = f"[error: {label(result.error)}]\n{_neutral(text)}" if result.error else _neutral(text)
        return f"\n\n<{tag}>{text}</{tag}>\n\n"

    def render_feedback(self, text: str) -> str:
        """A `<system_message>`; in paper mode the result of a call that failed."""
        if self.mode == "paper":
            return f"\n\n<tool_call_result>Error calling tool: {text}</tool_call_result>\n\n"
        return f"\n\n<system_message>{_neutral(text)}</system_message>\n\n"


class _DeepAgentReading(BoxReading):
    """One completion being read."""

    __slots__ = ()

    def read(self, cut: bool, peer: bool) -> None:
        """Read by the grammar."""
        opening = _OPENING.search(self.text)
        limit = opening.start() if opening else len(self.text)
        boxes, unclosed = find_boxes(self.text, self._prose(limit)) if BOX in self.text[:limit] else ([], -1)
        filled = [box for box in boxes if content_of(self.text, box)]
        if opening:
            self._act(opening, cut)
            if filled:
                message = "an answer cannot come with a call whose result you have not seen"
                self.error(ParseErrorType.ANSWER_WITH_CALL, message, *filled[-1])
        elif boxes:
            self.take_last(filled or boxes)
        elif unclosed >= 0:
            self.no_closing_brace(unclosed, limit)
        else:
            self.speak(peer)

    def read_as_published(self, cut: bool, peer: bool) -> None:
        """The first closing mark, or the answer."""
        text = self.text
        closings = [(text.find(mark), mark) for mark in DeepAgent.stop_strings]
        stop, mark = min((found for found in closings if found[0] >= 0), default=(-1, ""))
        if stop < 0:
            self._finish_as_published(cut, peer)
            return
        self.attempted = True
        end = stop + len(mark)
        tag = mark.strip("</>")
        opening = text.find(f"<{tag}>", 0, end)
        start = opening if opening >= 0 else stop
        self.think(start)
        self.span(Part.CALL, start, end)
        said = text[start + len(tag) + 2 : stop].strip().replace("\n", "").strip()
        if tag == FOLD:
            self.calls.append(ToolCall(FOLD))
        elif len(said) < _SHORTEST:
            message = f"what stands in <{tag}> has fewer than {_SHORTEST} characters; nothing was done"
            self.error(ParseErrorType.BAD_ACTION, message, start, end)
        else:
            self._call(tag, said, start, end, published=True)
        self.tail(end)

    def _finish_as_published(self, cut: bool, peer: bool) -> None:
        text = self.text
        start, last = text.find(BOX), text.rfind("}")
        unclosed = max(text.rfind(f"<{tag}>") for tag in (SEARCH, CALL))
        if 0 <= start < last:
            self.take_answer(text[start + len(BOX) : last], start, last + 1)
        elif (start := text.rfind("ANSWER:")) >= 0:
            self.take_answer(text[start + len("ANSWER:") :].strip("*").strip(), start, len(text))
        elif cut and unclosed >= 0:
            self.attempted = True
            self.think(unclosed)
            self.cut_call(unclosed, len(text))
        else:
            self.speak(peer)

    def _prose(self, limit: int) -> list[tuple[int, int]]:
        """The text before `limit` outside results that the policy made up."""
        found = []
        at = 0
        while at < limit and (opening := _MADE_UP.search(self.text, at, limit)):
            found.append((at, opening.start()))
            closing = self.text.find(f"</{opening[1]}>", opening.end(), limit)
            at = closing if closing >= 0 else limit
        found.append((at, limit))
        return found

    def _act(self, opening: re.Match[str], cut: bool) -> None:
        self.attempted = True
        tag, (start, body) = opening[1], opening.span()
        self.think(start)
        if tag == FOLD:
            stop = end = body
        else:
            stop = self.text.find(f"</{tag}>", body)
            end = stop + len(tag) + 3
        if stop < 0:
            stop = end = len(self.text)
            if cut:
                self.cut_call(start, end)
            else:
                self.fault(ParseErrorType.UNCLOSED_TAG, f"<{tag}> has no </{tag}>", start, end)
            used = not (cut or self.strict)
        else:
            used = True
        self.span(Part.CALL, start, end)
        if used:
            self._call(tag, self.text[body:stop].strip(), start, end)
        tail = self.tail(end)
        if tail and BOX in tail:
            message = "an answer cannot come with a call whose result you have not seen"
            self.error(ParseErrorType.ANSWER_WITH_CALL, message, end + tail.index(BOX), len(self.text))
        elif tail and self.strict:
            self.error(ParseErrorType.TEXT_BETWEEN_TAGS, "text follows the turn's action", end, len(self.text))

    def _call(self, tag: str, said: str, start: int, end: int, *, published: bool = False) -> None:
        """The call that a mark makes with this text."""
        if tag != CALL:
            self.calls.append(ToolCall(tag, {"query": said} if tag == SEARCH else {}))
            return
        try:
            call = decode(said, repeats=published)
        except BadJson as error:
            self.error(ParseErrorType.BAD_JSON, f"the call is not JSON: {error}", start, end)
            return
        name, arguments = (call.get("name"), call.get("arguments", {})) if isinstance(call, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(arguments, dict):
            message = 'write a call as {"name": "TOOL", "arguments": {...}}'
            self.error(ParseErrorType.BAD_ACTION, message, start, end)
            return
        if set(call) != {"name", "arguments"} and not published:
            message = "a call has the keys name and arguments, and no others"
            self.fault(ParseErrorType.BAD_ACTION, message, start, end)
        if not self.errors:
            self.calls.append(ToolCall(name, arguments))
