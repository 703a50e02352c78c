"""`python -m tests.executors.hostile.stranger COMMAND ...`: root runs a command as a user with no rights at all.

Python and this repository may lie where others have no access (/root); the command sees them nevertheless, through
mounts of its own.
"""

import os
import sys
from pathlib import Path

from tests.executors.hostile.control import ROOT
from tir_gym.executors import jail

USER = 54321


def main(command: list[str]) -> None:
    """Become the stranger and then the command. Raises `OSError` for anyone but root."""
    jail.unshare(jail.NEWNS)
    jail.mount("none", "/", "none", jail.REC | jail.PRIVATE)
    needed = dict.fromkeys(Path(p).resolve() for p in (ROOT, sys.prefix, sys.base_prefix))
    held = {path: os.open(path, os.O_PATH) for path in needed}
    for path in needed:
        for above in reversed(path.parents):
            if above.is_dir() and not above.stat().st_mode & 1:
                jail.mount("tmpfs", str(above), "tmpfs", jail.NOSUID | jail.NODEV, "size=1m,mode=0755")
        if not path.is_dir() or path.stat().st_ino != os.fstat(held[path]).st_ino:
            path.mkdir(parents=True)
            jail.mount(f"/proc/self/fd/{held[path]}", str(path), "none", jail.BIND | jail.REC)
    for fd in held.values():
        os.close(fd)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.environ.update(HOME="/tmp", PYTHONDONTWRITEBYTECODE="1")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
