"""Tracebacks that show the policy its own code only. Loaded inside sessions."""

import traceback

from tir_gym.executors.sink import clip


def describe(error: BaseException, chars: int) -> tuple[str, str]:
    """The exception in a line, and its traceback through the policy's own code; bounded, never raises."""
    try:
        summary = clip(f"{type(error).__name__}: {error}".rstrip(": "), min(chars, 4000))
    except BaseException:
        summary = type(error).__name__
    try:
        told = traceback.TracebackException.from_exception(error, lookup_lines=False, compact=True, limit=2000)
        _only_own(told, 0)
        return summary, clip("".join(told.format()), min(chars, 8000))
    except BaseException:
        return summary, ""


def _only_own(told: traceback.TracebackException, depth: int) -> None:
    own = [entry for entry in told.stack if entry.filename.startswith("<call ")]
    told.stack = traceback.StackSummary.from_list(own if len(own) <= 40 else own[:20] + own[-20:])
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None and depth < 10:
            _only_own(other, depth + 1)
