"""`python -m tests.executors.lacking landlock,namespaces COMMAND ...`: run a command as if the kernel lacked these.

A seccomp filter stands before the command and all that it starts, and answers as a kernel or a container does that does
not have the thing. It leaves landlock_restrict_self alone, whose number the gate of a fork takes: a kernel asks filters
first, and one that refuses goes before one that reports.
"""

import errno
import os
import sys

from tir_gym.executors import jail, seccomp

_CLONE, _UNSHARE, _SETNS = 56, 272, 308
_NEW = 0x7E020000
"""The flags of clone that make namespaces."""


def _answer(call: int, number: int) -> seccomp.Code:
    return [(0x15, 0, 1, call), *seccomp._ret(seccomp._ERRNO | number)]


_LACKING: dict[str, seccomp.Code] = {
    "landlock": [step for call in (444, 445) for step in _answer(call, errno.ENOSYS)],
    "seccomp": _answer(317, errno.ENOSYS),
    "namespaces": [
        *_answer(_UNSHARE, errno.EPERM),
        *_answer(_SETNS, errno.EPERM),
        *_answer(435, errno.ENOSYS),  # clone3, whose flags no filter can read
        *[(0x15, 0, 4, _CLONE), *seccomp._arg(0), (0x45, 0, 1, _NEW), *seccomp._ret(seccomp._ERRNO | errno.EPERM)],
        *[(0x20, 0, 0, 0)],
    ],
}


def main(lacking: str, command: list[str]) -> None:
    """Take the filter on and become the command."""
    jail._prctl("PR_SET_NO_NEW_PRIVS", 38, 1)
    steps = [step for name in lacking.split(",") if name for step in _LACKING[name]]
    seccomp.install(seccomp._program([*steps, *seccomp._PASS]))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
