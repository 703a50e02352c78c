"""What a worker gives up before the first statement: files, network, processes, rights, memory without end.

Runs in the worker. What holds is found out by trying, not taken from what was asked for.
"""

import ctypes
import os
import resource
import socket
from collections.abc import Callable, Sequence

MEMORY, WITH_THREADS = 1536 << 20, 3 << 30
"""Bytes of address space; of a library that reserves more than it uses, and starts threads."""
_PR_GET_NO_NEW_PRIVS = 39
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def confine(files: Sequence[str], threads: bool = False) -> dict[str, str]:
    """Confine this process to what it has open and to reading `files`, for good.

    Each layer -> "enforced", or why it is not: what the kernel does not offer is left out.
    """
    from tir_gym.executors import jail, seccomp

    for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):  # memory of one statement is kept for the next
        ctypes.CDLL(None).mallopt(option, 32 << 20)
    _limit(WITH_THREADS if threads else MEMORY)
    reasons: dict[str, str] = {}

    def take(layer: str, step: Callable[[], object]) -> None:
        try:
            step()
        except OSError as error:
            reasons[layer] = str(error)

    take("rights", lambda: jail.drop_rights(-1, seen=True))
    held = {"rights": ctypes.CDLL(None).prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1}
    if abi := jail.landlock_abi():
        take("files", lambda: _landlock(abi, files))
    else:
        reasons["files"] = "this kernel has no Landlock"
    if why := seccomp.supported():
        reasons["system calls"] = why
    else:
        take("system calls", lambda: seccomp.install(seccomp.allow_list(forks=False, attributes=False)))
    held |= {"files": _refused(_open), "system calls": _refused(_connect)}
    return {
        layer: "enforced" if works else reasons.get(layer, "it was set and does not hold")
        for layer, works in held.items()
    }


def _landlock(abi: int, files: Sequence[str]) -> None:
    from tir_gym.executors import jail

    rules = jail.landlock_rules(abi, [path for path in files if os.path.exists(path)], [], [])  # noqa: PTH110
    try:
        jail.landlock_enter(rules)
    finally:
        os.close(rules)


def _limit(memory: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CORE: 1,  # what takes core dumps through a pipe heeds 1, not 0
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 1_100,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def _open() -> None:
    os.close(os.open("/", os.O_RDONLY))


def _connect() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


def _refused(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    return False
