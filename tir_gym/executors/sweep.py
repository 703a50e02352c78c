"""Removing what a session left on disk. Standard library only; loaded by the host, the launcher and the fork server."""

import contextlib
import os

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it, however deep or closed; never follows links, never raises `OSError`.

    What the kernel refuses to remove stays. No process may be at work in it any more. Neither recursion, length of
    paths nor open descriptors grow with what a policy has built.
    """
    with contextlib.suppress(OSError):
        here = _open(path, None)
        try:
            trail = [(_identity(here), os.listdir(here))]  # noqa: PTH208
            while True:
                names = trail[-1][1]
                if names and _unlink(names[-1], here):
                    names.pop()
                elif names:
                    here = _change(here, _open(names[-1], here))
                    trail.append((_identity(here), os.listdir(here)))  # noqa: PTH208
                elif len(trail) > 1:
                    trail.pop()
                    here = _change(here, os.open("..", _FLAGS, dir_fd=here))
                    if _identity(here) != trail[-1][0]:
                        raise OSError("the tree was changed meanwhile")
                    os.rmdir(trail[-1][1].pop(), dir_fd=here)
                else:
                    break
        finally:
            os.close(here)
        os.rmdir(path)  # noqa: PTH106


def _identity(folder: int) -> tuple[int, int]:
    found = os.fstat(folder)
    return found.st_dev, found.st_ino


def _change(old: int, new: int) -> int:
    os.close(old)
    return new


def _unlink(name: str, folder: int) -> bool:
    """Remove what is no directory; False for a directory."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


def _open(name: str, folder: int | None) -> int:
    """Open a directory, closed to its owner or not."""
    with contextlib.suppress(PermissionError):
        os.chmod(name, 0o700, dir_fd=folder)
    return os.open(name, _FLAGS, dir_fd=folder)
