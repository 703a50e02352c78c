"""Lines from a person or a pipe."""

import contextlib
import io
import sys
from collections import deque

from rich.console import Console
from rich.text import Text

END = "."
"""A line that holds only this ends a text of several lines."""


class Keyboard:
    """Standard input, with line editing and history where it is a terminal, echoed where it is not."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._terminal = sys.stdin.isatty()
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # what is not text becomes U+FFFD
        self._ahead: deque[str] = deque()
        if self._terminal:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  gives `input` its line editing

    def line(self, prompt: str) -> str:
        """The next line. Raises `EOFError` at the end, `KeyboardInterrupt`."""
        if self._ahead:
            found = self._ahead.popleft()
            self._console.print(Text(prompt + found))
            return found
        if self._terminal:
            text = input(prompt)
        else:
            text = sys.stdin.readline()
            if not text:
                raise EOFError
            text = text.removesuffix("\n")
            self._console.print(Text(prompt + text, style="bright_black"))
        first, *rest = text.split("\n")  # a paste comes as one
        self._ahead.extend(rest)
        return first.removesuffix("\r")

    def text(self, prompt: str, first: str = "") -> str:
        """Lines up to one that holds only a dot, or to the end of input. Raises `KeyboardInterrupt`."""
        lines = [first] if first else []
        if self._terminal:
            self._console.print(Text("End with a line that holds only a dot. Ctrl-C drops it.", style="bright_black"))
        with contextlib.suppress(EOFError):
            while (line := self.line(prompt)) != END:
                lines.append(line)
        return "\n".join(lines)
