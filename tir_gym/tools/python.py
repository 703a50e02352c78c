"""The `python` tool: code runs in the episode's own jailed interpreter."""

from tir_gym.core.interfaces import Done, RunStatus
from tir_gym.core.requests import RunCode
from tir_gym.core.tool import Output, Toolkit, ToolRun, tool
from tir_gym.core.transcript import CallErrorType, TextPart

_ERRORS = {
    RunStatus.OK: CallErrorType.NONE,
    RunStatus.EXCEPTION: CallErrorType.EXCEPTION,
    RunStatus.MEMORY: CallErrorType.EXCEPTION,
    RunStatus.TIMEOUT: CallErrorType.TIMEOUT,
}


class PythonToolkit(Toolkit):
    """An interpreter that keeps its state from call to call."""

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
        return Output(
            content=(TextPart(show(done, self._deadline_s)),),
            value=done.value,
            facts={"status": done.status.value, "state_lost": done.state_lost},
            error=_error(done),
        )


def _error(done: Done) -> CallErrorType:
    if done.state_lost and done.status is not RunStatus.TIMEOUT:
        return CallErrorType.STATE_LOST
    return _ERRORS.get(done.status, CallErrorType.EXCEPTION)


def show(done: Done, deadline_s: float) -> str:
    """What the policy reads of a submission: output, warnings, the last value, and what went wrong."""
    pieces = [done.stdout]
    if done.stderr:
        pieces.append(f"[stderr]\n{done.stderr}")
    pieces += [done.value, done.traceback or ("" if done.status is RunStatus.OK else _explain(done, deadline_s))]
    if done.traceback and done.status is RunStatus.TIMEOUT:
        pieces.append(_explain(done, deadline_s))
    if done.state_lost:
        pieces.append("The interpreter was restarted: all variables are gone.")
    return "\n".join(piece.rstrip("\n") for piece in pieces if piece) or "(no output)"


def _explain(done: Done, deadline_s: float) -> str:
    match done.status:
        case RunStatus.TIMEOUT:
            kept = "" if done.state_lost else " Variables set so far are kept."
            return f"Stopped after {deadline_s:g} seconds: use a faster method.{kept}"
        case RunStatus.MEMORY:
            return "Out of memory: use less."
        case RunStatus.OUTPUT_LIMIT:
            return "Too much output: print less."
        case RunStatus.EXCEPTION:
            return done.error
        case _:
            return f"The interpreter ended ({done.error or done.status.value})."
