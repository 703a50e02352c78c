"""A text stream that keeps the head and the tail of what is written, in bounded memory. Loaded inside sessions."""

import io
import os
from typing import Any

FLOOD = 10_000_000
"""Characters of one stream at which a submission is stopped."""


class OutputLimitError(BaseException):
    """A submission writes far more than anybody will read."""


OutputLimitError.__module__ = "builtins"


def _joint(left_out: int) -> str:
    return f"\n... {left_out} characters left out ...\n"


def clip(text: str, limit: int) -> str:
    """`text` with its middle counted instead of shown where it exceeds `limit` characters."""
    half = limit // 2
    return text if len(text) <= limit else text[:half] + _joint(len(text) - 2 * half) + text[len(text) - half :]


class _Bytes:
    """What `sys.stdout.buffer` is in a session."""

    def __init__(self, sink: "Sink") -> None:
        self._sink = sink

    def write(self, data: Any) -> int:
        """Write bytes, as UTF-8 with replacement."""
        raw = bytes(data)
        self._sink.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def flush(self) -> None:
        """Nothing is held back."""


class Sink(io.TextIOBase):
    """Standard output or error of a session: `limit` characters of it, and what bypassed it through descriptor `fd`."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, limit: int, fd: int) -> None:
        self._limit, self._half, self._fd = limit, limit // 2, fd
        self.buffer = _Bytes(self)
        self._clear()

    def _clear(self) -> None:
        self._head = ""
        self._parts: list[str] = []
        self._size = self._total = 0

    def write(self, text: str) -> int:
        """Keep `text` as far as there is room. Raises `OutputLimitError`."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        size = len(text)
        if size:
            self._keep(text, size)
            if self._total > FLOOD:
                raise OutputLimitError(f"more than {FLOOD} characters of output")
        return size

    def _keep(self, text: str, size: int) -> None:
        self._total += size
        self._size += size
        self._parts.append(text)
        if self._size > 2 * self._limit or size > self._limit:
            self._shrink()

    def _shrink(self) -> None:
        tail = "".join(self._parts)
        if not self._head:
            self._head, tail = tail[: self._half], tail[self._half :]
        tail = tail[max(0, len(tail) - self._half) :]
        self._parts, self._size = [tail], len(tail)

    def take(self) -> str:
        """What was written since the last time, and forget it."""
        self._drain()
        text = self._head + "".join(self._parts)
        if self._total > self._limit:
            head, tail = text[: self._half], text[len(text) - self._half :]
            text = head + _joint(self._total - 2 * self._half) + tail
        self._clear()
        return text

    def _drain(self) -> None:
        """Append what went to the descriptor itself: `os.write(1, ...)` and the C library."""
        try:
            size = os.lseek(self._fd, 0, os.SEEK_END)
            if size == 0:
                return
            head = os.pread(self._fd, self._limit, 0)
            tail = os.pread(self._fd, self._limit, max(len(head), size - self._limit))
            os.ftruncate(self._fd, 0)
        except OSError:
            return
        for_head, for_tail = head.decode("utf-8", "replace"), tail.decode("utf-8", "replace")
        self._keep(for_head, len(for_head))
        left_out = size - len(head) - len(tail)
        if left_out:
            self._shrink()
            self._total += left_out
        self._keep(for_tail, len(for_tail))

    def fileno(self) -> int:
        """The descriptor beneath."""
        return self._fd

    def writable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Stay open: the session has no other."""
