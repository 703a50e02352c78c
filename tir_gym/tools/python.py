"""The `python` tool: code runs in the episode's own jailed interpreter, which remembers or forgets between calls."""

from tir_gym.core.interfaces import TURN_OVER, Done, RunStatus
from tir_gym.core.requests import CloseSession, RunCode
from tir_gym.core.tool import Output, Toolkit, ToolRun, tool
from tir_gym.core.transcript import CallErrorType, CallLog, TextPart
from tir_gym.tools.names import defined_names

SHOWN_NAMES = 40
"""How many names of earlier calls a forgetful interpreter tells, the latest ones."""

_ERRORS = {
    RunStatus.OK: CallErrorType.NONE,
    RunStatus.EXCEPTION: CallErrorType.EXCEPTION,
    RunStatus.MEMORY: CallErrorType.EXCEPTION,
    RunStatus.TIMEOUT: CallErrorType.TIMEOUT,
}


class PythonToolkit(Toolkit):
    """An interpreter that keeps its state from call to call; `deadline_s` (> 0): the wall seconds a call may take."""

    def __init__(self, deadline_s: float = 10.0) -> None:
        super().__init__()
        self._deadline_s = deadline_s

    @tool(kind="verification", effect="write", latency_s=0.1, from_code=False)
    def python(self, code: str) -> ToolRun:
        """Run Python code.
        Variables stay for the next call; what you print and the value of the last expression come back.
        numpy and sympy are installed; there is no network.

        Args:
            code: the program text
        """
        done: Done = yield RunCode(code, self._deadline_s)
        return _output(done, show(done, self._deadline_s))


class StatelessPythonToolkit(PythonToolkit):
    """A new interpreter for every call, gone when the call ends; the names that earlier calls defined are told.

    The names come from reading the submitted code (`tools.names`), not from the interpreter.
    """

    def __init__(self, deadline_s: float = 10.0) -> None:
        super().__init__(deadline_s)
        self._defined: tuple[str, ...] = ()

    @tool(kind="verification", effect="write", latency_s=0.1, from_code=False)
    def python(self, code: str) -> ToolRun:
        """Run Python code in a new interpreter.
        Nothing stays for the next call, neither variables nor imports nor files: each call needs all it uses.
        What you print and the value of the last expression come back.
        numpy and sympy are installed; there is no network.

        Args:
            code: the program text
        """
        done: Done = yield RunCode(code, self._deadline_s)
        yield CloseSession()
        new = defined_names(code)
        self._defined = (*(name for name in self._defined if name not in new), *new)[-SHOWN_NAMES:]
        shown = show(done, self._deadline_s, lasting=False)
        if self._defined:
            shown += f"\n[defined so far, none of it kept: {', '.join(self._defined)}]"
        return _output(done, shown)


def name_errors(calls: CallLog) -> int:
    """How many `python` calls said that they ended in a NameError: a metric, for no reward to read.

    Code can catch the exception, or raise one of its own, so the count describes a policy that does not play with it.
    """
    return sum(bool(call.facts.get("said_name_error")) for call in calls)


def _output(done: Done, shown: str) -> Output:
    """The result of a call. `said_name_error` is named for what it is: the interpreter's own word, in one bit."""
    said_name_error = done.status is RunStatus.EXCEPTION and done.error.partition(":")[0] == "NameError"
    facts = {"status": done.status.value, "state_lost": done.state_lost, "said_name_error": said_name_error}
    return Output(content=(TextPart(shown),), value=done.value, facts=facts, error=error_of(done))


def error_of(done: Done) -> CallErrorType:
    """How a submission failed, as the call log has it."""
    if done.state_lost and done.status not in _ERRORS:
        return CallErrorType.STATE_LOST
    return _ERRORS.get(done.status, CallErrorType.EXCEPTION)


def show(done: Done, deadline_s: float, *, lasting: bool = True) -> str:
    """What the policy reads of a submission: output, warnings, the last value, and what went wrong.

    `deadline_s`: the seconds the submission was given, told where it took longer. `lasting` says that variables stay,
    or that the loss of them is news.
    """
    pieces = [done.stdout]
    if done.stderr:
        pieces.append(f"[stderr]\n{done.stderr}")
    explained = "" if done.status is RunStatus.OK else _explain(done, deadline_s, lasting)
    pieces += [done.value, done.traceback or explained]
    if done.traceback and done.status in (RunStatus.TIMEOUT, RunStatus.OUTPUT_LIMIT):
        pieces.append(explained)
    if done.state_lost and lasting:
        pieces.append("The interpreter was restarted: all variables are gone.")
    return "\n".join(piece.rstrip("\n") for piece in pieces if piece) or "(no output)"


def _explain(done: Done, deadline_s: float, lasting: bool) -> str:
    match done.status:
        case RunStatus.TIMEOUT:
            kept = " Variables set so far are kept." if lasting and not done.state_lost else ""
            when = "" if done.error == TURN_OVER else f" after {deadline_s:g} seconds"
            return f"Stopped{when}: use a faster method.{kept}"
        case RunStatus.MEMORY:
            return "Out of memory: use less."
        case RunStatus.OUTPUT_LIMIT:
            return "Too much output: print less."
        case RunStatus.EXCEPTION:
            return done.error
        case _:
            return f"The interpreter ended ({done.error or done.status.value})."
