"""What the kernel says of a process, by way of /proc: the word of nobody in a session.

Runs in the fork server with the standard library only; /proc was mounted outside, so process ids are the outer ones.
Every function raises `OSError` where the process is gone or the kernel does not let the server look.
"""

import os


class Processes:
    """Reads /proc through a descriptor of it."""

    def __init__(self, proc: int) -> None:
        self._proc = proc

    def outer(self, pidfd: int) -> str:
        """The process id that /proc has for a process."""
        pid = self.read(f"self/fdinfo/{pidfd}").split("Pid:\t")[1].split()[0]
        if pid.startswith("-"):
            raise ProcessLookupError
        return pid

    def lives(self, pid: str) -> bool:
        """Whether a process exists and has not ended; True where that cannot be seen."""
        try:
            return self.read(f"{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError:
            return True

    def children(self, pid: str) -> set[str]:
        """The process ids of its children, by whichever thread they have."""
        found = set[str]()
        for name in self.names(f"{pid}/task"):
            found.update(self.read(f"{pid}/task/{name}/children").split())
        return found

    def threads(self, pid: str) -> int:
        """How many threads it has."""
        return len(self.names(f"{pid}/task"))

    def shares_memory(self, pid: str, mark: str) -> bool:
        """Whether it has writable memory that is shared, or any of a file that `mark` tells in a line of its maps."""
        maps = self._bytes(f"{pid}/maps")
        return any(text in maps for text in (mark.encode(), b"w-s ", b"wxs "))

    def stat(self, path: str) -> os.stat_result:
        """What a link of /proc leads to."""
        return os.stat(path, dir_fd=self._proc)

    def leads(self, path: str) -> str:
        """The path a link of /proc shows."""
        return os.readlink(path, dir_fd=self._proc)

    def names(self, path: str) -> list[str]:
        """The entries of a directory."""
        fd = os.open(path, os.O_RDONLY, dir_fd=self._proc)
        try:
            return os.listdir(fd)  # noqa: PTH208
        finally:
            os.close(fd)

    def read(self, path: str) -> str:
        """A file's text."""
        return self._bytes(path).decode("ascii", "replace")

    def _bytes(self, path: str) -> bytes:
        fd = os.open(path, os.O_RDONLY, dir_fd=self._proc)
        try:
            pieces = [os.read(fd, 1 << 16)]
            while pieces[-1]:
                pieces.append(os.read(fd, 1 << 16))
        finally:
            os.close(fd)
        return b"".join(pieces)
