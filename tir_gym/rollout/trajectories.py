"""Trajectory files: JSONL, one `EpisodeRecord` a line, safe against a kill at any moment."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tir_gym.core.schema import EpisodeRecord

_BEGINNING = b'{"schema_id":'


class TrajectoryFile:
    """A file to append episodes to; one writer at a time, locked while it is open.

    A line half written by a killed process is cut off when the file is opened again, so each episode is there once
    and whole or not at all. Raises `BlockingIOError` if another process is writing, `ValueError` that names the line
    of a record that does not fit the schema, or for a last line that no episode begins with: the file is left as it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise BlockingIOError(f"{self.path} is being written by another process") from error
        try:
            self.keys = {record.key for record in read_records(self.path)}
            """Keys of the episodes in the file."""
            self._cut_partial_line()
        except BaseException:
            self.close()
            raise

    def append(self, record: EpisodeRecord) -> None:
        """Write an episode and wait until it is on the disk.

        Raises `ValueError` if its key is there already, `OSError` if it does not fit: the file is then as it was.
        """
        if record.key in self.keys:
            raise ValueError(f"{self.path} holds an episode with the key {record.key!r} already")
        line = record.model_dump_json().encode() + b"\n"
        size = os.fstat(self._descriptor).st_size
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            os.fdatasync(self._descriptor)
        except BaseException:
            os.ftruncate(self._descriptor, size)
            raise
        self.keys.add(record.key)

    def close(self) -> None:
        """Release the file; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "TrajectoryFile":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _cut_partial_line(self) -> None:
        size = end = os.fstat(self._descriptor).st_size
        while end > 0:
            start = max(0, end - 65_536)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            beginning = os.pread(self._descriptor, len(_BEGINNING), end)
            if not _BEGINNING.startswith(beginning):
                raise ValueError(f"{self.path} ends in a line that is no episode; name another file to write to")
            os.ftruncate(self._descriptor, end)


def read_records(path: str | Path) -> Iterator[EpisodeRecord]:
    """The episodes of a trajectory file, but for a last line without its end.

    Raises `ValueError` that names the line of a record that does not fit the schema.
    """
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield EpisodeRecord.model_validate_json(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
