"""Workers as the front sees them, and the one that is a process."""

import os
import pickle
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from multiprocessing import spawn
from pathlib import Path

from tir_gym.drivers.wire import Wire

PATIENCE_S = 20.0
"""How long a worker may take to close what its episodes started before it is killed."""


class Link(ABC):
    """One worker, running from construction on. Nothing here waits but `wait_closed`."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor that is readable when `receive` has something, or the worker is dead."""

    @abstractmethod
    def post(self, message: bytes) -> None:
        """Send a message as soon as there is room."""

    @abstractmethod
    def flush(self) -> bool:
        """Send what there is room for; False where the rest waits until `fileno` is writable."""

    @abstractmethod
    def receive(self) -> list[bytes]:
        """The messages that have come."""

    @property
    @abstractmethod
    def ended(self) -> str:
        """How the worker died, once all that it said is received; "" while it lives."""

    @abstractmethod
    def close(self) -> None:
        """Have the worker end what its episodes started, and end; idempotent. Follow it by `wait_closed`."""

    @abstractmethod
    def wait_closed(self) -> None:
        """Return when nothing of the worker is left; it is killed if it takes too long."""


class ProcessLink(Link):
    """A spawned process: it inherits nothing, and ends when this one does, however this one ends.

    `blob` is what its `Seats` are made of, pickled; where that needs the main module, the worker imports it first, as
    with `multiprocessing`'s "spawn" (the main module then needs the guard `if __name__ == "__main__"`).
    """

    def __init__(self, blob: bytes) -> None:
        near, far = socket.socketpair()
        main_module = spawn.get_preparation_data("worker") if b"__main__" in blob else None
        program = (
            f"import sys; sys.path[:] = {[path or str(Path.cwd()) for path in sys.path]!r}; "
            f"from tir_gym.drivers.host import main; main({far.fileno()}, {os.getpid()})"
        )
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as `spawn` does
        with far:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, *flags, "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=(far.fileno(),),
                start_new_session=True,  # Ctrl-C is for the front, which then closes
            )
        self._wire = Wire(near)
        self._wire.post(pickle.dumps((main_module, blob)))
        self._wire.flush()

    def fileno(self) -> int:
        """`Link.fileno`."""
        return self._wire.fileno()

    def post(self, message: bytes) -> None:
        """`Link.post`."""
        self._wire.post(message)

    def flush(self) -> bool:
        """`Link.flush`."""
        return self._wire.flush()

    def receive(self) -> list[bytes]:
        """`Link.receive`."""
        return self._wire.receive()

    @property
    def ended(self) -> str:
        """`Link.ended`."""
        if not self._wire.ended:
            return ""
        self._process.kill()
        return f"exit status {self._process.wait()}; the reason, if it had one, is on its standard error"

    def close(self) -> None:
        """`Link.close`."""
        self._wire.close()

    def wait_closed(self) -> None:
        """`Link.wait_closed`."""
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
